"""What templates may do, what they may not, and that what clients give is data."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.errors import BAD_DEPLOYMENT, INVALID_VALUE, PenstockError
from penstock.prompts import values, versions
from penstock.prompts.config import Example, Prompt, Variable
from penstock.prompts.filters import MOST_OUTPUT, MOST_STEPS
from penstock.prompts.templates import Compiled, Message, compiled, look

TEXT = Variable()
LIST = Variable(type="list")


def rendered(template: str, given_: Mapping[str, object] | None = None, **variables: Variable) -> str:
    prompt = Prompt(system=template, variables=variables)
    (message,) = Compiled(prompt).before(values.given(prompt, given_ or {}))
    return message.content


def test_a_prompt_is_a_system_message_then_examples_then_what_is_asked() -> None:
    prompt = Prompt(
        system="You know {{ topic }}.",
        examples=[Example(user="2+2?", assistant="4 {{ topic }}")],
        user="Tell me about {{ topic }}.",
        variables={"topic": TEXT},
    )
    made = compiled(versions.source(prompt))
    said = values.given(prompt, {"topic": "tea"})
    assert list(made.before(said)) == [
        Message("system", "You know tea."),
        Message("user", "2+2?"),
        Message("assistant", "4 {{ topic }}"),
    ]
    assert made.asked(said) == Message("user", "Tell me about tea.")
    assert Compiled(Prompt(system="Hi")).asked({}) is None


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{% for t in tags %}\n- {{ loop.index }} {{ t|upper }}\n{% endfor %}\n", "- 1 A\n- 2 BB\n"),
        ("{% if tags|length > 1 and not flag %}many{% else %}few{% endif %}", "many"),
        ("{{ tags|join('; ') }} {{ tags[0] }} {{ text[:2] }}", "a; bb a he"),
        ("{{ tags }} {{ gone }}|{{ gone|default('you') }}", "a, bb |you"),
        ("{{ text|replace('l', 'LL')|truncate(7) }}", "heLLLLo"),
        ("{% for n in range(2, 5) %}{{ n }}{% endfor %}", "234"),
        ("{{ tags|tojson }} {{ text|indent(2) }}", '["a","bb"] hello'),
        ("{{ 'yes' if 'a' in tags else 'no' }} {{ (count + 1) ~ '!' ~ gone }} {{ 2.51|round }}", "yes 4! 3"),
        ("{% for t in tags|sort|reverse if t != 'a' %}{{ t }}{% else %}none{% endfor %}", "bb"),
        ("{{ gone is none }} {% raw %}{{ text }}{% endraw %}{# a note #}", "True {{ text }}"),
    ],
)
def test_what_templates_can_say(template: str, expected: str) -> None:
    said = {"tags": ["a", "bb"], "text": "hello", "flag": False, "count": 3}
    kinds = {"tags": LIST, "text": TEXT, "flag": Variable(type="boolean"), "count": Variable(type="integer")}
    assert rendered(template, said, **kinds, gone=Variable(required=False)) == expected


HOSTILE = [
    "{{ ''.__class__.__mro__ }}",
    "{{ ''['__class__'] }}",
    "{{ x['format'] }}",
    "{{ x|attr('__class__') }}",
    "{{ x.format(x) }}",
    "{{ x() }}",
    "{{ self.__init__.__globals__ }}",
    "{{ self }}",
    "{{ cycler.__init__ }}",
    "{{ lipsum(5) }}",
    "{{ namespace(a=1) }}",
    "{{ 'a' * 999999999 }}",
    "{{ 2 ** 999999999 }}",
    "{{ '%999999999d' % 1 }}",
    "{{ '%999999999d'|format(1) }}",
    "{{ x|center(999999999) }}",
    "{{ x|join(x) }}",
    "{{ x|map('upper') }}",
    "{% set x = x ~ x %}",
    "{% set x %}a{% endset %}",
    "{% macro f() %}{{ f() }}{% endmacro %}",
    "{% call x() %}{% endcall %}",
    "{% for a in x recursive %}{{ loop(x) }}{% endfor %}",
    "{% for a in x %}{{ loop.cycle(1) }}{% endfor %}",
    "{% for a, b in x %}{% endfor %}",
    "{% include 'secret' %}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}",
    "{% from 'os' import system %}",
    "{% extends 'base' %}",
    "{% block a %}{% endblock %}",
    "{% filter upper %}a{% endfilter %}",
    "{% with a = x %}{{ a }}{% endwith %}",
    "{% autoescape true %}{% endautoescape %}",
    "{% do x.append(1) %}",
    "{{ {}.get }}",
    "{{ " + "(" * 5000,
    "{% for a in x %}" * 40 + "{% endfor %}" * 40,
    "{{ " + "not " * 5000 + "x }}",
    "{% if x %}",
    "{{ x",
    "{{ x }}" * 1001,
    "{{ [" + "x, " * 5000 + "x] }}",
]


@pytest.mark.parametrize("template", HOSTILE, ids=range(len(HOSTILE)))
def test_what_templates_cannot_say_is_refused_before_it_runs(template: str) -> None:
    assert look(template).wrong
    with pytest.raises(PenstockError) as caught:
        Compiled(Prompt(system=template))
    assert caught.value.fault is BAD_DEPLOYMENT


def test_a_mistake_is_told_by_its_line() -> None:
    assert look("one\ntwo {% set x = 1 %}").wrong == ((2, "`set` is not there in prompts"),)
    (line, said) = look("one\n\n{% if x %}").wrong[0]
    assert line == 3
    assert "endif" in said


LARGE = [
    ("{% for a in xs %}{% for b in xs %}{% for c in xs %}{% if a == b %}{% endif %}{% endfor %}{% endfor %}{% endfor %}", 1000),
    ("{% for a in range(999999999) %}{% endfor %}", 1),
    ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", 1),
    ("{% for a in xs %}{{ xs }}{% endfor %}", 1000),
    ("{{ xs|join('" + "." * 5000 + "') }}", 1000),
    ("{{ text|replace('', '" + "." * 5000 + "') }}", 1),
    ("{{ text|replace('a', 'aaaaaaaaaa')|replace('a', 'aaaaaaaaaa')|replace('a', 'aaaaaaaaaa')|replace('a', 'aa') }}", 1),
    ("{{ " + "text ~ " * 900 + "1 }}", 1),
    ("{{ " + "text + " * 200 + "text }}", 1),
    ("{{ text" + "|tojson" * 60 + " }}", 1),
    ("{{ text" + "|replace('a', 'aa')" * 60 + " }}", 1),
    ("{{ [" + "text, " * 900 + "1]|join }}", 1),
    ("{% if 'b' in text %}{% endif %}" * 900, 1),
    ("{% if text is in(text) %}{% endif %}" * 900, 1),
    ("{{ 1.5|round(999999999) }}", 1),
    ("{% for a in xs %}{% if text|upper|lower|title == 'x' %}{% endif %}{% endfor %}" * 3, 1000),
]  # fmt: skip


@pytest.mark.parametrize(("template", "items"), LARGE, ids=range(len(LARGE)))
def test_a_rendering_is_bounded_in_work_and_size(template: str, items: int) -> None:
    size = 500_000 if "upper" in template or len(template) > 3000 else 1000
    prompt = Prompt(
        system=template, variables={"xs": Variable(type="list", required=False), "text": Variable(required=False)}
    )
    said = values.given(prompt, {"xs": ["x" * 400] * items, "text": "a" * (size - 1) + '"'})
    began = time.perf_counter()
    with pytest.raises(PenstockError) as caught:
        list(Compiled(prompt).before(said))
    assert caught.value.fault in (INVALID_VALUE, BAD_DEPLOYMENT)
    assert time.perf_counter() - began < 5


def test_as_much_as_is_allowed_is_rendered() -> None:
    assert len(rendered("{{ text }}", {"text": "a" * MOST_OUTPUT}, text=TEXT)) == MOST_OUTPUT
    counted = rendered("{% for a in range(" + str(MOST_STEPS) + ") %}{{ 1 }}{% endfor %}")
    assert len(counted) == MOST_STEPS


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ text[9] }}", "ab"),
        ("{{ text + 1 }}", "ab"),
        ("{% if text > 1 %}{% endif %}", "ab"),
        ("{% for c in text %}{{ c }}{% endfor %}", "ab"),
        ("{{ text|join }}", "ab"),
        ("{{ text|round }}", "ab"),
        ("{{ text|indent(4000) }}", "ab"),
    ],
)
def test_what_does_not_fit_a_value_is_an_error_of_the_request(template: str, said: str) -> None:
    with pytest.raises(PenstockError) as caught:
        rendered(template, {"text": said}, text=TEXT)
    assert caught.value.fault is INVALID_VALUE


PIECES = st.sampled_from(
    [
        "{{",
        "}}",
        "{%",
        "%}",
        "{#",
        "#}",
        " 7*7 ",
        "self",
        "''.__class__",
        " for x in y ",
        "a",
        "\n",
        "{% raw %}",
        "'",
        '"',
        "\\",
    ]
)
ANY = st.one_of(st.text(max_size=40), st.lists(PIECES, max_size=12).map("".join))


@given(text=ANY, items=st.lists(ANY, max_size=5))
@settings(max_examples=150, deadline=None)
def test_a_value_is_data_whatever_it_looks_like(text: str, items: list[str]) -> None:
    found = rendered(
        "<{{ text }}>{% for each in items %}[{{ each }}]{% endfor %}",
        {"text": text, "items": items},
        text=TEXT,
        items=LIST,
    )
    assert found == f"<{text}>" + "".join(f"[{each}]" for each in items)


@given(template=ANY)
@settings(max_examples=150, deadline=None)
def test_any_text_is_a_template_or_told_why_not(template: str) -> None:
    taken, wrong = look(template)
    if not wrong and not taken:
        with contextlib.suppress(PenstockError):
            list(Compiled(Prompt(system=template)).before({}))

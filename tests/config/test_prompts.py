"""The folder of prompts, and what a deployment file says of prompts, defaults and history."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from penstock.config import ConfigErrors, load, loaded, prompt, references, services_of
from penstock.core.policy import History
from penstock.core.releases import Alias
from penstock.prompts.config import Case, Example, Expectation, Prompt, Turn, Variable
from penstock.prompts.versions import read, version

MODELS = "models: {m: {engine: fake}}\n"
GREETING = """\
description: Greets
variables:
  name: {description: whom, max_length: 40}
  mood: {choices: [kind, curt], default: kind}
system: |
  You are ${NOT_FILLED_IN} and {{ mood }}.
  {% if name %}
  Costs $$5.
  {% endif %}
examples:
  - {user: Hi, assistant: Hello!}
user: Greet {{ name }}.
defaults:
  temperature: 0.2
  max_tokens: 50
  stop: ["\\n", no]
  response_format: {type: json_schema, json_schema: {strict: true, n: [1, 1.5, null, "1"]}}
tests:
  - name: greets
    variables: {name: Ada}
    messages: [{role: user, content: Hi}]
    rendered: {contains: [kind], not_contains: [Bob]}
    reply: {regex: "(?i)hello", json: false, max_chars: 200}
"""


def said(text: str) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        prompt(text.encode(), "p.yaml")
    return caught.value.message.splitlines()


def test_a_file_says_all_of_a_prompt_and_nothing_is_filled_in() -> None:
    assert prompt(GREETING.encode(), "p.yaml") == Prompt(
        description="Greets",
        variables={
            "name": Variable(description="whom", max_length=40),
            "mood": Variable(choices=["kind", "curt"], default="kind"),
        },
        system="You are ${NOT_FILLED_IN} and {{ mood }}.\n{% if name %}\nCosts $$5.\n{% endif %}\n",
        examples=[Example(user="Hi", assistant="Hello!")],
        user="Greet {{ name }}.",
        defaults={
            "temperature": 0.2,
            "max_tokens": 50,
            "stop": ["\n", "no"],
            "response_format": {
                "type": "json_schema",
                "json_schema": {"strict": True, "n": [1, 1.5, None, "1"]},
            },
        },
        tests=[
            Case(
                name="greets",
                variables={"name": "Ada"},
                messages=[Turn(role="user", content="Hi")],
                rendered=Expectation(contains=["kind"], not_contains=["Bob"]),
                reply=Expectation(regex="(?i)hello", max_chars=200),
            )
        ],
    )


CASES: list[tuple[str, list[str]]] = [
    ("", ["p.yaml: is empty; it needs `system`, `examples` or `user`"]),
    ("description: x\n", ["p.yaml:1: says nothing; write `system`, `examples` or `user`"]),
    ("sytem: x\n", ['p.yaml:1: sytem: unknown key; did you mean "system"?']),
    (
        "variables:\n  name: {type: text}\nsystem: '{{ name }}'\n",
        ["p.yaml:2: variables.name.type: must be one of boolean, integer, list, number, string, and is `text`; known: boolean, integer, list, number, string"],
    ),
    (
        "variables:\n  name: {}\n  other: {}\nsystem: |\n  {{ name }}\n  {{ nmae }}\n",
        [
            "p.yaml:3: variables.other: is used nowhere; use it in `system` or `user`, or remove it",
            'p.yaml:4: system: `nmae` is not declared under `variables`; did you mean "name"?',
        ],
    ),
    ("system: |\n  a\n  {% set x = 1 %}\n", ["p.yaml:1: system: line 2 of it: `set` is not there in prompts"]),
    ("system: x\ndefaults:\n  n: 1\n  model: y\n", ["p.yaml:4: defaults.model: can have no default: the service is named by the client"]),
    ("system: x\ndefaults:\n  stop:\n", ["p.yaml:3: defaults.stop: has no value; it must be anything"]),
    ("system: x\ndefaults:\n  stop: !!set {a}\n", ["p.yaml:3: defaults.stop: has the YAML tag `!!set`; remove it, no tags are used"]),
    ("system: x\ntests:\n  - {name: t}\n", ["p.yaml:3: tests[0]: has no `messages`, and the prompt has no `user` to ask instead"]),
    ("variables: {Name: {}}\nsystem: x\n", ["p.yaml:1: variables.Name: a name here is 1 to 64 lower-case letters, digits and _ that begins with a letter"]),
    ("defaults: {a: " + "[" * 60 + "]" * 60 + "}\nsystem: x\n", ["p.yaml:1: nested deeper than 40 levels"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "lines"), CASES, ids=range(len(CASES)))
def test_mistakes_of_a_prompt(text: str, lines: list[str]) -> None:
    assert said(text) == lines


def deployment(folder: Path, services: str, more: str = "") -> Path:
    path = folder / "penstock.yaml"
    path.write_text(MODELS + more + "services:\n" + services)
    return path


def test_the_folder_beside_the_file_gives_services_their_prompts(tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts/greeting.yaml").write_text(GREETING)
    (tmp_path / "prompts/other.yml").write_text("system: Hi\n")
    (tmp_path / "prompts/README.md").write_text("not a prompt")
    (tmp_path / "prompts/.draft.yaml").write_text("nor this")
    path = deployment(
        tmp_path,
        "  a: {model: m, prompt: greeting, defaults: {top_p: 0.5, max_tokens: 9}, history: {tokens: 500}}\n  b: {model: m}\n",
    )
    found = loaded(path.read_bytes(), str(path), {}, beside=tmp_path)
    assert sorted(found.prompts) == ["greeting", "other"]
    greeting = found.prompts["greeting"]
    assert read(greeting.source) == prompt(GREETING.encode(), "p.yaml")
    services = services_of(found.file, 0, references(found.prompts))
    assert services["a"].prompt == greeting.source
    assert services["a"].defaults == b'{"max_tokens":9,"top_p":0.5}'
    assert services["a"].policy.history == History(tokens=500)
    assert (services["b"].prompt, services["b"].defaults, services["b"].policy.history) == (b"", b"{}", None)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(services["a"]), type=type(services["a"])) == services["a"]
    assert load(path, {}) == found.file


def test_a_text_that_lies_nowhere_has_no_folder() -> None:
    found = loaded(
        (MODELS + "prompts: elsewhere\nservices: {a: {model: m, prompt: greeting}}\n").encode(), "sent", {}
    )
    assert found.prompts == {}
    assert services_of(found.file, 0)["a"].prompt == b""


def test_every_mistake_by_its_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    for name, text in {
        "greeting.yaml": "system: x\n",
        "bad.yaml": "\nsytem: x\n",
        "greeting.yml": "system: x\n",
        "a b.yaml": "x",
    }.items():
        (tmp_path / "texts" / name).write_text(text)
    path = deployment(
        tmp_path,
        "  a: {model: m, prompt: greting}\n"
        "  b: {model: m, prompt: a b}\n"
        "  c: {model: m, prompt: bad}\n"
        "  d: {model: m, prompt: gone@production}\n"
        "  e: {model: m, defaults: {stream: true}}\n",
        "prompts: texts\n",
    )
    with pytest.raises(ConfigErrors) as caught:
        load(path, {})
    assert caught.value.message.splitlines() == [
        f'{path}:4: services.a.prompt: there is no prompt `greting`; did you mean "greeting"?',
        f"{path}:5: services.b.prompt: `a b` is no prompt's name; write NAME, NAME@DIGEST or NAME@ALIAS",
        f"{path}:8: services.e.defaults.stream: can have no default: the client decides how it reads",
        "texts/a b.yaml: a prompt's name is 1 to 128 letters, digits and . _ -; rename the file",
        'texts/bad.yaml:2: sytem: unknown key; did you mean "system"?',
        "texts/greeting.yml: is another file of the name `greeting`; rename one of them",
    ]


FOLDERS = [
    ("prompts: gone\n", "  a: {model: m}\n", ["2: prompts: there is no such folder; make it, or mend the path"]),
    ("prompts: penstock.yaml\n", "  a: {model: m}\n", ["2: prompts: is a file; name the folder that prompts are in"]),
    ("", "  a: {model: m, prompt: x}\n", ["3: services.a.prompt: there is no prompt `x`; the folder of prompts has none, or is not there"]),
]  # fmt: skip


@pytest.mark.parametrize(("more", "services", "lines"), FOLDERS, ids=range(len(FOLDERS)))
def test_mistakes_of_the_folder(tmp_path: Path, more: str, services: str, lines: list[str]) -> None:
    path = deployment(tmp_path, services, more)
    with pytest.raises(ConfigErrors) as caught:
        load(path, {})
    assert caught.value.message.splitlines() == [f"{path}:{line}" for line in lines]


HISTORIES = [
    ("{tokens: 4}", ["services.a.history.tokens: must be a whole number, 16 to 100000000, and is `4`"]),
    ("{tokens: 99, policy: summarise}", ["services.a.history: lacks the key `summariser`; name the service that writes summaries"]),
    ("{tokens: 99, summariser: b}", ["services.a.history.summariser: is for `policy: summarise`; write that, or remove it"]),
    ("{tokens: 999, policy: summarise, summariser: bb}", ['services.a.history.summariser: there is no service `bb`; did you mean "b"?']),
    ("{tokens: 999, policy: summarise, summariser: a}", ["services.a.history.summariser: `a` has its own conversations summarised; name one that does not"]),
    ("{tokens: 99, policy: summarise, summariser: b}", ["services.a.history.summary_tokens: must be at most half of `tokens`"]),
]  # fmt: skip


@pytest.mark.parametrize(("history", "lines"), HISTORIES, ids=range(len(HISTORIES)))
def test_mistakes_of_a_history(tmp_path: Path, history: str, lines: list[str]) -> None:
    path = deployment(tmp_path, f"  a: {{model: m, history: {history}}}\n  b: {{model: m}}\n")
    with pytest.raises(ConfigErrors) as caught:
        load(path, {})
    assert [line.removeprefix(f"{path}:3: ") for line in caught.value.message.splitlines()] == lines


def test_a_prompt_goes_by_its_name_its_digest_and_its_aliases() -> None:
    old = version("greeting", Prompt(system="old"), created_at=1.0)
    kept = version("greeting", Prompt(system="kept"), created_at=2.0)
    here = version("greeting", Prompt(system="here"))
    aliases = [
        Alias(kind="prompt", name="greeting", alias="production", digest=old.digest),
        Alias(kind="prompt", name="greeting", alias="gone", digest="0" * 16),
        Alias(kind="model", name="greeting", alias="model", digest=old.digest),
    ]
    assert references({"greeting": here}, [kept, old], aliases) == {
        "greeting": here,
        here.id: here,
        kept.id: kept,
        old.id: old,
        "greeting@production": old,
    }
    assert references({}, [kept, old])["greeting"] == kept

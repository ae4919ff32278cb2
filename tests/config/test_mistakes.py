"""Broken deployment files, and what is said of them. Each case is one file and every line that must be printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.config import ConfigErrors, load, read
from penstock.edge.http.config import ServerSettings

ENV = {"KEY": "s3cr3t-value", "WORD": "many", "EMPTY": ""}
SERVICES = "services: {a: {model: m}}\n"
FAKE = "models: {m: {engine: fake}}\n"


def said(text: str | bytes) -> list[str]:
    raw = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(ConfigErrors) as caught:
        read(raw, "f.yaml", ENV)
    return caught.value.message.splitlines()


CASES: list[tuple[str, str, list[str]]] = [
    ("empty", "", ["f.yaml: is empty; it needs `models` and `services` (`penstock init` writes a start)"]),
    ("comment", "# x\n", ["f.yaml: is empty; it needs `models` and `services` (`penstock init` writes a start)"]),
    ("null", "~", ["f.yaml: is empty; it needs `models` and `services` (`penstock init` writes a start)"]),
    (
        "list",
        "- a\n",
        [
            "f.yaml:1: must be a mapping with the keys `server`, `state`, `access`, `observe`, `cache`, `prompts`, `models`, `services`, and is a list"
        ],
    ),
    (
        "text",
        "hello",
        [
            "f.yaml:1: must be a mapping with the keys `server`, `state`, `access`, `observe`, `cache`, `prompts`, `models`, `services`, and is a single value"
        ],
    ),
    (
        "nothing in it",
        "server: {}",
        [
            "f.yaml:1: lacks the key `models` (a mapping of names to mappings)",
            "f.yaml:1: lacks the key `services` (a mapping of names to mappings)",
        ],
    ),
    (
        "empty parts",
        "models: {}\nservices:\n",
        [
            "f.yaml:1: models: must have at least one entry",
            "f.yaml:2: services: has no value; it must be a mapping of names to mappings",
        ],
    ),
    (
        "top key",
        FAKE + SERVICES + "servers: {}\n",
        ['f.yaml:3: servers: unknown key; did you mean "server"?'],
    ),
    (
        "far key",
        "server: {zzz: 1}\n" + FAKE + SERVICES,
        ["f.yaml:1: server.zzz: unknown key; known: " + ", ".join(ServerSettings.__struct_fields__)],
    ),
    (
        "several at once",
        "server:\n  prot: 1\n  port: many\nmodels:\n  m:\n    engine: fake\n    dimension: 3\nservices:\n  a: {modle: m}\n",
        [
            'f.yaml:2: server.prot: unknown key; did you mean "port"?',
            "f.yaml:3: server.port: must be a whole number, 1 to 65535, and is `many`",
            'f.yaml:7: models.m.dimension: unknown key; did you mean "dimensions"?',
            "f.yaml:9: services.a: lacks the key `model` (text)",
            'f.yaml:9: services.a.modle: unknown key; did you mean "model"?',
        ],
    ),
    (
        "engine unknown",
        "models: {m: {engine: lama-cpp, weights: x}}\n" + SERVICES,
        ['f.yaml:1: models.m.engine: there is no engine `lama-cpp`; did you mean "llamacpp"?'],
    ),
    (
        "engine missing",
        "models:\n  m:\n    base_url: http://h/v1\n" + SERVICES,
        ["f.yaml:2: models.m: lacks the key `engine` (one of llamacpp, openai, anthropic, fake)"],
    ),
    (
        "engine misspelt",
        "models: {m: {engin: fake}}\n" + SERVICES,
        [
            "f.yaml:1: models.m: lacks the key `engine` (one of llamacpp, openai, anthropic, fake), "
            "or is `engin` meant to be it?"
        ],
    ),
    (
        "another engine's key",
        "models: {m: {engine: fake, base_url: http://h}}\n" + SERVICES,
        [
            "f.yaml:1: models.m.base_url: is a key of engine openai, anthropic, not of fake; known: answers, dimensions"
        ],
    ),
    (
        "a choice",
        "models: {m: {engine: llamacpp, weights: a.gguf, task: embeding}}\n" + SERVICES,
        ['f.yaml:1: models.m.task: must be one of chat, embedding, and is `embeding`; did you mean "embedding"?'],
    ),
    (
        "list index",
        "models:\n  m:\n    engine: fake\n    answers:\n      - text: a\n      - tool_calls:\n        - {arguments: 1}\n"
        + SERVICES,
        ["f.yaml:7: models.m.answers[1].tool_calls[0]: lacks the key `name` (text)"],
    ),
    (
        "mapping for a number",
        "server: {port: {a: 1}, heartbeat_s: [1]}\n" + FAKE + SERVICES,
        [
            "f.yaml:1: server.port: must be a whole number, 1 to 65535, and is a mapping",
            "f.yaml:1: server.heartbeat_s: must be a number, above 0, at most 86400, and is a list",
        ],
    ),
    (
        "no value",
        "server:\n  port:\n" + FAKE + SERVICES,
        ["f.yaml:2: server.port: has no value; it must be a whole number, 1 to 65535"],
    ),
    (
        "size",
        "server: {max_body_bytes: 16 mega}\n" + FAKE + SERVICES,
        [
            "f.yaml:1: server.max_body_bytes: must be a number of bytes, such as 16MiB, at least 1KiB, "
            "and is `16 mega`".replace("at least 1KiB", "1KiB to 1TiB")
        ],
    ),
    (
        "not finite",
        "server: {heartbeat_s: .inf}\n" + FAKE + SERVICES,
        ["f.yaml:1: server.heartbeat_s: must be a number, above 0, at most 86400, and is `.inf`"],
    ),
    (
        "written twice",
        "models:\n  m: {engine: fake}\n  m: {engine: fake}\n" + SERVICES,
        ["f.yaml:3: models.m: is written twice, first on line 2; remove one"],
    ),
    (
        "names",
        'models: {"a b": {engine: fake}, m: {engine: fake}}\nservices: {a: {model: m}, "": {model: m}}\n',
        [
            "f.yaml:1: models.a b: a name here is 1 to 128 letters, digits and . _ - / : "
            "that begins with a letter or a digit",
            "f.yaml:2: services.: a name here is 1 to 128 letters, digits and . _ - / : "
            'that begins with a letter or a digit, or "*"',
        ],
    ),
    (
        "a key that is no text",
        "? [a]\n: 1\n" + FAKE + SERVICES,
        ["f.yaml:1: a key must be text"],
    ),
    (
        "tag",
        "models: !!python/object:os.system {m: {engine: fake}}\n" + SERVICES,
        ["f.yaml:1: models: has the YAML tag `!!python/object:os.system`; remove it, no tags are used"],
    ),
    ("tab", "server:\n\tport: 1\n", ["f.yaml:2: a tab cannot indent YAML; use spaces"]),
    (
        "unclosed",
        "models: {m: {engine: fake}\n",
        ["f.yaml:2: not valid YAML: expected ',' or '}', but got '<stream end>'"],
    ),
    (
        "colon",
        "models: a: b\n",
        ["f.yaml:1: a `:` does not fit here; quote the value, or mend the indentation"],
    ),
    (
        "unquoted reference in braces",
        "server: {port: ${PORT}}\n",
        ['f.yaml:1: between braces or brackets a value with `{` in it needs quotes: "${NAME}"'],
    ),
    ("alias", "models: *x\n", ["f.yaml:1: not valid YAML: found undefined alias 'x'"]),
    (
        "two documents",
        FAKE + SERVICES + "---\nx: 1\n",
        ["f.yaml:3: a second YAML document begins here; a file has one"],
    ),
    (
        "model unknown",
        "models: {small: {engine: fake}}\nservices:\n  a: {model: smal, fallback: [small, large]}\n",
        [
            'f.yaml:3: services.a.model: there is no model `smal`; did you mean "small"?',
            "f.yaml:3: services.a.fallback[1]: there is no model `large`; known: small",
        ],
    ),
    (
        "fallback to itself",
        FAKE + "services: {a: {model: m, fallback: [m]}}\n",
        ["f.yaml:2: services.a.fallback[0]: `m` is named before; remove it here"],
    ),
    (
        "aliases",
        FAKE + 'services:\n  a: {model: m, aliases: [b, x, x, "*"]}\n  b: {model: m, aliases: [x]}\n',
        [
            "f.yaml:3: services.a.aliases[0]: `b` is already a name of the service `b`; remove it here",
            "f.yaml:3: services.a.aliases[2]: `x` is given twice; remove it here",
            "f.yaml:3: services.a.aliases[3]: `*` is no name: letters, digits and . _ - / : make one; "
            "to catch every other name, call a service `*`",
            "f.yaml:4: services.b.aliases[0]: `x` is already a name of the service `a`; remove it here",
        ],
    ),
    (
        "a model with mistakes is still a model",
        "models: {m: {engine: fake, dimensions: 0}}\n" + SERVICES,
        ["f.yaml:1: models.m.dimensions: must be a whole number, at least 1, and is `0`"],
    ),
    (
        "urls",
        "models:\n  m: {engine: openai, base_url: 'ftp://u:pw@h/v1', proxy: 'http://[x', ca_file: 1}\n" + SERVICES,
        [
            "f.yaml:2: models.m.base_url: must be an http:// or https:// URL, such as http://127.0.0.1:8000/v1",
            "f.yaml:2: models.m.proxy: must be an http:// or https:// URL, such as http://127.0.0.1:8000/v1",
        ],
    ),
    (
        "weights that can be changed on their way",
        "models:\n  m: {engine: llamacpp, weights: 'http://h/m.gguf'}\n"
        f"  n: {{engine: llamacpp, weights: 'http://h/m.gguf', sha256: {'0' * 64}}}\n"
        "  o: {engine: llamacpp, weights: 'http://127.0.0.1/m.gguf'}\n" + SERVICES,
        ["f.yaml:2: models.m.weights: plain http: can be changed on its way; use https:, or add `sha256`"],
    ),
    (
        "not set",
        "models: {m: {engine: openai, api_key: '${NOT_SET}'}}\n" + SERVICES,
        [
            "f.yaml:1: models.m.api_key: the environment variable NOT_SET is not set; set it, "
            "or write `${NOT_SET:-...}` to give a default"
        ],
    ),
    (
        "set but empty",
        "models: {m: {engine: openai, api_key: '${EMPTY}'}}\n" + SERVICES,
        [
            "f.yaml:1: models.m.api_key: the environment variable EMPTY is set but empty; set it, "
            "or write `${EMPTY:-...}` to give a default"
        ],
    ),
    (
        "no reference",
        "models: {m: {engine: openai, api_key: '${not a name}'}}\n" + SERVICES,
        [
            "f.yaml:1: models.m.api_key: `${` must be followed by a variable's name and `}`; "
            "write `$${` to mean the characters"
        ],
    ),
]


@pytest.mark.parametrize(("text", "lines"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_every_mistake_is_said_by_its_line(text: str, lines: list[str]) -> None:
    assert said(text) == lines


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        (b"models: {}\nx: \xff\n", "f.yaml:2: is not UTF-8 text; save the file as UTF-8"),
        (b"models: {}\nx\0: 1\n", "f.yaml:2: holds a NUL byte; remove it"),
        (b"a: \x1b[0m\n", "f.yaml:1: holds the control character U+001B; remove it"),
        (b"#" * (1 << 21), "f.yaml: is larger than 1024 KiB; it should be small text"),
        (b"[" * 500_000, "f.yaml:1: nested deeper than 40 levels"),
        (b"a:\n" + b"".join(b" " * i + b"- \n" for i in range(1, 90)), "f.yaml:41: nested deeper than 40 levels"),
    ],
)
def test_bytes_that_are_no_deployment_file(raw: bytes, line: str) -> None:
    assert said(raw) == [line]


@pytest.mark.parametrize(
    "where",
    [
        "models: {m: {engine: '${KEY}'}}\n" + SERVICES,
        "models: {m: {engine: llamacpp, weights: '${KEY}', sha256: '${KEY}', task: '${KEY}', slots: '${KEY}'}}\n"
        + SERVICES,
        "models: {m: {engine: openai, base_url: '${KEY}', proxy: '${KEY}', timeout_s: '${KEY}'}}\n" + SERVICES,
        FAKE + "services: {a: {model: '${KEY}', fallback: ['x${KEY}'], aliases: ['${KEY} ', m, m]}}\n",
        "server: {port: '${KEY}', max_body_bytes: '${KEY}'}\n" + FAKE + SERVICES,
    ],
)
def test_what_the_environment_gives_is_never_shown(where: str) -> None:
    lines = said(where)
    assert lines
    assert "s3cr3t" not in "\n".join(lines)
    assert "${KEY}" in "\n".join(lines)


def test_aliases_of_aliases_end_soon() -> None:
    levels = "".join(f"l{n}: &l{n} {{<<: [{', '.join([f'*l{n - 1}'] * 9)}]}}\n" for n in range(1, 12))
    bomb = "l0: &l0 {engine: fake}\n" + levels + "models: {m: *l11}\n" + SERVICES
    assert any("more than 50000 values" in line for line in said(bomb))


def test_a_merge_of_itself_ends() -> None:
    assert any("deeper than" in line for line in said("models: &m {<<: *m, a: {engine: fake}}\n" + SERVICES))


def test_an_alias_of_what_it_is_in_ends() -> None:
    assert said("models: {m: {engine: fake, answers: &a [*a]}}\n" + SERVICES) == [
        "f.yaml:1: models.m.answers[0]: must be a mapping, and is a list"
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.yaml", "there is no such file; `penstock init` writes one"),
        (".", "is a directory; name the file in it"),
        ("nul\0byte", "cannot be read: embedded null byte"),
        ("x" * 300, "cannot be read: File name too long"),
        ("file.yaml/below", "cannot be read: Not a directory"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "file.yaml").write_text(FAKE)
    with pytest.raises(ConfigErrors) as caught:
        load(tmp_path / name, {})
    assert [mistake.message for mistake in caught.value.mistakes] == [message]
    assert "\n" not in caught.value.message

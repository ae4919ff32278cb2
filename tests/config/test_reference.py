"""The schema and the reference page: drawn from the code, and no older than it."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from msgspec import inspect

from penstock.config import embedded, reference
from penstock.config.reference import docs, structs
from penstock.edge.cli.main import main

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("path", "args"),
    [("penstock.schema.json", []), ("deployment-file.md", ["--markdown"])],
)
def test_the_committed_reference_is_up_to_date(
    path: str, args: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["schema", *args]) == 0
    fresh = capsys.readouterr().out
    assert (ROOT / "docs/reference" / path).read_text() == fresh, f"run: penstock schema {' '.join(args)} > {path}"


@pytest.fixture(scope="module")
def page() -> str:
    return reference.page()


@pytest.mark.parametrize("kind", structs(), ids=lambda kind: kind.cls.__name__)
def test_every_setting_is_documented(kind: inspect.StructType, page: str) -> None:
    described = docs(kind.cls)
    assert kind.cls.__doc__
    for field in kind.fields:
        assert described.get(field.encode_name, "").endswith("."), field.encode_name
        assert f"`{field.encode_name}`" in page


def valid(text: bytes) -> bool:
    schema = json.loads(reference.json_schema())
    return jsonschema.Draft202012Validator(schema).is_valid(yaml.safe_load(text))


@pytest.mark.parametrize(
    "text", [embedded(), *(path.read_bytes() for path in sorted(ROOT.glob("examples/*.yaml")))], ids=str
)
def test_the_schema_takes_what_is_right(text: bytes) -> None:
    assert valid(text)


FAKE = "models: {m: {engine: fake}}\nservices: {a: {model: m}}\n"


@pytest.mark.parametrize(
    ("server", "right"),
    [
        ("{port: 1}", True),
        ("{port: 0}", False),
        ("{port: '${PORT}'}", True),
        ("{port: 'x'}", False),
        ("{prot: 1}", False),
        ("{max_body_bytes: 16MiB}", True),
        ("{max_body_bytes: 16 mega}", False),
    ],
)
def test_the_schema_knows_right_from_wrong(server: str, right: bool) -> None:
    assert valid(f"server: {server}\n{FAKE}".encode()) is right

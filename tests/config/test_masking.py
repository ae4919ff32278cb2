"""A deployment file is shown without the secrets that are written into it, and is still what it was otherwise."""

from __future__ import annotations

import pytest
import yaml

from penstock.config import ConfigErrors, loaded
from penstock.config.masking import MASK, masked

MARK = "PL4NT"

FILE = """# kept: a comment
server: {tls: {certificate: /c.pem, key: /k.pem, password: "PL4NT"}}
state: {store: "postgresql://u:PL4NT@h/n?sslpassword=PL4NT"}
access:
  counters: rediss://:PL4NT@h:6379/0
  pepper: 'PL4NT,PL4NT'
models:
  plain:
    engine: openai
    base_url: "https://u:PL4NT@h/v1"
    api_key: &name PL4NT
    headers: {authorization: "Bearer PL4NT", x-also: *name}
    proxy: http://u:PL4NT@p:1
  folded:
    engine: anthropic
    api_key:
      - "PL4NT\\u0021"
      - >-
        PL4NT
      - |
        PL4NT
    timeout_s: 7
  outside: {engine: openai, api_key: "${KEY}", headers: {a: "Bearer ${KEY}"}, proxy: "http://u:${KEY}@p:1"}
  default: {engine: openai, api_key: "${KEY:-PL4NT}"}
  none: {engine: openai, api_key: none, base_url: "http://user@h/v1"}
services: {s: {model: plain, fallback: [folded, outside, default, none]}}
"""


def test_secrets_are_masked_and_the_rest_stays_as_it_was_written() -> None:
    raw = FILE.encode()
    assert loaded(raw, "f.yaml", {"KEY": "k"}).file.models["plain"].api_key == MARK  # type: ignore[union-attr]
    shown = masked(raw)
    assert MARK not in shown
    assert shown.startswith("# kept: a comment\nserver: {tls: {certificate: /c.pem, key: /k.pem, password: ")
    read = yaml.safe_load(shown)
    assert read["state"]["store"] == f"postgresql://u:{MASK}@h/n?sslpassword={MASK}"
    assert read["access"] == {"counters": f"rediss://:{MASK}@h:6379/0", "pepper": MASK}
    models = read["models"]
    assert models["plain"]["base_url"] == f"https://u:{MASK}@h/v1"
    assert models["plain"]["headers"] == {"authorization": MASK, "x-also": MASK}
    assert models["folded"] == {"engine": "anthropic", "api_key": [MASK] * 3, "timeout_s": 7}
    assert models["outside"] == yaml.safe_load(FILE)["models"]["outside"]
    assert models["default"]["api_key"] == MASK
    assert models["none"] == yaml.safe_load(FILE)["models"]["none"]


def test_a_file_without_secrets_is_shown_as_it_is() -> None:
    text = "models: {m: {engine: fake}}  # yes\nservices:\n  s: {model: m}\n"
    assert masked(b"\xef\xbb\xbf" + text.encode()) == text


@pytest.mark.parametrize(
    "line",
    [
        f'models: {{m: {{engine: openai, api_key: "{MASK}"}}}}',
        f'models: {{m: {{engine: openai, headers: {{a: "{MASK}"}}}}}}',
        f'models: {{m: {{engine: openai, proxy: "http://u:{MASK}@p:1"}}}}',
        f'models: {{m: {{engine: fake}}}}\nstate: {{store: "postgresql://u:{MASK}@h/n"}}',
    ],
)
def test_what_was_shown_masked_is_not_taken_for_the_secret(line: str) -> None:
    with pytest.raises(ConfigErrors, match="shown in place of a secret"):
        loaded((line + "\nservices: {s: {model: m}}\n").encode(), "f.yaml", {})


def test_stars_elsewhere_are_stars() -> None:
    text = f'models: {{m: {{engine: fake, answers: [{{text: "{MASK}"}}]}}}}\nservices: {{s: {{model: m}}}}\n'
    assert masked(text.encode()) == text
    assert loaded(text.encode(), "f.yaml", {}).file.services

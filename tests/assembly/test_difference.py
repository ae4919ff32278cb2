"""What a new file changes, told line by line, and never a secret with it."""

from __future__ import annotations

import pytest

from penstock.assembly.difference import difference
from penstock.config import loaded

HERE = "{engine: llamacpp, weights: 'file:/a.gguf'%s}"


def file(models: str = "", services: str = "", server: str = "") -> str:
    return f"""
server: {{host: 127.0.0.1{server}}}
models:
  quick: {{engine: fake}}
{models}
services:
  quick: {{model: quick}}
{services}
"""


def told(old: str, new: str, env: dict[str, str] | None = None) -> tuple[list[str], list[str]]:
    before, after = loaded(old.encode(), "old", env or {}), loaded(new.encode(), "new", env or {})
    found = difference(before.file, after.file, before.hidden | after.hidden)
    return list(found.changed), list(found.needs_restart)


def here(more: str = "", name: str = "small") -> str:
    return f"  {name}: {HERE % more}"


HOSTED = "  big: {engine: openai, base_url: 'http://one/v1', api_key: sk-first%s}"


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        (file(), file(), []),
        (file(), file(services="  b: {model: quick}"), ["added service b: quick"]),
        (file(services="  b: {model: quick}"), file(), ["removed service b"]),
        (
            file("  slow: {engine: fake}", "  b: {model: quick}"),
            file("  slow: {engine: fake}", "  b: {model: slow, fallback: [quick], retry: {attempts: 5}}"),
            ["changed service b: model quick -> slow, fallback (none) -> quick, retry.attempts 3 -> 5"],
        ),
        (
            file("  a: {engine: fake}\n  b: {engine: fake}", "  s: {model: a, fallback: [b]}"),
            file("  a: {engine: fake}\n  b: {engine: fake}", "  s: {model: a, hedge: {after_s: 1}}"),
            ["changed service s: fallback b -> (none), hedge"],
        ),
        (file(), file(here()), ["added model small (llamacpp); 1 copy is started"]),
        (file(), file(here(", replicas: 2")), ["added model small (llamacpp); 2 copies are started"]),
        (file(here()), file(), ["removed model small; its copies end what they are at and stop"]),
        (file(here()), file(here(", replicas: 3")), ["changed model small: replicas 1 -> 3"]),
        (file(here()), file(here(", timeout_s: 5")), ["changed model small: timeout_s 600 -> 5"]),
        (
            file(here()),
            file(here(", context: 2048, health: {misses: 5}")),
            ["changed model small: context (none) -> 2048, health.misses 3 -> 5; "
             "its copies are replaced one at a time"],
        ),
        (
            file(here()),
            file(here().replace("/a.gguf", "/b.gguf")),
            ["changed model small: weights file:/a.gguf -> file:/b.gguf; its copies are replaced one at a time"],
        ),
        (file(), file(HOSTED % ""), ["added model big (openai)"]),
        (file(HOSTED % ""), file(), ["removed model big"]),
        (
            file(HOSTED % ", timeout_s: 1.5"),
            file(HOSTED.replace("sk-first", "sk-second") % ", model: gpt, headers: {x-secret: hush}"),
            ["changed model big: model (none) -> gpt, api_key, headers, timeout_s 1.5 -> 600"],
        ),
        (
            file(here()),
            file((HOSTED % "").replace("big", "small")),
            ["changed model small: engine llamacpp -> openai; its copies end what they are at and stop"],
        ),
        (
            file((HOSTED % "").replace("big", "small")),
            file(here(", replicas: 2")),
            ["changed model small: engine openai -> llamacpp; 2 copies are started, "
             "and what there was serves until one is ready"],
        ),
        (
            file(here().replace("file:/a.gguf", "https://me:pw@x/a.gguf")),
            file(here().replace("file:/a.gguf", "https://me:pw@x/b.gguf")),
            ["changed model small: weights; its copies are replaced one at a time"],
        ),
    ],
)  # fmt: skip
def test_each_change_is_a_line(old: str, new: str, lines: list[str]) -> None:
    assert told(old, new) == (lines, [])


def test_what_the_server_is_made_with_needs_a_restart() -> None:
    assert told(file(), file(server=", port: 9090, max_body_bytes: 1MiB")) == (
        [], ["server.port 8080 -> 9090", "server.max_body_bytes 16777216 -> 1048576"],
    )  # fmt: skip


def test_where_answers_are_kept_needs_a_restart_and_which_are_does_not() -> None:
    before = file(services="  b: {model: quick, cache: {exact: {ttl_s: 5}}}")
    tiers = "cache: {memory: 1MiB, redis: {url: 'redis://:hush@h', namespace: red}}"
    after = file(services="  b: {model: quick, cache: {exact: {ttl_s: 60}, per_caller: true}}") + tiers
    assert told(before, after) == (
        ["changed service b: cache.exact.ttl_s 5 -> 60, cache.per_caller false -> true"],
        ["cache.memory 67108864 -> 1048576", "cache.redis"],
    )
    moved = after.replace("hush@h", "hush@other").replace("namespace: red", "namespace: blue")
    assert told(after, moved) == ([], ["cache.redis.url", "cache.redis.namespace red -> blue"])


def test_what_comes_from_the_environment_is_never_shown() -> None:
    env = {"SECRET": "4711", "NAME": "hush"}
    new = file("  slow: {engine: fake}\n" + here(", context: '${SECRET}'"), server=", port: '${SECRET}'").replace(
        "quick: {model: quick}", "quick: {model: quick, aliases: ['${NAME}']}"
    )
    changed, restart = told(file(here()), new, env)
    assert changed == [
        "changed service quick: aliases",
        "added model slow (fake)",
        "changed model small: context; its copies are replaced one at a time",
    ]
    assert restart == ["server.port"]
    assert not any(value in line for line in changed + restart for value in env.values())

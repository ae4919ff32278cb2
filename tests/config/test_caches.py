"""What a deployment file says of caches: where answers are kept, and which of each service are."""

from __future__ import annotations

import pytest

from penstock.caches.config import CacheSettings, RedisSettings, S3Settings
from penstock.config import ConfigErrors, read, services_of
from penstock.config.masking import MASK, masked
from penstock.core.caching import Agreement, CacheFallback, CachePolicy, Exact, Semantic

MODELS = "models: {m: {engine: fake}}\n"
OTHERS = "services:\n  embed: {model: m, aliases: [vectors]}\n  judge: {model: m}\n"


def said(text: str) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        read(text.encode(), "f", {"PASSWORD": "hush"})
    return [each.shown("f").split(": ", 1)[1] for each in caught.value.mistakes]


def test_nothing_is_kept_unless_a_service_says_so() -> None:
    file = read(f"{MODELS}services: {{a: {{model: m}}}}".encode(), "f", {})
    assert file.cache == CacheSettings(memory=64 << 20)
    assert services_of(file, 0.0)["a"].policy.cache is None


def test_a_service_has_what_the_file_says_of_it() -> None:
    file = read(
        f"""{MODELS}
cache:
  memory: 128MiB
  redis: {{url: 'rediss://:${{PASSWORD}}@h:6380/2', namespace: red}}
  s3: {{place: 's3://cold/answers'}}
services:
  embed: {{model: m}}
  a:
    model: m
    cache:
      exact: {{ttl_s: 60, stale_s: 5, sampled: true, max_entry_bytes: 64KiB}}
      semantic: {{max_error: 0.02, agreement: {{check: exact}}}}
      fallback: {{within_s: 7}}
      tags: [docs]
      per_caller: true
""".encode(),
        "f",
        {"PASSWORD": "hush"},
    )
    assert file.cache == CacheSettings(
        memory=128 << 20,
        redis=RedisSettings(url="rediss://:hush@h:6380/2", namespace="red"),
        s3=S3Settings(place="s3://cold/answers"),
    )
    assert "hush" not in repr(file) + repr(file.cache)
    assert services_of(file, 0.0)["a"].policy.cache == CachePolicy(
        exact=Exact(ttl_s=60, stale_s=5, sampled=True, max_entry_bytes=64 << 10),
        semantic=Semantic(max_error=0.02, agreement=Agreement(check="exact")),
        fallback=CacheFallback(within_s=7),
        tags=["docs"],
        per_caller=True,
    )


URL = "cache.redis.url: must be the URL of a Redis: redis://HOST:PORT/NUMBER, rediss:// with TLS, or unix:///PATH"


@pytest.mark.parametrize(
    "url",
    [
        *("http://h", "h:6379", "redis://", "redis:///1", "redis://h:many", "redis://h:0", "redis://a b", "unix://"),
        *("redis://h/abc", "redis://h/1/2", "redis://h/-1"),
    ],
)
def test_a_url_of_no_redis_is_refused_and_not_repeated(url: str) -> None:
    assert said(f"cache: {{redis: {{url: '{url}'}}}}\n{MODELS}services: {{a: {{model: m}}}}") == [URL]


@pytest.mark.parametrize(
    "url",
    ["redis://h", "redis://h/", "redis://:p@h:1/0", "rediss://u:p@h", "unix:///run/redis.sock", "redis://[::1]:6379"],
)
def test_a_url_of_a_redis_is_taken(url: str) -> None:
    file = read(f"cache: {{redis: {{url: '{url}'}}}}\n{MODELS}services: {{a: {{model: m}}}}".encode(), "f", {})
    assert file.cache.redis == RedisSettings(url=url)


def test_a_url_from_outside_is_not_repeated_either() -> None:
    text = f"cache: {{redis: {{url: 'http://:${{PASSWORD}}@h'}}}}\n{MODELS}services: {{a: {{model: m}}}}"
    assert said(text) == ["cache.redis.url: does not have the right form once `http://:${PASSWORD}@h` is filled in"]


def test_the_file_is_shown_without_the_password() -> None:
    text = f"cache: {{redis: {{url: 'redis://u:hush@h/0'}}}}\n{MODELS}services: {{a: {{model: m}}}}"
    assert f"redis://u:{MASK}@h/0" in masked(text.encode())


AT = "services.a.cache.semantic"
POLICIES = [
    ("semantic: {max_error: 0.1}", []),
    ("semantic: {max_error: 0.1, embedder: vectors}", []),
    ("semantic: {max_error: 0.1, embedder: vectros}", [f'{AT}.embedder: there is no service `vectros`; did you mean "vectors"?']),
    ("semantic: {max_error: 0.1, agreement: {check: judge, judge: judge}}", []),
    ("semantic: {max_error: 0.1, agreement: {check: judge, judge: fudge}}", [f'{AT}.agreement.judge: there is no service `fudge`; did you mean "judge"?']),
    ("semantic: {max_error: 0.1, agreement: {judge: judge}}", [f"{AT}.agreement.judge: is for `check: judge`; write that, or remove it"]),
    (
        "semantic: {max_error: 0.1, agreement: {check: judge}}",
        [f"{AT}.agreement: `check: judge` lacks `judge`: name the service that compares answers"],
    ),
    ("semantic: {}", [f"{AT}: lacks the key `max_error` (a number, above 0, at most 0.5)"]),
    ("fallback: {}", ["services.a.cache: `fallback` lacks `exact`: no answers are kept that could serve; add `exact: {}`"]),
    ("exact:", ["services.a.cache.exact: has no value; write `{}` for its defaults, or remove it"]),
    ("exact: null", []),
    ("exact: {ttl: 5}", ['services.a.cache.exact.ttl: unknown key; did you mean "ttl_s"?']),
]  # fmt: skip


@pytest.mark.parametrize(("policy", "lines"), POLICIES)
def test_every_mistake_in_a_policy_is_named_with_its_mend(policy: str, lines: list[str]) -> None:
    text = f"{MODELS}{OTHERS}  a: {{model: m, cache: {{{policy}}}}}"
    if lines:
        assert said(text) == lines
    else:
        read(text.encode(), "f", {})


def test_without_a_service_that_embeds_the_one_that_is_missing_is_named() -> None:
    text = f"{MODELS}services: {{a: {{model: m, cache: {{semantic: {{max_error: 0.1}}}}}}}}"
    assert said(text) == ["services.a.cache.semantic.embedder: there is no service `embed`; known: a"]


LOCAL = """
models:
  talks: {engine: llamacpp, weights: "file:/m.gguf"}
  embeds: {engine: llamacpp, task: embedding, weights: "file:/e.gguf"}
services:
  chat: {model: talks}
  vectors: {model: embeds}
"""


@pytest.mark.parametrize(
    ("policy", "lines"),
    [
        ("embedder: vectors, agreement: {check: judge, judge: chat}", []),
        ("embedder: chat", [f"{AT}.embedder: `chat` is for chat; name a service whose model embeds"]),
        (
            "embedder: vectors, agreement: {check: judge, judge: vectors}",
            [f"{AT}.agreement.judge: `vectors` is for embedding; name a service that chats"],
        ),
    ],
)
def test_services_that_cannot_do_what_they_are_named_for(policy: str, lines: list[str]) -> None:
    text = f"{LOCAL}  a: {{model: talks, cache: {{semantic: {{max_error: 0.1, {policy}}}}}}}"
    if lines:
        assert said(text) == lines
    else:
        read(text.encode(), "f", {})


def test_a_service_with_mistakes_of_its_own_is_there() -> None:
    text = f"{MODELS}services: {{embed: {{modle: m}}, a: {{model: m, cache: {{semantic: {{max_error: 0.1}}}}}}}}"
    assert not [line for line in said(text) if "embedder" in line]


def test_gateways_share_answers_to_similar_questions_by_a_redis() -> None:
    shared = read(
        f"{MODELS}cache: {{semantic_index: shared, redis: {{url: 'redis://h'}}}}\n{OTHERS}".encode(), "f", {}
    )
    assert shared.cache.semantic_index == "shared"
    (mistake,) = said(f"{MODELS}cache: {{semantic_index: shared}}\n{OTHERS}")
    assert "name the Redis" in mistake

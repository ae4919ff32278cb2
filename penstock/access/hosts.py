"""Which host of models is behind an address: the word that its prices stand under in the shipped table."""

from __future__ import annotations

from urllib.parse import urlsplit

_HOSTS = {
    "api.openai.com": "openai",
    "api.anthropic.com": "anthropic",
    "generativelanguage.googleapis.com": "gemini",
    "api.mistral.ai": "mistral",
    "api.groq.com": "groq",
    "api.together.xyz": "together",
    "api.together.ai": "together",
    "api.deepseek.com": "deepseek",
    "api.x.ai": "xai",
    "api.cohere.com": "cohere",
    "api.cohere.ai": "cohere",
    "api.voyageai.com": "voyage",
}


def host_of(base_url: str) -> str:
    """The host's word, such as ``groq``; empty for an address that is none of theirs, or no address at all."""
    try:
        return _HOSTS.get(urlsplit(base_url).hostname or "", "")
    except ValueError:
        return ""

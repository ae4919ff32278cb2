"""Which requests go past the cache, because no answer to an earlier question can be known to serve: a rule for each,
and a word that says which."""

from __future__ import annotations

import re
from typing import Final, Literal

import msgspec

Past = Literal["tools", "images", "empty", "long", "hidden", "now", "own", "varied", "leans"]
"""Why: it may call tools; it has more than text; there is nothing to compare; it is too long to be a question; it has
characters that nobody sees; the answer hangs on the moment; it is about somebody's own things; it asks for something
new each time; it leans on what was said before."""

LONGEST: Final = 2000
"""Characters. A longer text is a document, and a question about it hangs on every word."""

_NOW: Final = re.compile(
    r"\b(today|tonight|tomorrow|yesterday|now|nowadays|currently|current|latest|recent|recently|newest|upcoming|"
    r"at the moment|so far|up[- ]to[- ]date|as of|live (score|stream)s?|news|headlines|weather|forecast|"
    r"(this|next|last|coming|past) (week|weekend|month|year|morning|afternoon|evening|night|season|quarter|monday|"
    r"tuesday|wednesday|thursday|friday|saturday|sunday)|what time is it|what day is it|what is the (time|date)|"
    r"open now|stock price|share price|exchange rate|price of (bitcoin|gold|oil|ethereum)|who is winning|"
    r"ago|still|yet|any updates?|trending)\b"
)
_OWN: Final = re.compile(
    r"\b(my|our) (\w+ )?(orders?|accounts?|invoices?|subscriptions?|bookings?|reservations?|flights?|tickets?|"
    r"packages?|parcels?|delivery|deliveries|shipments?|payments?|refunds?|balance|bills?|appointments?|applications?|claims?|"
    r"cases?|contracts?|salary|payslips?|statements?|transactions?|purchases?|cart|basket|membership|profile|data|"
    r"files?|emails?|messages?|calendar|schedule|results?|grades?|prescriptions?|policy|plan|name|address|"
    r"location|document|code|essay|resume|cv|cover letter)\b|"
    r"\b(order|invoice|ticket|tracking|case|account|customer|reference|booking) (number|no|id|code|#)|"
    r"\bwhere('s| is| are) my\b|\bhave i\b|\bdid i\b|\bam i\b|\bdo i (still )?(have|owe)\b|"
    r"[\w.+-]@[\w-]+\.\w|https?://|\bwww\.|\d{6,}|\b[0-9a-f]{8}-[0-9a-f]{4}-|#\d{3,}|\b(here is|here's|here are|the "
    r"following|below|attached|this (text|code|article|document|email|sentence|paragraph|file|error|image))\b"
)
_VARIED: Final = re.compile(
    r"\b(random|randomly|surprise me|another|something (new|else|different)|roll (a|the) dice|flip a coin|shuffle|"
    r"generate (a|an|me a) (password|uuid|name|number)|tell me (a|an|one more) \w+|pick (a|one)|different one|"
    r"again|once more|one more)\b"
)
_LEANS: Final = re.compile(
    r"^(and|but|or|so|also|then|ok|okay|yes|no|sure|thanks|thank you|please|why|how so|really|what about|how about|"
    r"what if|what else|which one|go on|continue|more|in that case|same|wait|now)\b|"
    r"\b(it|its|that|this|these|those|they|them|their|he|him|his|she|her|hers|there|the (first|second|third|last|"
    r"former|latter|other|same|above|previous) ?(one|ones|option|point|example|answer|question)?|"
    r"you (said|say|mentioned|wrote|told|suggested|meant)|"
    r"your (answer|reply|last|previous|suggestion|example|list)|instead|shorter|longer|simpler|"
    r"rephrase|rewrite|summari[sz]e|elaborate|expand|translate|as before|earlier|above|previous|previously)\b"
)
# Tags, fillers, overrides and private characters say something to a model that nobody sees and few embeddings tell;
# joiners and variants of emoji and of scripts do only in rows.
_HIDDEN: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u115f\u1160\u200b\u202a-\u202e\u2060-\u206f\u3164\ue000-\uf8ff\ufeff"
    "\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff\U000f0000-\U0010ffff]|"
    "[\u00ad\u034f\u180b-\u180f\u200c-\u200f\ufe00-\ufe0f]{3}"
)
_WORD: Final = re.compile(r"[^\W_]+")
_LEAST: Final = 4


class Asked(msgspec.Struct, frozen=True, gc=False):
    """What is known of a request. ``text`` is the last thing that the user said; ``turns`` how many messages of the
    conversation, but for system prompts, came before it."""

    text: str
    turns: int
    tools: bool
    images: bool
    """Or any other part that is not text."""


def past(asked: Asked) -> Past | None:
    """Why this request goes past the semantic cache, ``None`` where it may be served from it. Rather too often than
    too seldom: English wordings are known, and a follow-up must speak for itself in four words."""
    if asked.tools:
        return "tools"
    if asked.images:
        return "images"
    if len(asked.text) > LONGEST:
        return "long"
    if _HIDDEN.search(asked.text):
        return "hidden"
    text = asked.text.lower().replace("’", "'").strip()
    words = len(_WORD.findall(text))
    if not words:
        return "empty"
    if _NOW.search(text):
        return "now"
    if _OWN.search(text):
        return "own"
    if _VARIED.search(text):
        return "varied"
    if asked.turns and (words < _LEAST or _LEANS.search(text)):
        return "leans"
    return None

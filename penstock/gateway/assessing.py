"""Assessing: the scores of an answer that take its text, and some of them another model. What the gateway asks for is
asked as itself: after everybody else, bound by no limit, internal in the ledger, and never scored."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

import msgspec

from penstock.core.chat import Call, Kind
from penstock.core.releases import WHOLE, Measure
from penstock.core.splice import raw
from penstock.gateway.brief import brief
from penstock.gateway.capture import KEPT_BYTES, Choice, Transcript
from penstock.gateway.inside import Ask, Embed, inner, read, size_of
from penstock.quality import scorers
from penstock.quality.config import FormatSettings, JudgeSettings, SimilaritySettings, settings_of
from penstock.quality.scorers import Form
from penstock.routing.assignment import place

_LONGEST_LOOK_S = 0.1
_MOST_MADE = 64
_MOST_NOTE = 2_000
_MOST_EMBEDDED = 8_000
"""Characters: more than an embedding model reads, mostly."""

_ENDLESS = (
    f"its regular expression or schema takes more than {_LONGEST_LOOK_S} s for some answers, and is not tried again. "
    "Write one that does not go over the same text in many ways, such as (?>a+) for a+ within another repetition"
)

Known = tuple[float, str]
"""A score, and what there is to say of it."""


class Answer:
    """One answer to be assessed. ``text`` is its first choice, ``champion`` that of the answer which the client got
    where this one is a copy's."""

    __slots__ = ("call", "champion", "cut", "size", "text")

    def __init__(self, call: Call, text: Choice | None, champion: Choice | None) -> None:
        self.call = call
        self.text = said(text)
        self.champion = None if champion is None else said(champion)
        self.cut = text is not None and text.content is not None and text.content.cut
        self.size = len(self.text) + len(self.champion or "") + size_of(call)


class Endless:
    """In the place of a form that took too long."""


class Assessing:
    """Belongs to one event loop. Remembers what the newest ``_MOST_MADE`` settings say."""

    def __init__(self, embed: Embed) -> None:
        self._embed = embed
        self._made: OrderedDict[str, Form | Endless | SimilaritySettings | JudgeSettings] = OrderedDict()

    async def score(self, of: Measure, request_id: str, name: str, answer: Answer, ask: Ask) -> Known | None:
        """What ``of`` says of the answer; None: nothing, and that is as it should be. ``request_id`` is the client's,
        ``name`` begins the ids of what is asked for it.

        Raises ``PenstockError`` and ``ValueError`` when it should say something and cannot.
        """
        match self._for(of):
            case Form() as form:
                return self._formed(of.version, form, answer)
            case Endless():
                raise ValueError(_ENDLESS)
            case SimilaritySettings() as settings:
                return await _similar(settings, f"{name}:{of.metric}", answer, self._embed)
            case JudgeSettings() as settings:
                if place(of.version, request_id) >= settings.share * WHOLE:
                    return None
                return await _judged(settings, f"{name}:{of.metric}", answer, ask)

    def _formed(self, version: str, form: Form, answer: Answer) -> Known:
        if answer.cut:
            raise ValueError(f"the answer is longer than {KEPT_BYTES} bytes")
        try:
            with brief(_LONGEST_LOOK_S):
                fault = form.fault(answer.text)
        except TimeoutError:
            # Whoever found the text that does this would send it again.
            self._made[version] = Endless()
            raise ValueError(_ENDLESS) from None
        return (0.0, fault[:_MOST_NOTE]) if fault else (1.0, "")

    def _for(self, of: Measure) -> Form | Endless | SimilaritySettings | JudgeSettings:
        made = self._made.get(of.version)
        if made is not None:
            self._made.move_to_end(of.version)
            return made
        settings = settings_of(of.scorer, of.settings)
        if isinstance(settings, FormatSettings):
            made = Form(settings)
        elif isinstance(settings, SimilaritySettings | JudgeSettings):
            made = settings
        else:
            raise ValueError(f"a scorer {of.scorer} reads no text")
        self._made[of.version] = made
        if len(self._made) > _MOST_MADE:
            self._made.popitem(last=False)
        return made


async def _similar(settings: SimilaritySettings, name: str, answer: Answer, embed: Embed) -> Known | None:
    if settings.to == "champion":
        if answer.champion is None:
            # The champion's own answer is as close to itself as can be, so that a copy's has something beside it.
            return 1.0, ""
        other = answer.champion
    else:
        other = settings.text if settings.to == "text" else last_said(answer.call)
    texts = [each.strip()[:_MOST_EMBEDDED] for each in (answer.text, other)]
    if not all(texts):
        return 0.0, "nothing was said"
    first, second = await embed(settings.service, texts, None, name=name)
    return scorers.similarity(first.values(), second.values()), ""


async def _judged(settings: JudgeSettings, name: str, answer: Answer, ask: Ask) -> Known:
    messages = scorers.judge_messages(settings, asked(answer.call), answer.text)
    fields = {"model": raw(settings.service), "messages": raw(messages)}
    heard = Transcript(True)
    await read(await ask(Call(name, Kind.CHAT, settings.service, fields), inner()), heard)
    reason = said(heard.first())
    grade = scorers.judged(settings, reason)
    if grade is None:
        raise ValueError(f"the judge '{settings.service}' gave no grade")
    return grade, reason[:_MOST_NOTE]


# -- texts ---------------------------------------------------------------------------------------------------------


class _Part(msgspec.Struct, frozen=True):
    text: str | None = None


class _Message(msgspec.Struct, frozen=True):
    role: str = ""
    content: str | list[_Part] | None = None


_messages = msgspec.json.Decoder(list[_Message])


def said(choice: Choice | None) -> str:
    """The text of a choice; its tool calls as JSON where it has no text."""
    if choice is None:
        return ""
    if choice.content is not None and isinstance(choice.content.text, str):
        return choice.content.text
    calls = [{"name": each.name, "arguments": each.arguments.text} for each in choice.tool_calls]
    return msgspec.json.encode(calls).decode() if calls else ""


def asked(call: Call) -> str:
    """What a client asked, as text: its only message, or all of them with their roles; a completion's prompt."""
    told = [(role, text) for role, text in _told(call) if text]
    if len(told) == 1:
        return told[0][1]
    return "\n\n".join(f"{role}: {text}" for role, text in told)


def last_said(call: Call) -> str:
    """The last message of a user."""
    return next((text for role, text in reversed(list(_told(call))) if role == "user" and text), "")


def _told(call: Call) -> Iterator[tuple[str, str]]:
    """Roles and texts. What a prompt of the service is filled with stands for what the user says."""
    messages = call.fields.get("messages")
    if messages is not None:
        for each in _messages.decode(messages):
            content = each.content
            text = content if isinstance(content, str) else "\n".join(part.text or "" for part in content or ())
            yield each.role, text.strip()
    for name in ("prompt", "prompt_variables"):
        if (given := call.fields.get(name)) is not None:
            text = bytes(given).decode()
            yield "user", msgspec.json.decode(given, type=str) if text.startswith('"') else text

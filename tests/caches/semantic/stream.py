"""Traffic made of templates: the same question in other words, and other questions in the same words. No subject of it
is in the traps."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

import numpy as np

from penstock.caches.semantic.desk import Candidate, Desk, Vector
from penstock.caches.semantic.profile import profile

HOW = (
    "How do I {}?",
    "How can I {}?",
    "What is the best way to {}?",
    "How should I {}?",
    "Can you tell me how to {}?",
    "What do I need to {}?",
)
VERBS = ("clean", "repair", "store", "choose", "replace", "build", "draw", "sharpen")
OBJECTS = (
    *("a bicycle chain", "a kitchen knife", "a wooden fence", "a garden hose", "a tent", "a lawn mower", "a sofa"),
    *("a wardrobe", "a fishing rod", "a telescope", "a doll house", "a kite", "a door handle", "an old clock"),
    *("a pair of boots", "a bookshelf", "a sewing machine", "a leaking tap", "a mirror", "a chimney", "a roof"),
    *("an umbrella", "a candle holder", "a wheelbarrow", "a bird cage", "a suitcase", "a pillow", "a mattress"),
)
ABOUT: tuple[tuple[str, ...], ...] = (
    ("How much does {} cost?", "What does {} cost?", "What is the price of {}?"),
    ("How heavy is {}?", "What does {} weigh?", "How much does {} weigh?"),
    ("Where does {} come from?", "What is the origin of {}?", "From which place does {} come?"),
    ("Who makes {}?", "Who is the maker of {}?", "Which people make {}?"),
    ("What is {} used for?", "What do people use {} for?", "Which uses does {} have?"),
    ("Is {} dangerous for children?", "Can {} be dangerous for children?", "Are there dangers of {} for children?"),
    ("What is {} made of?", "Which materials is {} made of?", "What are the materials of {}?"),
    ("How long does {} last?", "How many years does {} last?", "What is the life of {}?"),
)


@dataclass(frozen=True)
class Pair:
    asked: str
    answered: str
    same: bool


def stream(count: int, seed: int) -> list[Pair]:
    """Half of them the same."""
    random = Random(seed)
    return [_pair(random) for _ in range(count)]


def _pair(random: Random) -> Pair:
    verb, thing, about = random.choice(VERBS), random.choice(OBJECTS), random.choice(ABOUT)
    how = random.random() < 0.5
    templates = HOW if how else about
    first, second = random.sample(templates, 2)
    said = f"{verb} {thing}" if how else thing
    if random.random() < 0.5:
        return Pair(first.format(said), second.format(said), same=True)
    if how and random.random() < 0.5:
        other = f"{random.choice([each for each in VERBS if each != verb])} {thing}"
    else:
        apart = random.choice([each for each in OBJECTS if each != thing])
        other = f"{verb} {apart}" if how else apart
    return Pair(first.format(said), random.choice((first, second)).format(other), same=False)


def candidate(pair: Pair, vectors: Mapping[str, Vector]) -> Candidate:
    return Candidate(
        profile(pair.asked), profile(pair.answered), vectors[pair.asked], vectors[pair.answered], pair.answered
    )


def bags(texts: list[str], dimensions: int = 48) -> dict[str, Vector]:
    """Embeddings that need no model: the sum of one random vector for each stem."""
    found = {}
    for text in texts:
        parts = [
            np.random.default_rng(zlib.crc32(stem.encode())).standard_normal(dimensions)
            for stem in sorted(profile(text).content)
        ]
        total = np.sum([np.full(dimensions, 0.1), *parts], axis=0)
        found[text] = (total / np.linalg.norm(total)).astype(np.float32)
    return found


def taught(desk: Desk, pairs: list[Pair], vectors: Mapping[str, Vector], seed: int) -> list[tuple[bool, bool]]:
    """Serves them all, tells what a real gateway would find out, and returns who hit and who was wrong."""
    coins = Random(seed)
    found = []
    for pair in pairs:
        verdict = desk.decide(candidate(pair, vectors), coins.random())
        found.append((verdict.hit, verdict.hit and not pair.same))
        if verdict.audited or not verdict.hit:
            desk.learn(verdict.ticket, pair.same)
        if (lesson := desk.lesson()) is not None:
            desk.adopt(lesson.learnt())
    return found

"""Words that come again and again, as numbers: a dictionary in each file of the request log."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping

from penstock.store.requests_rows import Word
from penstock.store.words import storable

LIMIT = 50_000
"""Words that one file has numbers for. Clients may say what they like: what comes beyond is written out."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS words (id INTEGER PRIMARY KEY, word TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS subjects (id INTEGER PRIMARY KEY, word TEXT NOT NULL UNIQUE);
"""
_ALL = {"words": "SELECT word, id FROM words", "subjects": "SELECT word, id FROM subjects"}
_ADD = {
    "words": "INSERT INTO words (word, id) VALUES (?, ?)",
    "subjects": "INSERT INTO subjects (word, id) VALUES (?, ?)",
}
_FIND = {"words": "SELECT id FROM words WHERE word = ?", "subjects": "SELECT id FROM subjects WHERE word = ?"}
_READ = {
    "words": "SELECT id, word FROM words WHERE id IN (SELECT value FROM json_each(?))",
    "subjects": "SELECT id, word FROM subjects WHERE id IN (SELECT value FROM json_each(?))",
}


class Words(dict[str, Word]):
    """What stands for each word, for the one who writes ``table``. What is new is in the file after ``flush``; where
    that transaction fails this object is of no use any more."""

    def __init__(self, connection: sqlite3.Connection, table: str) -> None:
        super().__init__(connection.execute(_ALL[table]))
        self[""] = ""
        self._connection = connection
        self._table = table
        self._next = 1 + max((number for number in self.values() if isinstance(number, int)), default=0)
        self._new: list[tuple[str, int]] = []

    def __missing__(self, word: str) -> Word:
        text = storable(word)
        if self._next > LIMIT:
            return text
        if text != word:
            return self[text]
        number = self[word] = self._next
        self._next += 1
        self._new.append((word, number))
        return number

    def flush(self) -> None:
        """Writes the new ones, in the transaction that is open."""
        if self._new:
            self._connection.executemany(_ADD[self._table], self._new)
            self._new.clear()


class ReadWords:
    """The same, for one who reads."""

    def __init__(self, connection: sqlite3.Connection, table: str) -> None:
        self._connection = connection
        self._table = table
        self._known: dict[Word, str] = {}

    def find(self, word: str) -> Word:
        """What stands for the word, if anything does."""
        text = storable(word)
        found = self._connection.execute(_FIND[self._table], (text,)).fetchone()
        return int(found[0]) if found else text

    def load(self, wanted: Iterable[Word]) -> Mapping[Word, str]:
        """What all of these stand for."""
        unknown = {word for word in wanted if word not in self._known}
        self._known.update((word, word) for word in unknown if isinstance(word, str))
        numbers = [number for number in unknown if isinstance(number, int)]
        if numbers:
            self._known.update(self._connection.execute(_READ[self._table], (str(numbers),)))
        return self._known

"""``penstock top`` on a whole terminal: drawn anew with each answer and each key."""

from __future__ import annotations

import curses
import time
from collections.abc import Callable, Mapping, Sequence

from msgspec.structs import replace

from penstock.edge.cli.top_board import ORDERS, Line, Tone, Wish, board, ordered
from penstock.edge.cli.top_feed import Feed

WINDOWS = ("1m", "5m", "15m", "1h")
KEYS = "q quit   s sort   w window   p pause   up/down choose a service"

_KEY_WITHIN_MS = 200
_COLOURS: Mapping[Tone, int] = {"good": 1, "bad": 2, "warn": 3}
_QUIT = frozenset(map(ord, "qQ"))
_DOWN = frozenset((curses.KEY_DOWN, ord("j")))
_UP = frozenset((curses.KEY_UP, ord("k")))


class Screen:
    """Shows what ``feed`` is told. ``coloured``: where the terminal can. After ``late_s`` seconds without an answer
    it says so."""

    def __init__(
        self,
        feed: Feed,
        wish: Wish,
        *,
        coloured: bool,
        late_s: float,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._feed = feed
        self._wish = wish
        self._seen = feed.seen
        self._coloured = coloured
        self._late_s = late_s
        self._now = now

    def run(self, screen: curses.window) -> None:
        """Until somebody has had enough."""
        curses.curs_set(0)
        screen.timeout(_KEY_WITHIN_MS)
        attributes = self._attributes()
        while True:
            if not self._wish.paused:
                self._seen = self._feed.seen
            self._draw(screen, attributes)
            key = screen.getch()
            if key in _QUIT:
                return
            self._pressed(key)

    def lines(self) -> Sequence[Line]:
        """What is shown now."""
        seen, now = self._seen, self._now()
        if not seen.lost and not self._wish.paused and now - seen.at > self._late_s:
            seen = replace(seen, lost="the gateway does not answer")
        return list(board(seen, self._wish, now))

    def _pressed(self, key: int) -> None:
        wish = self._wish
        if key in (ord("s"), ord("S")):
            self._wish = replace(wish, order=_after(ORDERS, wish.order))
        elif key in (ord("w"), ord("W")):
            self._wish = replace(wish, window=_after(WINDOWS, wish.window))
            self._feed.over(self._wish.window)
        elif key in (ord("p"), ord("P"), ord(" ")):
            self._wish = replace(wish, paused=not wish.paused)
        elif key in _DOWN | _UP:
            self._wish = replace(wish, chosen=self._next(1 if key in _DOWN else -1))

    def _next(self, step: int) -> str | None:
        """The service below the chosen one, or above; beyond either end there is none."""
        names = [each.service for each in ordered(self._seen.overview.services, self._wish.order)]
        at = names.index(self._wish.chosen) if self._wish.chosen in names else (-1 if step > 0 else len(names))
        return names[at + step] if 0 <= at + step < len(names) else None

    def _draw(self, screen: curses.window, attributes: Mapping[Tone, int]) -> None:
        height, width = screen.getmaxyx()
        screen.erase()
        for row, line in enumerate(self.lines()[: max(0, height - 1)]):
            chosen = line.service != "" and line.service == self._wish.chosen
            _put(screen, row, line.text, width, attributes[line.tone] | (curses.A_REVERSE if chosen else 0))
        _put(screen, height - 1, KEYS, width, attributes["dim"])
        screen.refresh()

    def _attributes(self) -> Mapping[Tone, int]:
        found: dict[Tone, int] = {
            "plain": curses.A_NORMAL,
            "title": curses.A_BOLD,
            "head": curses.A_UNDERLINE,
            "good": curses.A_NORMAL,
            "bad": curses.A_BOLD,
            "warn": curses.A_BOLD,
            "dim": curses.A_DIM,
        }
        if self._coloured and curses.has_colors():
            curses.use_default_colors()
            for pair, colour in ((1, curses.COLOR_GREEN), (2, curses.COLOR_RED), (3, curses.COLOR_YELLOW)):
                curses.init_pair(pair, colour, -1)
            found |= {tone: found[tone] | curses.color_pair(pair) for tone, pair in _COLOURS.items()}
        return found


def _put(screen: curses.window, row: int, text: str, width: int, attribute: int) -> None:
    try:
        screen.addnstr(row, 0, text, max(0, width - 1), attribute)
    except curses.error:
        # The terminal became smaller since it was measured; the next drawing knows.
        return


def _after(words: Sequence[str], word: str) -> str:
    return words[(words.index(word) + 1) % len(words)]

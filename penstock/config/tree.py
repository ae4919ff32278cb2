"""YAML text to nodes that know their lines. Bounded: no text makes this slow, deep or large."""

from __future__ import annotations

from collections.abc import Iterator

import yaml

from penstock.config.mistakes import Mistake, Path, dotted, quotable

MAX_BYTES = 1 << 20
"""Bytes in a file."""
MAX_DEPTH = 40
"""Levels of nesting in a file."""
MAX_VALUES = 50_000
"""Values in a file once its aliases stand for what they name."""

_QUOTE = 'between braces or brackets a value with `{` in it needs quotes: "${NAME}"'
_NEEDS = "it needs `models` and `services` (`penstock init` writes a start)"
_TAG = "tag:yaml.org,2002:"
_PLAIN_TAGS = frozenset(
    _TAG + name for name in ("str", "int", "float", "bool", "null", "timestamp", "merge", "value", "map", "seq")
)
_PROBLEMS = {
    "found character '\\t' that cannot start any token": "a tab cannot indent YAML; use spaces",
    "expected ',' or '}', but got '{'": _QUOTE,
    "expected ',' or ']', but got '{'": _QUOTE,
    "but found another document": "a second YAML document begins here; a file has one",
    "mapping values are not allowed here": "a `:` does not fit here; quote the value, or mend the indentation",
}


class Broken(Exception):
    """The file cannot be read any further than this mistake."""

    def __init__(self, mistake: Mistake) -> None:
        super().__init__(mistake.message)
        self.mistake = mistake


class Budget:
    """How many more values the file may have; what keeps aliases of aliases from growing without bound."""

    __slots__ = ("left",)

    def __init__(self, values: int = MAX_VALUES) -> None:
        self.left = values

    def spend(self, node: yaml.Node) -> None:
        """Counts one value, and long texts as several. Raises ``Broken`` when it is one too many."""
        self.left -= 1 + (len(node.value) // 256 if isinstance(node, yaml.ScalarNode) else 0)
        if self.left < 0:
            raise Broken(mistake_at(node.start_mark, (), f"the file has more than {MAX_VALUES} values; split it"))


class Entry:
    """One key of a mapping, and its value."""

    __slots__ = ("key", "merged", "text", "value")

    def __init__(self, key: yaml.Node, text: str, value: yaml.Node, merged: bool) -> None:
        self.key = key
        self.text = text
        self.value = value
        self.merged = merged


class _Composer(yaml.SafeLoader):
    """PyYAML's own, without a way to exhaust the stack. The C parser is not used: it recurses without a bound."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: object) -> yaml.Node | None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise Broken(mistake_at(mark, (), f"nested deeper than {MAX_DEPTH} levels"))
        node: yaml.Node | None = super().compose_node(parent, index)  # type: ignore[arg-type]
        self.depth -= 1
        return node


def mistake_at(mark: yaml.Mark | None, path: Path, message: str) -> Mistake:
    """A mistake at a place that PyYAML has marked; it counts from 0, people from 1."""
    line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
    return Mistake(line, column, dotted(path), message)


def parse(raw: bytes, needs: str = _NEEDS) -> yaml.Node:
    """The file's one document; ``needs`` is what an empty one lacks. Raises ``Broken`` when it is not YAML that a
    person could have meant."""
    if len(raw) > MAX_BYTES:
        raise Broken(Mistake(0, 0, "", f"is larger than {MAX_BYTES >> 10} KiB; it should be small text"))
    text = _text(raw)
    try:
        node = _Composer(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        problem = error.problem or "cannot be read"
        said = _PROBLEMS.get(problem) or "not valid YAML: " + quotable(problem, 200)
        raise Broken(mistake_at(error.problem_mark or error.context_mark, (), said)) from None
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        # PyYAML lets a few ValueErrors of its own number parsing through: `%YAML 1.²`, `"\UFFFFFFFF"`.
        raise Broken(Mistake(0, 0, "", "not valid YAML: " + quotable(str(error), 200))) from None
    if node is None or (isinstance(node, yaml.ScalarNode) and is_null(node)):
        raise Broken(Mistake(0, 0, "", f"is empty; {needs}"))
    return node


def _text(raw: bytes) -> str:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise Broken(Mistake(line, 0, "", "is not UTF-8 text; save the file as UTF-8")) from None
    bad = yaml.reader.Reader.NON_PRINTABLE.search(text)
    if bad:
        before = text[: bad.start()]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        what = "a NUL byte" if bad.group() == "\0" else f"the control character U+{ord(bad.group()):04X}"
        raise Broken(Mistake(line, column, "", f"holds {what}; remove it"))
    return text


def is_null(node: yaml.Node) -> bool:
    """Whether the node is YAML for nothing: empty, ``~`` or ``null``, not quoted."""
    return (
        isinstance(node, yaml.ScalarNode) and node.style is None and node.value in ("", "~", "null", "Null", "NULL")
    )


def tag_mistake(node: yaml.Node, path: Path) -> Mistake | None:
    """What is wrong with the node's tag, if anything is: no file uses one."""
    if node.tag in _PLAIN_TAGS or (node.tag == "!" and isinstance(node, yaml.ScalarNode)):
        return None
    shown = quotable(node.tag.replace(_TAG, "!!"))
    return mistake_at(node.start_mark, path, f"has the YAML tag `{shown}`; remove it, no tags are used")


def entries(node: yaml.MappingNode, path: Path, budget: Budget, mistakes: list[Mistake]) -> list[Entry]:
    """The mapping's keys in order, each once, with what ``<<`` merges in after its own.

    Keys that are not text and keys that are written twice go to ``mistakes``.
    """
    own: dict[str, Entry] = {}
    merged: list[Entry] = []
    for key, value in node.value:
        budget.spend(key)
        if not isinstance(key, yaml.ScalarNode):
            mistakes.append(mistake_at(key.start_mark, path, "a key must be text"))
        elif key.value == "<<" and key.style is None:
            merged += _merged(value, (*path, "<<"), budget, mistakes)
        elif key.value in own:
            first = own[key.value].key.start_mark.line + 1
            at = (*path, key.value)
            mistakes.append(mistake_at(key.start_mark, at, f"is written twice, first on line {first}; remove one"))
        else:
            own[key.value] = Entry(key, key.value, value, False)
    for entry in merged:
        own.setdefault(entry.text, entry)
    return list(own.values())


def _merged(node: yaml.Node, path: Path, budget: Budget, mistakes: list[Mistake]) -> Iterator[Entry]:
    if len(path) > MAX_DEPTH:
        raise Broken(mistake_at(node.start_mark, (), f"merges with `<<` deeper than {MAX_DEPTH} levels"))
    sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
    for source in sources:
        budget.spend(source)
        if isinstance(source, yaml.MappingNode):
            for entry in entries(source, path, budget, mistakes):
                yield Entry(entry.key, entry.text, entry.value, True)
        else:
            mistakes.append(mistake_at(source.start_mark, path, "must be a mapping (`*name`), or a list of them"))

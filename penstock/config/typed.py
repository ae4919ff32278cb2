"""YAML nodes to the rooms' own structs, by what msgspec knows of the structs: no field is named here."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence

import yaml
from msgspec import inspect

from penstock.config.environment import Unresolved, refers
from penstock.config.mistakes import Mistake, Path, nearest, quotable, suggestion
from penstock.config.scalars import Unfit, choice, expected, scalar, shown_scalar, union
from penstock.config.tree import MAX_DEPTH, Broken, Budget, Entry, entries, is_null, mistake_at, tag_mistake


class Nothing(enum.Enum):
    """What a node that is wrong turns into; the mistake has been noted."""

    NOTHING = enum.auto()


NOTHING = Nothing.NOTHING


class Reading:
    """One pass over a file. Collects every mistake, and where each value stands."""

    def __init__(self, fill: Callable[[str], str] | None = None) -> None:
        """``fill`` gives a value what it names outside the file, and raises ``Unresolved``; None: a value is what it
        says."""
        self.mistakes: list[Mistake] = []
        self._fill = fill
        self._budget = Budget()
        self._marks: dict[Path, yaml.Mark] = {}
        self._written: dict[Path, str] = {}

    def note(self, path: Path, message: str) -> None:
        """A mistake at ``path``, or at the nearest place above it that is in the file."""
        at = path
        while at and at not in self._marks:
            at = at[:-1]
        self.mistakes.append(mistake_at(self._marks.get(at), path, message))

    def secret(self, path: Path) -> bool:
        """Whether the value at ``path``, or anything within it, comes from outside the file: never to be shown."""
        return any(place[: len(path)] == path for place in self._written)

    def hidden(self) -> frozenset[Path]:
        """Where values stand that come from outside the file."""
        return frozenset(self._written)

    def shown(self, path: Path, value: str) -> str:
        """The text at ``path`` for a message: as it stands in the file where it comes from outside it."""
        return quotable(self._written.get(path, value))

    def names(self, path: Path) -> list[str]:
        """The keys of the mapping at ``path`` as they stand in the file, those with mistakes included."""
        return [str(place[-1]) for place in self._marks if len(place) == len(path) + 1 and place[:-1] == path]

    def top(self, kind: inspect.StructType, node: yaml.Node) -> dict[str, object]:
        """The document as the fields of a ``kind``, those that are good; the mistakes of the others are noted."""
        self._budget.spend(node)
        self._marks[()] = node.start_mark
        if not isinstance(node, yaml.MappingNode):
            keys = ", ".join(f"`{field.encode_name}`" for field in kind.fields)
            self._wrong(node, (), f"must be a mapping with the keys {keys}, and is {_shape(node)}")
            return {}
        read = self._fields(kind, [kind], self._entries(node, ()), ())
        return {name: value for name, value in read.items() if value is not NOTHING}

    def read(self, kind: inspect.Type, node: yaml.Node, path: Path) -> object:
        """The node as a ``kind``, or ``NOTHING`` with at least one mistake noted. Raises ``Broken``."""
        self._budget.spend(node)
        self._marks.setdefault(path, node.start_mark)
        wrong = tag_mistake(node, path)
        if wrong:
            self.mistakes.append(wrong)
            return NOTHING
        bare, size = _bare(kind)
        kinds: list[inspect.Type] = []
        for one in bare.types if isinstance(bare, inspect.UnionType) else (bare,):
            member, of_bytes = _bare(one)
            kinds.append(member)
            size = size or of_bytes
        if is_null(node):
            if any(isinstance(one, inspect.NoneType) for one in kinds):
                if node.value == "" and any(isinstance(one, inspect.StructType) for one in kinds):
                    # Whoever names it wants it, and would not get it.
                    return self._wrong(node, path, "has no value; write `{}` for its defaults, or remove it")
                return None
            return self._wrong(node, path, f"has no value; it must be {expected(kind, size)}")
        if isinstance(kinds[0], inspect.CustomType):
            return self._json(node, path)
        return self._one_of([one for one in kinds if not isinstance(one, inspect.NoneType)], kind, node, path, size)

    def _json(self, node: yaml.Node, path: Path) -> object:
        """The node as what JSON could say."""
        if isinstance(node, yaml.ScalarNode):
            return None if is_null(node) else self._scalar(_SCALARS, node, path, False)
        if isinstance(node, yaml.SequenceNode):
            found = [self._inner(item, (*path, index)) for index, item in enumerate(node.value)]
            return NOTHING if any(item is NOTHING for item in found) else found
        if not isinstance(node, yaml.MappingNode):
            return NOTHING
        members = {entry.text: self._inner(entry.value, (*path, entry.text)) for entry in self._entries(node, path)}
        return NOTHING if any(value is NOTHING for value in members.values()) else members

    def _inner(self, node: yaml.Node, path: Path) -> object:
        self._budget.spend(node)
        if len(path) > MAX_DEPTH:
            raise Broken(mistake_at(node.start_mark, path, "nested too deeply"))
        wrong = tag_mistake(node, path)
        if wrong:
            self.mistakes.append(wrong)
            return NOTHING
        return self._json(node, path)

    def _one_of(
        self, kinds: Sequence[inspect.Type], whole: inspect.Type, node: yaml.Node, path: Path, size: bool
    ) -> object:
        if isinstance(node, yaml.MappingNode):
            structs = [one for one in kinds if isinstance(one, inspect.StructType)]
            if structs:
                return self._struct(structs, node, path)
            for one in kinds:
                if isinstance(one, inspect.DictType):
                    return self._dict(one, node, path)
        elif isinstance(node, yaml.SequenceNode):
            for one in kinds:
                if isinstance(one, (inspect.ListType, inspect.VarTupleType)):
                    return self._list(one, node, path)
        elif isinstance(node, yaml.ScalarNode):
            leaves = [one for one in kinds if not isinstance(one, _Branch)]
            if leaves:
                return self._scalar(leaves, node, path, size)
        return self._wrong(node, path, f"must be {expected(whole, size)}, and is {_shape(node)}")

    def _scalar(self, kinds: Sequence[inspect.Type], node: yaml.ScalarNode, path: Path, size: bool) -> object:
        try:
            text = node.value if self._fill is None else self._fill(node.value)
        except Unresolved as unresolved:
            return self._wrong(node, path, str(unresolved))
        if self._fill is not None and refers(node.value):
            self._written[path] = node.value
        quoted = node.style is not None
        try:
            if len(kinds) == 1:
                # `"${PORT}"` is quoted because of the braces, not because it is text.
                return scalar(text, quoted and path not in self._written, kinds[0], size)
            return union(text, quoted, kinds)
        except Unfit as unfit:
            said = f"{unfit}, and is {shown_scalar(node.value)}{choice(node.value, kinds[0])}"
            return self._wrong(node, path, said)

    def _list(self, kind: inspect.ListType | inspect.VarTupleType, node: yaml.SequenceNode, path: Path) -> object:
        items = [self.read(kind.item_type, item, (*path, index)) for index, item in enumerate(node.value)]
        if kind.min_length and len(items) < kind.min_length:
            return self._wrong(node, path, f"must have at least {kind.min_length} items")
        if any(item is NOTHING for item in items):
            return NOTHING
        return items if isinstance(kind, inspect.ListType) else tuple(items)

    def _dict(self, kind: inspect.DictType, node: yaml.MappingNode, path: Path) -> object:
        """The good entries; what is wrong with the others has been noted. Not ``NOTHING``, so that what refers to
        the good ones can still be checked."""
        values: dict[object, object] = {}
        found = self._entries(node, path)
        for entry in found:
            at = (*path, entry.text)
            name = self._name(kind.key_type, entry, at)
            value = self.read(kind.value_type, entry.value, at)
            if name is not NOTHING and value is not NOTHING:
                values[name] = value
        if kind.min_length and len(found) < kind.min_length:
            return self._wrong(node, path, "must have at least one entry")
        return values

    def _name(self, kind: inspect.Type, entry: Entry, path: Path) -> object:
        said = ""
        while isinstance(kind, inspect.Metadata):
            said = said or str((kind.extra_json_schema or {}).get("description", ""))
            kind = kind.type
        try:
            return scalar(entry.text, False, kind)
        except Unfit as unfit:
            return self._wrong(entry.key, path, f"a name here is {said}" if said else f"as a name {unfit}")

    def _struct(self, kinds: Sequence[inspect.StructType], node: yaml.MappingNode, path: Path) -> object:
        found = self._entries(node, path)
        kind = kinds[0] if len(kinds) == 1 and kinds[0].tag_field is None else self._tagged(kinds, found, path)
        if kind is None:
            return NOTHING
        values = self._fields(kind, kinds, found, path)
        if any(value is NOTHING for value in values.values()):
            return NOTHING
        return self._built(kind, values, path)

    def _fields(
        self, kind: inspect.StructType, kinds: Sequence[inspect.StructType], found: Sequence[Entry], path: Path
    ) -> dict[str, object]:
        """What the entries give for each field of ``kind``; ``NOTHING`` where it is wrong, missing or unknown."""
        fields = {field.encode_name: field for field in kind.fields}
        values: dict[str, object] = {}
        for entry in found:
            at = (*path, entry.text)
            if entry.text == kind.tag_field:
                continue
            if entry.text not in fields:
                self.mistakes.append(mistake_at(entry.key.start_mark, at, self._unknown(entry.text, kind, kinds)))
                values[entry.text] = NOTHING
                continue
            field = fields[entry.text]
            if is_null(entry.value) and not field.required and _holds_many(field.type):
                continue
            values[field.name] = self.read(field.type, entry.value, at)
        written = {entry.text for entry in found}
        missing = [name for name, field in fields.items() if field.required and name not in written]
        for name in missing:
            self.note(path, f"lacks the key `{name}` ({expected(fields[name].type)})")
            values[fields[name].name] = NOTHING
        return values

    def _built(self, kind: inspect.StructType, values: Mapping[str, object], path: Path) -> object:
        try:
            return kind.cls(**values)
        except (ValueError, TypeError) as error:
            # A struct's own __post_init__ may refuse a combination; its words may repeat a value.
            said = "is refused with the values that are filled in" if self.secret(path) else str(error)
            self.note(path, quotable(said, 300))
            return NOTHING

    def _tagged(
        self, kinds: Sequence[inspect.StructType], found: Sequence[Entry], path: Path
    ) -> inspect.StructType | None:
        by_tag = {str(kind.tag): kind for kind in kinds}
        field = str(kinds[0].tag_field)
        entry = next((entry for entry in found if entry.text == field), None)
        if entry is None:
            meant = nearest(field, [entry.text for entry in found])
            hint = f", or is `{quotable(meant)}` meant to be it?" if meant else ""
            self.note(path, f"lacks the key `{field}` (one of {', '.join(by_tag)}){hint}")
            return None
        tag = self.read(inspect.StrType(), entry.value, (*path, field))
        if not isinstance(tag, str):
            return None
        if tag not in by_tag:
            self.note(
                (*path, field),
                f"there is no {field} `{self.shown((*path, field), tag)}`; {suggestion(tag, list(by_tag))}",
            )
        return by_tag.get(tag)

    def _unknown(self, key: str, kind: inspect.StructType, kinds: Sequence[inspect.StructType]) -> str:
        keys = [field.encode_name for field in kind.fields] + [str(kind.tag_field)] * (kind.tag_field is not None)
        others = [str(one.tag) for one in kinds if any(field.encode_name == key for field in one.fields)]
        if others:
            keys = [field.encode_name for field in kind.fields]
            return f"is a key of {kind.tag_field} {', '.join(others)}, not of {kind.tag}; {suggestion(key, keys)}"
        return f"unknown key; {suggestion(key, keys)}"

    def _entries(self, node: yaml.MappingNode, path: Path) -> list[Entry]:
        if len(path) > 40:
            raise Broken(mistake_at(node.start_mark, path, "nested too deeply"))
        found = entries(node, path, self._budget, self.mistakes)
        for entry in found:
            self._marks.setdefault((*path, entry.text), entry.key.start_mark)
        return found

    def _wrong(self, node: yaml.Node, path: Path, message: str) -> Nothing:
        self.mistakes.append(mistake_at(node.start_mark, path, message))
        return NOTHING


_SCALARS = (inspect.BoolType(), inspect.IntType(), inspect.FloatType(), inspect.StrType())
_Branch = (inspect.StructType, inspect.DictType, inspect.ListType, inspect.VarTupleType)


def _bare(kind: inspect.Type) -> tuple[inspect.Type, bool]:
    """The type without what is told about it beside, and whether that is that it is a number of bytes."""
    size = False
    while isinstance(kind, inspect.Metadata):
        size = size or bool(kind.extra and kind.extra.get("form") == "size")
        kind = kind.type
    return kind, size


def _shape(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return "a single value"
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"


def _holds_many(kind: inspect.Type) -> bool:
    return isinstance(kind.type if isinstance(kind, inspect.Metadata) else kind, _Branch)

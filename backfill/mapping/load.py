"""Files → `Mapping`: every fault at once, with its place. The only reader of mapping files."""

from __future__ import annotations

import copy
import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from backfill.errors import Lint, MappingError, Place, UsageError
from backfill.lints import LintCode
from backfill.mapping.check import faults_of
from backfill.mapping.dialect import delimiter_meant
from backfill.mapping.document import Document
from backfill.mapping.expression import parse as parse_expression
from backfill.mapping.kinds import faults_in
from backfill.mapping.reads import Expression, columns_of, expressions_of, named_in, star_paths
from backfill.mapping.star import Refused, Writer, matches, source_faults, stars_of, taken
from backfill.mapping.strict_yaml import Path, parse
from backfill.mapping.tree import walk
from backfill.mapping.uri import FORMATS
from backfill.mapping.words import lint_of, nearest, path_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backfill.mapping.functions import Kind
    from backfill.mapping.strict_yaml import Yaml


Messages = tuple[list[Any], list[Refused]]

LATER: Final = {"where", "when", "rows", "escape", "comment", "mode", "watermark", "files"}
"""What came to the language later."""

BYTES_MAX: Final = 1 << 20
ENDINGS: Final = (".yaml", ".yml")
READABLE: Final = {LintCode.DUPLICATE_KEY, LintCode.LOST_DIGITS}
"""Faults of the text after which the rest still means what it says."""
STUBS: Final[dict[Path, Any]] = {
    ("version",): 1,
    ("source",): {"path": "?"},
    ("source", "path"): "?",
    ("rows",): {"group_by": "?"},
    ("rows", "group_by"): "?",
    ("messages",): [{"type": "identify"}],
}
"""What stands in for a faulty part, so that the other parts are looked at all the same."""


@dataclass(frozen=True)
class Formula:
    """An expression of a mapping with the places of its parts, for what the source tells later."""

    expression: Expression
    places: dict[int, Place]
    """By the character of the expression where a part begins."""

    def lints(self, kinds: dict[str, Kind]) -> list[Lint]:
        """Return what does not fit the kinds of the columns."""
        parsed, is_condition = parse_expression(self.expression.text), self.expression.is_condition
        return [
            Lint(self.places[fault.at], fault.code, fault.what, fault.fix)
            for fault in faults_in(parsed, kinds, is_condition=is_condition)
        ]


@dataclass(frozen=True)
class Mapping:
    """A valid mapping: what columns become which messages."""

    path: str
    name: str
    document: Document
    fingerprint: str
    """Changes with the meaning of the messages; not with comments, nor with delivery settings."""
    column_places: tuple[tuple[str, Place], ...]
    formulas: tuple[Formula, ...] = ()
    star_places: dict[Path, Place] = field(default_factory=dict)
    _written_out: dict[tuple[str, ...], Messages] = field(
        default_factory=dict, repr=False, compare=False
    )

    def names_in(self, columns: Sequence[str]) -> list[str]:
        """Return the columns that are read where a source has these."""
        if not self.star_places:
            return sorted(self.columns)
        forms = [form for message in self.document.messages for form in stars_of(message)]
        found = {name for name in columns if any(matches(form, name) for form in forms)}
        return sorted(self.columns | found)

    def messages(self, columns: tuple[str, ...]) -> Messages:
        """Return the messages with each `"*"` written out for a source with these columns.

        With them the columns that cannot be members, which a row must not have.
        """
        if not self.star_places:
            return self.document.messages, []
        if columns not in self._written_out:
            made: list[Any] = []
            refused: list[Refused] = []
            for index, message in enumerate(self.document.messages):
                named = named_in(self.document, index)
                allowed = self.document.guards.allow
                writer = Writer(message, columns, named, allowed)
                made.append(writer.written())
                refused += [each.within(("messages", index)) for each in writer.refused]
            self._written_out[columns] = (made, refused)
        return self._written_out[columns]

    def taken(self) -> list[tuple[Path, dict[str, str]]]:
        """Return for each `"*"` which column became which member, of all columns met so far."""
        found: dict[Path, dict[str, str]] = {path: {} for path in self.star_places}
        for messages, _ in self._written_out.values():
            for index, one in enumerate(messages):
                for path, members in taken(self.document.messages[index], one):
                    found[("messages", index, *path)] |= members
        return list(found.items())

    def check_columns(self, columns: Sequence[str], where: str, *, is_open: bool = False) -> None:
        """Raise MappingError naming every column that the source does not have.

        is_open: rows may leave columns out (JSON lines), so that only what looks misspelt is one.
        """
        free = [name for name in columns if name not in self.columns] if is_open else columns
        inner = {place for formula in self.formulas for place in formula.places.values()}
        lints = [
            Lint(
                place,
                LintCode.UNKNOWN_COLUMN,
                f"{where} has no column '{name}'",
                delimiter_meant(name, columns) or nearest(name, columns, is_code=place in inner),
            )
            for name, place in self.column_places
            if name not in columns and (not is_open or get_close_matches(name, free, 1, 0.75))
        ]
        if not is_open:
            lints += self._star_lints(columns, where)
        if lints:
            raise MappingError(lints)

    def _star_lints(self, columns: Sequence[str], where: str) -> list[Lint]:
        if not self.star_places:
            return []
        written, refused = self.messages(tuple(columns))
        lints = [
            Lint(self.star_places[one.path], LintCode.BAD_NAME, one.told(), one.fix)
            for one in refused
        ]
        faults = source_faults(self.document.messages, written, columns)
        return lints + [
            Lint(self.star_places[at], code, f"{where}: {what}", fix)
            for at, code, what, fix in faults
        ]

    @property
    def key(self) -> list[str]:
        """The columns that identify what a message is made of: a row, or a group of rows."""
        rows = self.document.rows
        return self.document.key or ([] if rows is None else rows.group_by)

    @property
    def columns(self) -> frozenset[str]:
        """Every column of the source that the mapping names."""
        return frozenset(name for name, _ in self.column_places)


def load_mapping(path: str | FilePath) -> Mapping:
    """Read one mapping file. Raises MappingError with every fault; UsageError: no such file."""
    yaml = parse(_text(FilePath(path)), str(path))
    if any(lint.code not in READABLE for lint in yaml.lints):
        raise MappingError(yaml.lints)
    if not isinstance(yaml.value, dict):
        fix = "begin with: version: 1"
        at = Place(str(path), 1, 1)
        raise MappingError([Lint(at, LintCode.EMPTY, "this is no mapping", fix)])
    document, lints, out = _validated(yaml)
    if document is not None:
        lints += _further(document, document.name or FilePath(path).stem, yaml, out)
    if lints or yaml.lints or document is None:
        raise MappingError([*yaml.lints, *lints])
    name = document.name or FilePath(path).stem
    places = tuple(
        (column, yaml.place(at) if offset is None else yaml.inside(at, offset))
        for column, at, offset in columns_of(document)
    )
    formulas = tuple(_formula(one, yaml) for one in expressions_of(document))
    stars = {at: yaml.place(at) for at in star_paths(document)}
    print_ = _fingerprint(name, document)
    return Mapping(str(path), name, document, print_, places, formulas, stars)


def _formula(expression: Expression, yaml: Yaml) -> Formula:
    tree = parse_expression(expression.text).tree
    assert tree is not None, "its faults are told before"
    places = {part.at: yaml.inside(expression.path, part.at) for part in walk(tree)}
    places |= {at: yaml.inside(expression.path, at) for _, at in expression.columns()}
    return Formula(expression, places)


def _validated(yaml: Yaml) -> tuple[Document | None, list[Lint], set[Path]]:
    """Return the document, the faults of the models, and the parts that are cut out for them.

    What is left is looked at too: a person is told of everything at once, not of the rest later.
    """
    out: set[Path] = set()
    rest, lints = yaml.value, list[Lint]()
    while True:
        try:
            return Document.model_validate(rest), lints, out
        except ValidationError as fault:
            lints = lints or [lint_of(one, yaml) for one in fault.errors()]
            faulty = [path_of(one["loc"]) for one in fault.errors()]
        if not out:
            rest = copy.deepcopy(rest)
        for path in sorted(faulty, key=len, reverse=True):
            while path in out:  # what is around cannot be without it
                path = path[:-1]  # noqa: PLW2901  it goes up from there
            if not path:
                return None, lints, out
            out.add(path)
            _cut_out(rest, path)


def _cut_out(value: Any, path: Path) -> None:
    """Take a member out; where the way to it is not there, it is out already."""
    with suppress(KeyError, IndexError, TypeError):
        for key in path[:-1]:
            value = value[key]
        if path in STUBS:
            value[path[-1]] = copy.deepcopy(STUBS[path])
        elif isinstance(value, dict):
            value.pop(path[-1], None)
        elif path[:-1] == ("messages",):
            value[path[-1]] = {"type": "identify"}  # the others keep their numbers


def _further(document: Document, name: str, yaml: Yaml, out: set[Path]) -> list[Lint]:
    """Return what the models cannot say, but nothing that only a part cut out has caused."""
    lost = out | {path[:-1] for path in out}
    return [
        Lint(yaml.place(path), code, what, fix)
        for path, code, what, fix in faults_of(document, name)
        if code != LintCode.MISSING_MEMBER or not {path[:1], path} & lost
    ] + [
        Lint(yaml.inside(one.path, fault.at), fault.code, fault.what, fault.fix)
        for one in expressions_of(document)
        for fault in one.faults()
    ]


def _text(path: FilePath) -> str:
    try:
        if path.is_dir():
            raise UsageError("this is a folder", where=path, fix="name a mapping file")
        size_bytes = path.stat().st_size
        if path.suffix.lower() in FORMATS:
            fix = f"backfill init {path} writes a mapping for it"
            raise UsageError("this is data, no mapping", where=path, fix=fix)
        if size_bytes > BYTES_MAX:
            raise UsageError("a mapping over 1 MiB is refused", where=path, fix="split it")
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        near = [p.name for p in path.parent.glob("*") if p.suffix in ENDINGS]
        fix = nearest(path.name, near) or "check the path; mappings end in .yaml"
        raise UsageError("there is no such mapping file", where=path, fix=fix) from None
    except UnicodeDecodeError:
        fix = "save the file as plain UTF-8 text"
        raise UsageError("this is not UTF-8 text, so no mapping", where=path, fix=fix) from None
    except OSError as fault:
        what = f"cannot be read: {fault.strerror}"
        raise UsageError(what, where=path, fix="check the path and its permissions") from None


def _fingerprint(name: str, document: Document) -> str:
    """sha256 of the meaning: the parsed document less delivery, the source's path and `after`."""
    meaning: dict[str, Any] = document.model_dump(
        mode="json", by_alias=True, exclude={"delivery": True, "after": True, "source": {"path"}}
    )
    meaning["name"] = name
    _forget_defaults(meaning)
    return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()


def _forget_defaults(meaning: dict[str, Any]) -> None:
    """Leave out what a mapping does not say: it means what it meant before these words came."""
    source = meaning["source"]
    for part in (meaning, source, source["csv"], *meaning["messages"]):
        for word in LATER & part.keys():
            if part[word] in ("all", None):
                del part[word]

"""The columns of one file → which of them name people, objects, times and events. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from backfill import spec
from backfill.propose import names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from backfill.propose.values import Finding

ID_KINDS: Final = {"text", "code", "integer", "number", "mixed", "email"}
ID_CHARS: Final = 100
EVENTS_MAX: Final = 300
"""A column of more different values is no column of events' names."""


@dataclass(frozen=True, slots=True)
class Roles:
    """Which column is what; None where no column is."""

    about: tuple[str, ...]
    """What the file is about, by its name."""
    own: Finding | None
    """The id of the rows themselves."""
    person: Finding | None
    old: Finding | None
    """The id of a person that was merged."""
    anonymous: Finding | None
    group: Finding | None
    email: Finding | None
    time: Finding | None
    event: Finding | None
    screen: Finding | None
    url: Finding | None
    title: Finding | None
    has_names: bool
    """Whether there are first names, surnames and the like."""

    def is_about(self, known: frozenset[str]) -> bool:
        """Whether the file's name speaks of one of these."""
        return any(word in known for word in self.about)


def roles_of(findings: list[Finding], stem: str, person: str | None = None) -> Roles:
    """Find the roles by names and kinds.

    stem: the file's name without its ending. person: the column that is known to name people.
    """
    about = names.entities(stem)
    ids = [one for one in findings if _may_be_id(one)]
    plain = [one for one in findings if one.kind == "text"]
    old = _first(ids, names.is_old)
    nobody = [one for one in ids if names.joined(one.name) in names.ANONYMOUS]
    people = [one for one in ids if one is not old and one.kind != "email" and one not in nobody]
    return Roles(
        about=tuple(about),
        own=_own(ids, about),
        person=_first(people, lambda name: name == person) or _best(people, names.is_person),
        old=old,
        anonymous=nobody[0] if nobody else None,
        group=_best(ids, names.is_group),
        email=next((one for one in findings if one.kind == "email" and not one.is_out), None),
        time=_time(findings, about),
        event=_event(plain),
        screen=_first(plain, lambda name: names.joined(name) in names.SCREENS),
        url=_first(plain, lambda name: names.joined(name) in names.URLS),
        title=_first(plain, lambda name: names.joined(name) in names.TITLES),
        has_names=any(names.joined(one.name) in names.PERSON_NAMES for one in findings),
    )


def _may_be_id(one: Finding) -> bool:
    column = one.column
    return one.kind in ID_KINDS and column.all_match(rf"(?s)^.{{1,{ID_CHARS}}}$")


def _first(found: Iterable[Finding], is_it: Callable[[str], bool]) -> Finding | None:
    return next((one for one in found if is_it(one.name)), None)


def _best(found: list[Finding], is_it: Callable[[str], bool]) -> Finding | None:
    """The one whose name says `id`, before one that only names the owner."""
    named = [one for one in found if is_it(one.name)]
    return next((one for one in named if names.is_id_like(one.name)), named[0] if named else None)


def _own(ids: list[Finding], about: list[str]) -> Finding | None:
    """The id of the rows: by its name, else a unique one that is named as ids are."""
    named = [one for one in ids if names.is_own(one.name, about)]
    if named:
        return max(named, key=lambda one: (one.column.is_unique, names.joined(one.name) != "key"))
    unique = [one for one in ids if one.column.is_unique and _is_named_as_id(one.name)]
    return unique[0] if unique and not names.is_old(unique[0].name) else None


def _is_named_as_id(name: str) -> bool:
    """A post code may be unique by chance; it is nobody's id."""
    is_code = names.has_word(name, names.CODES) and names.joined(name) not in names.ITEM_CODES
    return (names.is_id_like(name) and not is_code) or names.joined(name) in names.ITEM_CODES


def _time(findings: list[Finding], about: list[str]) -> Finding | None:
    times = [one for one in findings if one.is_time]
    if not times:
        return None
    return max(times, key=lambda one: (_time_rank(one, about), -findings.index(one)))


def _time_rank(one: Finding, about: list[str]) -> int:
    """How likely a time is when it happened: `timestamp` before `order_date` before `updated`."""
    words = names.words_of(one.name)
    rank = -5 if any(word in names.NOT_OF_THE_EVENT for word in words) else 0
    if names.joined(one.name) in {"timestamp", "eventtime", "occurredat", "time", "ts", "datetime"}:
        rank += 3
    if any(word in about or word.removesuffix("ed") in about for word in words):
        rank += 3
    if names.joined(one.name) in names.SINCE or words[-1:] in (["at"], ["date"], ["on"]):
        rank += 2
    return rank + (one.column.blank == 0) - 4 * bool(one.choices)


def _event(plain: list[Finding]) -> Finding | None:
    found = _first(plain, lambda name: names.joined(name) in names.EVENT_NAMES)
    if found is None or found.column.distinct > EVENTS_MAX or found.column.blank:
        return None
    longest = max(len(text.encode()) for text in found.column.texts.to_pylist())
    return found if longest <= spec.LIMITS.event else None


def is_event_time(one: Finding | None) -> bool:
    """Whether a time may be when something happened, and not a birthday or an update."""
    if one is None:
        return False
    return not any(word in names.NOT_OF_THE_EVENT for word in names.words_of(one.name))


def kind_of(roles: Roles) -> tuple[str, str]:
    """Return the type of message that suits the file, and why."""
    own_is_unique = roles.own is not None and roles.own.column.is_unique
    person_is_own = roles.own is not None and roles.person is roles.own
    happened = is_event_time(roles.time)
    who = roles.person or roles.anonymous or roles.email
    objects = names.GROUP | names.THING
    rules: tuple[tuple[object, str, str], ...] = (
        (roles.old and roles.person, "alias", "an old id stands beside the one to keep"),
        (
            roles.is_about(names.TIES) and roles.group and roles.person,
            "group",
            "rows tie people to objects",
        ),
        (roles.is_about(names.PERSON) and own_is_unique, "identify", "one row is one person"),
        (roles.is_about(objects) and own_is_unique, "group", "one row is one object, not a person"),
        (
            roles.is_about(names.GROUP) and roles.group and not happened,
            "group",
            "rows tie people to objects",
        ),
        (who and happened and roles.screen, "screen", "a person, a time and a screen in each row"),
        (who and happened and roles.url, "page", "a person, a time and an address of a page"),
        (
            who and happened and roles.is_about(frozenset(names.EVENTS)),
            "track",
            "a person and a time in each row, and the file is named after an event",
        ),
        (person_is_own and own_is_unique, "identify", "one row is one person, by its id"),
        (roles.person and happened, "track", "a person and a time in each row, many rows a person"),
        (roles.event and roles.time, "track", "a column names events, and there is a time"),
        (roles.is_about(names.PERSON) and not happened, "identify", "the file's name says people"),
        (roles.email or roles.has_names, "identify", "mail addresses or names of people"),
        (roles.person and own_is_unique is False, "identify", "an id of people and no time"),
        (roles.person and own_is_unique and not happened, "group", "rows are objects of a person"),
        (happened and not (own_is_unique and roles.is_about(objects)), "track", "there is a time"),
    )
    for holds, kind, why in rules:
        if holds:
            return kind, why
    why = "nothing in it names a person and no column is a time, so a row is an object"
    return "group", why

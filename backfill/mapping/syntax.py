"""What is wrong with an expression before it is a tree: limits and syntax, with their places."""

from __future__ import annotations

import keyword
import re
from typing import Final

from backfill.lints import LintCode
from backfill.mapping.tree import ExprFault

CHARS_MAX: Final = 4_000
BRACKETS_MAX: Final = 32
"""Deeper ones may cost Python's parser more time than anybody has, so they are counted before."""

HINTS: Final = (
    (re.compile(r"&&|\bAND\b"), "write and"),
    (re.compile(r"\|\||\bOR\b"), "write or (to join texts: +)"),
    (re.compile(r"<>"), "write !="),
    (re.compile(r"\bNOT\b"), "write not"),
    (re.compile(r"\bIN\b"), "write in"),
    (re.compile(r"\bIS\b"), "write is"),
    (re.compile(r"\?"), "write a if condition else b"),
    (re.compile(r"![^=]"), "write not"),
)
CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
QUOTED: Final = re.compile(r"'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\"")
PAIRS: Final = {")": "(", "]": "[", "}": "{"}


def unfit(text: str) -> ExprFault | None:
    """What is wrong before it is worth a look."""
    if not text.strip():
        return ExprFault(
            0, LintCode.EXPR_SYNTAX, "the expression is empty", "write one, or leave it out"
        )
    if len(text) > CHARS_MAX:
        what = f"the expression has {len(text)} characters, more than {CHARS_MAX}"
        return ExprFault(
            0, LintCode.EXPR_TOO_LONG, what, "compute a part of it where the data comes from"
        )
    if found := CONTROL.search(text):
        what = f"the character {found.group()!r} cannot stand here"
        return ExprFault(
            found.start(), LintCode.EXPR_SYNTAX, what, "inside a text write its escape"
        )
    depth = 0
    for at, char in enumerate(text):
        depth += (char in "([{") - (char in ")]}")
        if depth > BRACKETS_MAX:
            return deep(at)
    return None


def deep(at: int) -> ExprFault:
    """The fault of what is nested too deep."""
    what = "the expression is nested too deep"
    return ExprFault(
        at, LintCode.EXPR_TOO_DEEP, what, "compute a part of it where the data comes from"
    )


def syntax(text: str, fault: SyntaxError) -> ExprFault:
    """Python's complaint in words for people who do not write Python."""
    if (at := unmatched(text)) is not None:
        what = f"the bracket {text[at]} has no partner"
        return ExprFault(at, LintCode.EXPR_SYNTAX, what, "close it, or take it out")
    at = _syntax_at(text, fault)
    for judge in (_by_message, _by_word, _by_hint):
        if found := judge(text, fault.msg, at):
            return found
    fix = 'check it near here; a column with blanks in its name is written col("First Name")'
    return ExprFault(at, LintCode.EXPR_SYNTAX, "this is no expression", fix)


def _by_message(text: str, message: str, at: int) -> ExprFault | None:
    if "unterminated" in message:
        what = "the quote that begins here is not closed"
        return ExprFault(
            at, LintCode.EXPR_SYNTAX, what, "close it, or escape the quote inside as \\'"
        )
    if "f-string" in message:
        what = "the f-string cannot be read"
        fix = "check its braces; inside them use the other kind of quotes"
        return ExprFault(at, LintCode.EXPR_SYNTAX, what, fix)
    if "'='" in message:
        where = re.compile(r"(?<![=<>!:])=(?!=)").search(text)
        at = where.start() if where else at
        return ExprFault(at, LintCode.EXPR_SYNTAX, "= compares nothing", "write ==")
    return None


def _by_word(text: str, _: str, at: int) -> ExprFault | None:
    word = re.compile(r"\w*").match(text, at)
    if word and keyword.iskeyword(word.group()):
        fix = f'a column of that name is written col("{word.group()}")'
        return ExprFault(at, LintCode.EXPR_SYNTAX, f"'{word.group()}' cannot stand here", fix)
    return None


def _by_hint(text: str, _: str, __: int) -> ExprFault | None:
    bare = QUOTED.sub(lambda match: " " * len(match.group()), text)
    for pattern, fix in HINTS:
        if found := pattern.search(bare):
            what = f"'{found.group().strip()}' is not known here"
            return ExprFault(found.start(), LintCode.EXPR_SYNTAX, what, fix)
    return None


def _syntax_at(text: str, fault: SyntaxError) -> int:
    if fault.msg.startswith("f-string") and fault.text != text:  # counted from within, before 3.12
        found = re.compile(r"[fF][rR]?['\"]").search(text)
        return found.start() if found else 0
    lines = f"({text}\n)".split("\n")
    line = min(max(fault.lineno or 1, 1), len(lines))
    at = sum(len(one) + 1 for one in lines[: line - 1]) + (fault.offset or 1) - 2
    return min(max(at, 0), len(text) - 1)


def unmatched(text: str) -> int | None:
    """The first bracket without a partner."""
    bare = QUOTED.sub(lambda match: " " * len(match.group()), text)
    waiting: list[int] = []
    for at, char in enumerate(bare):
        if char in "([{":
            waiting.append(at)
        elif char in PAIRS:
            if not waiting or bare[waiting[-1]] != PAIRS[char]:
                return at
            waiting.pop()
    return waiting[-1] if waiting else None

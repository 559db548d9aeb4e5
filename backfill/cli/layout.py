"""A message on lines of its own, each with the way to the member it begins. Values stay exact."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

INDENT: Final = "  "
Path = tuple[str | int, ...]


@dataclass
class Line:
    """One line, and the member whose value begins on it, if one does."""

    text: str
    member: Path | None = None


class _Layout:
    """Breaks one JSON text into lines."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines = [Line("")]
        self._decoder = json.JSONDecoder()

    def value(self, member: Path, depth: int) -> None:
        """Write the value that begins here."""
        opening = self.text[self.at]
        if opening not in "{[":
            _, end = self._decoder.raw_decode(self.text, self.at)
            self._put(self.text[self.at : end])
            self.at = end
            return
        closing, number = "}" if opening == "{" else "]", 0
        self._put(opening)
        self.at += 1
        while self.text[self.at] != closing:
            if self.text[self.at] == ",":
                self._put(",")
                self.at += 1
            key: str | int = (
                number if opening == "[" else self._decoder.raw_decode(self.text, self.at)[0]
            )
            self.lines.append(Line(INDENT * (depth + 1), (*member, key)))
            if opening == "{":
                _, end = self._decoder.raw_decode(self.text, self.at)
                self._put(f"{self.text[self.at : end]}: ")
                self.at = end + 1
            self.value((*member, key), depth + 1)
            number += 1
        if number:
            self.lines.append(Line(INDENT * depth))
        self._put(closing)
        self.at += 1

    def _put(self, text: str) -> None:
        self.lines[-1].text += text


def lines_of(message: str) -> list[Line]:
    """Break a message as it is sent (no blanks between its parts) into lines.

    Nothing is changed but blanks between the parts: numbers keep their digits, texts their escapes.
    """
    made = _Layout(message)
    made.value((), 0)
    return made.lines

"""Writes the pages of docs/ that are made from the program: `python docs/make.py`.

`commands.md` from the command line itself, `mapping-reference.md` from the models of the language,
`errors.md` from the tables of errors and codes. A test holds that they are current.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from errorpage import errors_page

from backfill.cli import backfill
from backfill.mapping.forms import Options
from backfill.mapping.hover import MEMBERS
from backfill.mapping.schema import json_schema

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE: Final = Path(__file__).parent
MADE: Final = "<!-- Made by `python docs/make.py`: change the program, not this page. -->"
WIDTH: Final = 80

COMMANDS: Final = """\
# The commands

What `backfill COMMAND --help` prints, for all of them at once. How they go together is in
[first-migration.md](first-migration.md).

## Shell completion

One line in the file that your shell reads at its start completes commands, options, mappings and
destinations:

| shell | file | line |
| --- | --- | --- |
| bash (4.4 or newer) | `~/.bashrc` | `eval "$(_BACKFILL_COMPLETE=bash_source backfill)"` |
| zsh | `~/.zshrc` | `eval "$(_BACKFILL_COMPLETE=zsh_source backfill)"` |
| fish | `~/.config/fish/config.fish` | `_BACKFILL_COMPLETE=fish_source backfill \\| source` |

Only the one of bash is tested, in a real bash; the others are click's own.
"""

REFERENCE: Final = """\
# Every key of a mapping

By the part of the mapping it stands in; made from the models that check it, as the words of your
editor are (`backfill schema`). How values, expressions and groups work is in
[language.md](language.md), what files can be read in [files.md](files.md), and whole mappings for
common cases in [recipes.md](recipes.md).

A *value* is the name of a column, or one of the [value forms](#value-forms); *one value* is a name,
`{column: …}`, `{expr: …}`, `{agg: …}` or `{const: …}`. *Members* are names ← values.
"""

CHAPTERS: Final[dict[str, tuple[str, ...]]] = {
    "The mapping": (
        *("Document", "SourceSpec", "CsvDialect", "RowsSpec", "WatermarkSpec"),
        *("Guards", "DeliverySpec"),
    ),
    "Messages": (
        *("IdentifyMessage", "TrackMessage", "PageMessage", "ScreenMessage"),
        *("GroupMessage", "AliasMessage"),
    ),
    "Value forms": (
        *("ColumnForm", "ExprForm", "ConstForm", "ObjectForm", "ArrayForm", "EachForm"),
        *("JsonForm", "EachRowForm", "AggForm", "StarForm"),
    ),
}
HEADS: Final = {
    "Document": "At the top",
    "CsvDialect": "source: csv",
    "SourceSpec": "source",
    "RowsSpec": "rows",
    "WatermarkSpec": "watermark",
    "Guards": "guards",
    "DeliverySpec": "delivery",
    "StarForm": '"*"',
}
NAMES: Final = {
    "Value": "a value",
    "Single": "one value",
    "Otherwise": "`reject`, `keep`, `omit` or `{const: …}`",
}
WORDS: Final = {
    "string": "text",
    "boolean": "true or false",
    "null": "",
    "number": "a number",
    "integer": "a whole number",
    "object": "text → any value",
}
TOLD: Final = {"ExprForm": "A computed value: see [expressions](language.md#expressions)."}
SHARING: Final = {"ExprForm", "AggForm"}
"""What has the options of a column, too: those are told once."""

ALIASES: Final = {"as", "else"}
"""The options whose names Python keeps for itself."""


def commands() -> str:
    """Return the page of the commands."""
    parts = [COMMANDS]
    for path, command, context in _commands(backfill, _context(backfill, "backfill")):
        text = command.get_help(context)
        parts.append(f"## {path}\n\n```text\n{text}\n```\n")
    return f"{MADE}\n\n" + "\n".join(parts)


def _context(
    command: click.Command, name: str, parent: click.Context | None = None
) -> click.Context:
    return click.Context(command, parent=parent, info_name=name, **command.context_settings)


def _commands(
    command: click.Command, context: click.Context
) -> Iterator[tuple[str, click.Command, click.Context]]:
    context.terminal_width = WIDTH - 2  # what click leaves of a terminal of 80 columns
    yield context.command_path, command, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from _commands(below, _context(below, name, context))


def reference() -> str:
    """Return the page of the language's keys."""
    schema = json_schema()
    parts = {"Document": schema, **schema["$defs"]}
    lines = [MADE, "", REFERENCE]
    for chapter, names in CHAPTERS.items():
        lines += [f"## {chapter}", ""]
        for name in names:
            lines += _part(name, parts[name])
    return "\n".join(lines)


def _part(name: str, part: dict[str, Any]) -> list[str]:
    keys, needed = part["properties"], part.get("required", [])
    is_sharing = name in SHARING
    own = [key for key in keys if not (is_sharing and key in Options.model_fields)]
    own = [key for key in own if not is_sharing or key not in ALIASES]
    own.sort(key=lambda key: ("type", "column", *needed).index(key) if key in needed else len(keys))
    head = HEADS.get(name) or _message_of(name) or own[0]
    told = TOLD.get(name) or " ".join(part.get("description", "").split())
    lines = [f"### {head}", "", *([told, ""] if name != "Document" else [])]
    lines += ["| key | takes | without it | meaning |", "| --- | --- | --- | --- |"]
    lines += [_row(key, keys[key], is_needed=key in needed) for key in own]
    if is_sharing:
        lines += ["", "And the options of a [column](#column)."]
    if either := [key for one in part.get("anyOf", ()) for key in one.get("required", ())]:
        lines += ["", f"At least one of {', '.join(f'`{key}`' for key in either)} must be there."]
    return [*lines, ""]


def _message_of(name: str) -> str:
    return name.removesuffix("Message").lower() if name.endswith("Message") else ""


def _row(key: str, given: dict[str, Any], *, is_needed: bool) -> str:
    meaning = given.get("description", "").replace(MEMBERS, "").replace("  ", " ").strip()
    without = "**must be there**" if is_needed else _default(given)
    cells = [f"`{key}`", _takes(given), without, meaning]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(given: dict[str, Any]) -> str:
    default = given.get("default")
    if default is None or default == []:
        return ""
    texts = [f"`{one}`" if one != "" else "empty text" for one in _listed(default)]
    return ", ".join(text.replace("True", "true").replace("False", "false") for text in texts)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _takes(given: dict[str, Any]) -> str:
    """Say what a key takes, from its schema."""
    if "$ref" in given:
        name = given["$ref"].rpartition("/")[2]
        return NAMES.get(name) or f"see [{_head(name)}](#{_anchor(_head(name))})"
    if "const" in given or "enum" in given:
        return ", ".join(f"`{one}`" for one in given.get("enum", [given.get("const")]))
    if choices := given.get("anyOf") or given.get("oneOf"):
        return " or ".join(dict.fromkeys(text for one in choices if (text := _takes(one))))
    kind = given.get("type", "")
    if kind == "array":
        return _array(given)
    if kind == "object" and "$ref" in str(given.get("additionalProperties")):
        return "members"
    return (WORDS.get(kind, "any value") + _range(given)).strip()


def _array(given: dict[str, Any]) -> str:
    item = given["items"]
    if len(item.get("oneOf", ())) > 1:
        return "a list of [messages](#messages)"
    return f"a list of {_takes(item).removeprefix('a ')}s"


def _range(given: dict[str, Any]) -> str:
    low = given.get("minimum", given.get("exclusiveMinimum"))
    high = given.get("maximum")
    if high is not None:
        return f", {'over ' if 'exclusiveMinimum' in given else ''}{low:,} to {high:,}"
    if low is not None:
        return f" from {low}"
    return ", one character" if given.get("maxLength") == 1 else ""


def _head(name: str) -> str:
    return HEADS.get(name, name)


def _anchor(head: str) -> str:
    return head.lower().replace(":", "").replace(" ", "-")


def errors() -> str:
    """Return the page of what can go wrong."""
    return f"{MADE}\n\n{errors_page()}"


PAGES: Final = {
    "commands.md": commands,
    "errors.md": errors,
    "mapping-reference.md": reference,
}

if __name__ == "__main__":
    for name, made in PAGES.items():
        (HERE / name).write_text(made(), encoding="utf-8")

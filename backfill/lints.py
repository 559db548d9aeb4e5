"""Every fault that a mapping can have, as a closed table: code, what it means, how it is mended.

No logic. The words about one fault of one file are made where it is found, since they name what
stands there; here is what all faults of a code have in common. Printed codes are a contract:
scripts match them, and each is a heading of docs/errors.md.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple


class LintCode(StrEnum):
    """A closed list, in the order in which a file is looked at: text, keys, values, expressions."""

    EMPTY = "empty"
    YAML_SYNTAX = "yaml-syntax"
    YAML_DOCUMENTS = "yaml-documents"
    ANCHOR = "anchor"
    TAG = "tag"
    TOO_DEEP = "too-deep"
    KEY_TYPE = "key-type"
    DUPLICATE_KEY = "duplicate-key"
    LOST_DIGITS = "lost-digits"
    UNKNOWN_KEY = "unknown-key"
    MISSING_KEY = "missing-key"
    WRONG_TYPE = "wrong-type"
    WRONG_VALUE = "wrong-value"
    BAD_NAME = "bad-name"
    MISSING_MEMBER = "missing-member"
    WRONG_MEMBER = "wrong-member"
    WRONG_FORM = "wrong-form"
    BAD_OPTION = "bad-option"
    RESERVED = "reserved"
    TOO_MANY = "too-many"
    EXPR_SYNTAX = "expr-syntax"
    EXPR_REFUSED = "expr-refused"
    UNKNOWN_FUNCTION = "unknown-function"
    EXPR_ARGUMENTS = "expr-arguments"
    EXPR_TYPE = "expr-type"
    EXPR_TOO_LONG = "expr-too-long"
    EXPR_TOO_DEEP = "expr-too-deep"
    AFTER_CIRCLE = "after-circle"
    UNKNOWN_COLUMN = "unknown-column"
    COLUMN_TYPE = "column-type"


class Meaning(NamedTuple):
    """What all faults of one code have in common, as whole sentences."""

    what: str
    fix: str


LINTS: Final[dict[LintCode, Meaning]] = {
    LintCode.EMPTY: Meaning(
        "The file holds no keys and values: it is empty, has comments only, or is a list.",
        "Begin with `version: 1`, then `source:` and `messages:`; `backfill init FILE` writes a"
        " first mapping from your data.",
    ),
    LintCode.YAML_SYNTAX: Meaning(
        "The text is not YAML, so nothing else in it was looked at.",
        "Look at the place and the line before it: a quote that is not closed, a tab in the indent,"
        " a text with `: ` in it that needs quotes, or a Windows path in double quotes.",
    ),
    LintCode.YAML_DOCUMENTS: Meaning(
        "A line `---` begins a second document; a file is one mapping.",
        "Put the second one into a file of its own; `backfill run FOLDER` runs both.",
    ),
    LintCode.ANCHOR: Meaning(
        "Anchors (`&name`) and aliases (`*name`, `<<:`) are refused: a few lines of them can stand"
        " for gigabytes.",
        "Write the part out at each place. A text that begins with `&` or `*` needs quotes.",
    ),
    LintCode.TAG: Meaning(
        "Tags (`!name`, `!!type`) are refused: they would say how a value is read, and the mapping"
        " does.",
        "Write the plain value. A text that begins with `!` needs quotes.",
    ),
    LintCode.TOO_DEEP: Meaning(
        "Tables and lists are nested deeper than any mapping needs; the file was read up to there.",
        "Flatten that part, or hold it as one `json:` column.",
    ),
    LintCode.KEY_TYPE: Meaning(
        "A key is a list or a table, not a text.",
        "Write `key: value`. `{{name}}` is no template here: name the column itself.",
    ),
    LintCode.DUPLICATE_KEY: Meaning(
        "The same key stands twice in one table, and one of the two would be ignored.",
        "Keep one, or rename the other.",
    ),
    LintCode.LOST_DIGITS: Meaning(
        "A number has more digits than a binary number keeps, so another one would be sent.",
        'Write it in quotes (a text), or as `{expr: "…"}`, which is exact.',
    ),
    LintCode.UNKNOWN_KEY: Meaning(
        "A key that this part of the mapping does not have: misspelt, or in the wrong place.",
        "Take the name that is suggested; [the reference](mapping-reference.md) lists the keys of"
        " each part.",
    ),
    LintCode.MISSING_KEY: Meaning(
        "A key must be there, or another key needs it (`mode: changed` a `key:`, `agg: sum` a"
        " `column:`).",
        "Add it as the fix shows it.",
    ),
    LintCode.WRONG_TYPE: Meaning(
        "A value is of another kind than its key takes: a number where a text is due, one text"
        " where a list is.",
        "Write what the fix shows; a text that looks like a number or like true or false needs"
        " quotes.",
    ),
    LintCode.WRONG_VALUE: Meaning(
        "A value is of the right kind, but none that its key can have: an unknown word or time"
        " zone, a number out of bounds, a pattern that cannot be read.",
        "Take the value that is suggested, or one from the range that is named.",
    ),
    LintCode.BAD_NAME: Meaning(
        "A name is too long, blank, taken already, or cannot name a folder of the state.",
        "Choose another name, as the fix says.",
    ),
    LintCode.MISSING_MEMBER: Meaning(
        "A message lacks what its type must have: an id, the name of the event, the timestamp.",
        "Add the member with the column that holds it; `timestamp: now` is for events that happen"
        " when they are sent.",
    ),
    LintCode.WRONG_MEMBER: Meaning(
        "The member exists, but not in this type of message: identify and group have `traits`;"
        " track, page and screen have `properties`.",
        "Rename it, or change the `type:` of the message.",
    ),
    LintCode.WRONG_FORM: Meaning(
        "What stands there is no value form, is two at once, or is one that cannot stand there.",
        "Name a column, or take one of the [value forms](mapping-reference.md#value-forms); a fixed"
        " value is `{const: …}`.",
    ),
    LintCode.BAD_OPTION: Meaning(
        "An option says nothing here: it belongs to another `type:`, or to another key that is not"
        " there. It is refused because whoever wrote it expected something of it.",
        "Add what it needs, or leave it out.",
    ),
    LintCode.RESERVED: Meaning(
        "An event or a property acts on the workspace instead of telling it something: `User"
        " Deleted` deletes, `recipient` overrides who gets a message.",
        "Rename it, or allow it on purpose under `guards: {allow: […]}`.",
    ),
    LintCode.TOO_MANY: Meaning(
        "A message has more traits than the destination keeps.",
        'Leave some out; of `"*"` with `except:`.',
    ),
    LintCode.EXPR_SYNTAX: Meaning(
        "An expression cannot be read: a bracket or quote without its partner, an operator of SQL"
        " or of another language.",
        "Look at the character that the place names. [Expressions](language.md#expressions) have"
        ' Python\'s syntax; a column with blanks in its name is `col("First Name")`.',
    ),
    LintCode.EXPR_REFUSED: Meaning(
        "It reads as Python, but the language of expressions does not have it; nothing is ever run"
        " as Python.",
        "Write it with the operators and [functions](language.md#expressions) there are.",
    ),
    LintCode.UNKNOWN_FUNCTION: Meaning(
        "There is no function of this name.",
        "Take the name that is suggested, or one of the [functions](language.md#expressions).",
    ),
    LintCode.EXPR_ARGUMENTS: Meaning(
        "A function has too few or too many arguments, one that it does not know, or a column where"
        " a literal is due.",
        "Write it as the fix shows it.",
    ),
    LintCode.EXPR_TYPE: Meaning(
        "The parts of an expression do not fit together, such as a text and a number. Columns of"
        " CSV and JSON lines are text until they are converted.",
        "Convert with the function that is named: `number(qty)`, `timestamp(at)`, `text(id)`.",
    ),
    LintCode.EXPR_TOO_LONG: Meaning(
        "An expression, a text or a number in it is longer than an expression may be.",
        "Shorten it, or compute a part of it where the data comes from.",
    ),
    LintCode.EXPR_TOO_DEEP: Meaning(
        "An expression is nested deeper than it can be read safely.",
        "Write `a and b and c` without brackets, use `case(…)` for long chains of if … else, or"
        " compute a part of it where the data comes from.",
    ),
    LintCode.AFTER_CIRCLE: Meaning(
        "Mappings wait for each other through `after:`, so that none could begin.",
        "Take one name out of one `after:`.",
    ),
    LintCode.UNKNOWN_COLUMN: Meaning(
        "The source has no column, or the items of a list no field, of this name.",
        "Take the name that is suggested. Where the file seems to have one column only, say which"
        " `delimiter:` it has.",
    ),
    LintCode.COLUMN_TYPE: Meaning(
        "The source's own type of a column cannot be sent, or not in the form that is asked for.",
        "Choose another form or column, or cast it where it comes from.",
    ),
}
"""Every code, in the order of the enum."""

"""What an editor says of each key when a person points at it. Words only, no logic.

Beside the models, not in them: they are read in every start of the program, these words are not.
A test holds that every key has words, and that none is left over.
"""

from __future__ import annotations

from typing import Final

FORMS: Final = (
    "A bare text is the name of a column. Or: {column: …}, {const: …}, {expr: …}, {object: …}, "
    "{array: …}, {each: …}, {json: …}; of a group of rows also {each_row: …} and {agg: …}."
)
ONE: Final = "A bare text is the name of a column. Or {column: …}, {expr: …}, {const: …}."
MEMBERS: Final = 'Names as the API gets them ← value forms. "*": {columns: …} takes many columns.'

OPTIONS: Final = {
    "type": "What the texts of the column are. Without it: text (CSV), or the column's own type.",
    "format": "How times are written: iso8601, unix_s, unix_ms, unix_us, a pattern such as "
    "%d.%m.%Y %H:%M, or a list of them, tried in order.",
    "timezone": "The zone of times that name none, such as Europe/Berlin. A time without a zone is "
    "a reject, never a guess.",
    "ambiguous": "Which one a time is that happens twice in autumn.",
    "as": "How a time inside traits and properties is sent: as text, or in seconds since 1970.",
    "decimal": "The decimal mark of numbers.",
    "thousands": "The mark between thousands.",
    "true": "The texts that are true; in quotes.",
    "false": "The texts that are false; in quotes.",
    "map": "Text of the cell → value that is sent.",
    "else": "What becomes of a text that is not in map: reject, keep, omit or {const: …}.",
    "split": "Split the text here into an array; items are trimmed, blank ones dropped.",
    "blank": "What becomes of a blank: left out, null, an empty text, or a reject.",
    "default": "The value for a blank.",
    "required": "true: a blank rejects its row.",
    "check": "email, or a regular expression that the text must match; else its row is a reject.",
}
EMPTY: Final = "Whether one with nothing in it is left out (omit) or sent (keep)."
COMMON: Final = {
    "type": "The type of the message.",
    "when": "An expression: only rows for which it is true have this message.",
    "messageId": "Made from the key (or the row) unless mapped.",
    "context": f"What the visitor's device would tell, such as ip. {MEMBERS}",
    "integrations": "Which destinations get the message.",
}
PERSON: Final = {
    **COMMON,
    "userId": "The person's id; text for ever, so 007 stays 007.",
    "anonymousId": "The id of somebody not known by name yet.",
}
WHEN: Final = "When it happened, not when it is sent; now: at sending time."
UPDATED: Final = "Best left out: an old one makes the destination ignore the update."
PROPERTIES: Final = f"What is known about it. {MEMBERS}"
TRAITS: Final = f"What is known about them. {MEMBERS}"
VIEW: Final = {
    **PERSON,
    "timestamp": WHEN,
    "name": "The name of the page or screen.",
    "category": "Sent among the properties.",
    "properties": PROPERTIES,
}

HOVER: Final[dict[str, dict[str, str]]] = {
    "ColumnForm": {"column": "The column's name, as in the source.", **OPTIONS},
    "ExprForm": {
        "expr": 'Python\'s expression syntax; names are columns: "lower(trim(email))".',
        **OPTIONS,
    },
    "ConstForm": {"const": "Any JSON value; the same in every row."},
    "ObjectForm": {"object": f"The members of the object. {MEMBERS}", "empty": EMPTY},
    "ArrayForm": {"array": "The items; blank ones are left out.", "empty": EMPTY},
    "EachForm": {
        "each": "A list column; in Parquet a list of structs.",
        "as": "What each item becomes; in here, columns are the item's own fields.",
        "empty": EMPTY,
    },
    "EachRowForm": {
        "each_row": "What each row of the group becomes: value forms, or one column.",
        "empty": EMPTY,
    },
    "AggForm": {
        "agg": "How the values of the group's rows become one.",
        "column": "The column; count without one counts the rows.",
        "expr": "What is computed of each row, instead of a column.",
        **OPTIONS,
    },
    "StarForm": {
        "columns": 'Columns whose name is like this; * is any text, ? any character: "prop_*".',
        "strip": "What is taken off the front of a column's name.",
        "except": 'Columns to leave out, written as in columns: "*_at".',
    },
    "JsonForm": {"json": "A column of JSON texts; checked, and passed on unchanged in meaning."},
    "IdentifyMessage": {**PERSON, "timestamp": UPDATED, "traits": TRAITS},
    "TrackMessage": {
        **PERSON,
        "timestamp": WHEN,
        "groupId": "The object that it happened to.",
        "event": "The event's name; a fixed one is {const: Order Completed}.",
        "properties": PROPERTIES,
    },
    "PageMessage": VIEW,
    "ScreenMessage": VIEW,
    "GroupMessage": {
        **PERSON,
        "timestamp": UPDATED,
        "groupId": "The object's id.",
        "traits": f"{TRAITS} objectTypeId says which type of object it is.",
    },
    "AliasMessage": {
        **COMMON,
        "timestamp": WHEN,
        "userId": "The id that stays.",
        "previousId": "The id that goes: its profile is merged into the other, for ever.",
    },
    "CsvDialect": {
        "delimiter": "What stands between cells.",
        "quote": "What stands around a cell that has a delimiter or a line break in it.",
        "escape": "What stands before a quote inside a cell, where it is not doubled.",
        "comment": "A line that begins with it is no row.",
        "encoding": "How the file's text is written: utf-8, latin-1, utf-16 …",
        "header": "true: the first row names the columns. Or their names, where no row does.",
        "skip_lines": "Lines on top of the header that are left out.",
    },
    "SourceSpec": {
        "path": "A file, a folder, a glob, or a list of them; relative to this mapping.",
        "format": "What the files are; else their endings say it.",
        "csv": "How the CSV files are written.",
        "blank": 'Texts that count as blank, in CSV files only: ["", "NULL"].',
        "files": "all, or new: files that were delivered before are left out, by their content.",
    },
    "WatermarkSpec": {
        "column": "The column of times, or of numbers, that says what is later.",
        "lag": "How far back a run looks again for rows that came late: 90s, 15m, 2h, 3d.",
        **{name: OPTIONS[name] for name in ("type", "format", "timezone", "ambiguous")},
    },
    "RowsSpec": {
        "group_by": "Neighbouring rows with the same values here become one message.",
        "order_within": "The column that the rows of a group are put in order by.",
        "max_rows": "A group with more rows is a reject.",
    },
    "Guards": {
        "recent_events": "Events newer than 72 hours can start campaigns: hold them back, or send "
        "them on purpose. Undeclared: they are held.",
        "future": "What becomes of a time that is more than 5 minutes ahead.",
        "not_before": "Older times are rejects: 2009-01-01. Without it: 1990-01-01.",
        "allow": "Command events (User Deleted …), cio_ and overriding properties to be sent.",
    },
    "DeliverySpec": {
        "rate": "Requests a second, up to 1000; or unlimited.",
        "connections": "Requests at a time.",
        "batch_bytes": "Bytes a request.",
        "batch_messages": "Messages a request.",
        "gzip": "Pack request bodies. Only for a destination that is known to take it.",
    },
    "Document": {
        "version": "The version of the mapping language.",
        "name": "Names the stream's folder of state. Without it: the name of this file.",
        "after": "Streams that must finish first when several run together.",
        "source": "Where the rows come from.",
        "key": "The column or columns that say which row is which. With it a message that is sent "
        "again has the same id; without it the file's content and the row say it.",
        "mode": "all: every row. changed: rows whose messages differ from what was acknowledged "
        "under their key. since: rows later than the watermark.",
        "watermark": "What mode: since goes by.",
        "where": "An expression: rows for which it is not true are filtered.",
        "rows": "Which neighbouring rows go together in one message.",
        "messages": "What each row becomes: one message or several.",
        "guards": "What must be said on purpose before it is sent.",
        "delivery": "How fast and how large; may change between a run and its resume.",
    },
}
"""By model and key, as it is written."""

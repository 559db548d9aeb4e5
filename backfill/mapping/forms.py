"""The forms in which a value may be written, as models. No reading of files."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
)

TAG: Final = "form="
"""Marks the parts of an error's location that are no keys of the file."""


class Part(BaseModel):
    """Any part of the document: unknown keys are faults, nothing is converted."""

    # defer_build: only the whole document's validator is ever used, so only that one is built
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


OneOrMany = Annotated[
    list[str],
    BeforeValidator(_listed),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]

OneOrMore = Annotated[
    list[str],
    Field(min_length=1),
    BeforeValidator(_listed),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}, "minItems": 1},
            ]
        }
    ),
]
"""OneOrMany with something in it."""

Type = Literal["text", "integer", "number", "boolean", "timestamp", "date", "json"]


class Options(Part):
    """What can be said about a column beside its name."""

    type: Type | None = None
    format: OneOrMany = Field(default=["iso8601"])
    timezone: str | None = None
    ambiguous: Literal["reject", "earliest", "latest"] = "reject"
    as_: Literal["iso8601", "unix"] = Field(default="iso8601", alias="as")
    decimal: str = Field(default=".", min_length=1, max_length=1)
    thousands: str | None = Field(default=None, min_length=1, max_length=1)
    true: OneOrMany = Field(default=["true", "t", "yes", "y", "1"])
    false: OneOrMany = Field(default=["false", "f", "no", "n", "0"])
    map: dict[str, Any] | None = None
    else_: Any = Field(default="reject", alias="else")
    split: str | None = Field(default=None, min_length=1)
    blank: Literal["omit", "null", "keep", "reject"] = "omit"
    default: Any = None
    required: bool = False
    check: str | None = None


class ColumnForm(Options):
    """The value of a column."""

    column: str


@cache
def column_form(name: str) -> ColumnForm:
    """Return a bare name as the form it is short for."""
    return ColumnForm(column=name)


class ExprForm(Options):
    """A computed value; what an expression may say is in `mapping.expression`."""

    expr: str


class ConstForm(Part):
    """The same value in every row."""

    const: Any


class ObjectForm(Part):
    """An object; members that are blank are left out."""

    object: dict[str, Value]
    empty: Literal["omit", "keep"] = "omit"


class ArrayForm(Part):
    """An array; blank items are left out."""

    array: list[Value]
    empty: Literal["omit", "keep"] = "omit"


class EachForm(Part):
    """A list column as an array of objects, or of scalars."""

    each: str
    as_: Annotated[
        Annotated[dict[str, Value], Tag(f"{TAG}objects")] | Annotated[str, Tag(f"{TAG}scalars")],
        Discriminator(lambda v: f"{TAG}scalars" if isinstance(v, str) else f"{TAG}objects"),
    ] = Field(alias="as")
    empty: Literal["omit", "keep"] = "omit"


class EachRowForm(Part):
    """The rows of a group as an array of objects, or of scalars."""

    each_row: Annotated[
        Annotated[dict[str, Value], Tag(f"{TAG}objects")] | Annotated[str, Tag(f"{TAG}scalars")],
        Discriminator(lambda v: f"{TAG}scalars" if isinstance(v, str) else f"{TAG}objects"),
    ]
    empty: Literal["omit", "keep"] = "omit"


WHOLE: Final = {"blank", "default", "required"}
"""The options that say what a blank means: of an aggregate, that of the whole group."""


class AggForm(Options):
    """One value for the rows of a group."""

    agg: Literal["sum", "count", "min", "max", "first", "last", "distinct"]
    column: str | None = None
    expr: str | None = None

    def value(self) -> ColumnForm | ExprForm:
        """Return what is taken of each row: all but what a blank of the group means."""
        said = self._said(self.model_fields_set - {"agg", "column", "expr"} - WHOLE)
        if self.agg == "sum":
            said.setdefault("type", "number")
        if self.expr is not None:
            return ExprForm(expr=self.expr).model_copy(update=said)
        return ColumnForm(column=self.column or "").model_copy(update=said)

    def whole(self) -> ColumnForm:
        """Return what a blank of the group means."""
        name = self.column or self.expr or ""
        return ColumnForm(column=name).model_copy(update=self._said(self.model_fields_set & WHOLE))

    def _said(self, names: set[str]) -> dict[str, Any]:
        return {name: getattr(self, name) for name in names}


class StarForm(Part):
    """Under the key `"*"`: every column that matches and is not named elsewhere in the message."""

    columns: OneOrMore
    strip: str | None = None
    except_: OneOrMany = Field(default=[], alias="except")


class JsonForm(Part):
    """A text column that holds JSON, checked and passed on unchanged in meaning."""

    json_: str = Field(alias="json")


FORMS: Final[dict[str, type[BaseModel]]] = {
    "agg": AggForm,
    "each_row": EachRowForm,
    "column": ColumnForm,
    "expr": ExprForm,
    "const": ConstForm,
    "object": ObjectForm,
    "array": ArrayForm,
    "each": EachForm,
    "json": JsonForm,
    "columns": StarForm,
}

NAMES: Final[dict[type, str]] = {form: key for key, form in FORMS.items()}


def _form(value: object) -> str | None:
    if isinstance(value, str):
        return f"{TAG}name"
    if isinstance(value, dict):
        return next((f"{TAG}{key}" for key in FORMS if key in value), None)
    return f"{TAG}{NAMES[type(value)]}" if type(value) in NAMES else None


Value = Annotated[
    Annotated[str, Tag(f"{TAG}name")]
    | Annotated[ColumnForm, Tag(f"{TAG}column")]
    | Annotated[ExprForm, Tag(f"{TAG}expr")]
    | Annotated[ConstForm, Tag(f"{TAG}const")]
    | Annotated[ObjectForm, Tag(f"{TAG}object")]
    | Annotated[ArrayForm, Tag(f"{TAG}array")]
    | Annotated[EachForm, Tag(f"{TAG}each")]
    | Annotated[JsonForm, Tag(f"{TAG}json")]
    | Annotated[EachRowForm, Tag(f"{TAG}each_row")]
    | Annotated[AggForm, Tag(f"{TAG}agg")]
    | Annotated[StarForm, Tag(f"{TAG}columns")],
    Discriminator(_form),
]
Members = dict[str, Value]

"""The mapping language as models: what may be written, and its JSON Schema. No reading of files.

The models are the one declaration: the checks of `load` and the schema that editors use both come
from them. `backfill/mapping/load.py` turns their faults into words with places.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, Discriminator, Field, Tag

from backfill.mapping.forms import (
    FORMS,
    TAG,
    ColumnForm,
    Members,
    OneOrMany,
    OneOrMore,
    Part,
    Value,
)


class MessageBase(Part):
    """What every message may have. when: an expression; only rows for which it is true."""

    when: str | None = None
    messageId: Value | None = None  # noqa: N815  the API's own names
    timestamp: Value | None = None
    context: Members | None = None
    integrations: Value | None = None


class Person(MessageBase):
    """A message about a person."""

    userId: Value | None = None  # noqa: N815
    anonymousId: Value | None = None  # noqa: N815


class IdentifyMessage(Person):
    """Create or update a person."""

    type: Literal["identify"]
    traits: Members | None = None


class TrackMessage(Person):
    """Something a person (or an object) did."""

    type: Literal["track"]
    groupId: Value | None = None  # noqa: N815
    event: Value | None = None
    properties: Members | None = None


class PageMessage(Person):
    """A page view; category goes into properties."""

    type: Literal["page"]
    name: Value | None = None
    category: Value | None = None
    properties: Members | None = None


class ScreenMessage(Person):
    """A screen view; category goes into properties."""

    type: Literal["screen"]
    name: Value | None = None
    category: Value | None = None
    properties: Members | None = None


class GroupMessage(Person):
    """Create or update an object, and relate a person to it."""

    type: Literal["group"]
    groupId: Value | None = None  # noqa: N815
    traits: Members | None = None


class AliasMessage(MessageBase):
    """Merge the person previousId into userId."""

    type: Literal["alias"]
    userId: Value | None = None  # noqa: N815
    previousId: Value | None = None  # noqa: N815


MESSAGES: Final[dict[str, type[BaseModel]]] = {
    "identify": IdentifyMessage,
    "track": TrackMessage,
    "page": PageMessage,
    "screen": ScreenMessage,
    "group": GroupMessage,
    "alias": AliasMessage,
}


def _type(value: object) -> str | None:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return f"{TAG}{kind}" if isinstance(kind, str) else None


Message = Annotated[
    Annotated[IdentifyMessage, Tag(f"{TAG}identify")]
    | Annotated[TrackMessage, Tag(f"{TAG}track")]
    | Annotated[PageMessage, Tag(f"{TAG}page")]
    | Annotated[ScreenMessage, Tag(f"{TAG}screen")]
    | Annotated[GroupMessage, Tag(f"{TAG}group")]
    | Annotated[AliasMessage, Tag(f"{TAG}alias")],
    Discriminator(_type),
]


def _header(value: object) -> str:
    return f"{TAG}names" if isinstance(value, list) else f"{TAG}flag"


class CsvDialect(Part):
    """How a CSV file is written."""

    delimiter: str = Field(default=",", min_length=1)
    quote: str = Field(default='"', min_length=1)
    escape: str | None = Field(default=None, min_length=1, max_length=1)
    comment: str | None = Field(default=None, min_length=1)
    encoding: str = "utf-8"
    header: Annotated[
        Annotated[bool, Tag(f"{TAG}flag")]
        | Annotated[list[str], Field(min_length=1), Tag(f"{TAG}names")],
        Discriminator(_header),
    ] = True
    skip_lines: int = Field(default=0, ge=0)


class SourceSpec(Part):
    """Where the rows come from."""

    path: OneOrMore
    format: Literal["csv", "parquet", "jsonl"] | None = None
    csv: CsvDialect = CsvDialect()
    blank: OneOrMany = Field(default=[""])
    files: Literal["all", "new"] = "all"


class RowsSpec(Part):
    """Which neighbouring rows go together in one message."""

    group_by: OneOrMore
    order_within: str | None = None
    max_rows: int = Field(default=500, ge=1, le=10_000)


def _lag(value: object) -> str:
    return f"{TAG}words" if isinstance(value, str) else f"{TAG}steps"


Lag = Annotated[
    Annotated[int, Tag(f"{TAG}steps"), Field(ge=0, le=10**15)] | Annotated[str, Tag(f"{TAG}words")],
    Discriminator(_lag),
]


class WatermarkSpec(Part):
    """The column by which a run knows what is later than the runs before it."""

    column: str
    lag: Lag = 0
    type: Literal["timestamp", "date", "integer"] | None = None
    format: OneOrMany = Field(default=["iso8601"])
    timezone: str | None = None
    ambiguous: Literal["reject", "earliest", "latest"] = "reject"

    def form(self) -> ColumnForm:
        """Return how its cells are read."""
        names = self.model_fields_set - {"lag", "type"}
        said = {name: getattr(self, name) for name in names}
        return ColumnForm.model_construct(names, **said)


class Guards(Part):
    """What must be said on purpose before it is sent."""

    recent_events: Literal["hold", "send"] | None = None
    future: Literal["reject", "send"] = "reject"
    not_before: str | None = None
    allow: list[str] = Field(default=[])


def _rate(value: object) -> str:
    return f"{TAG}word" if isinstance(value, str) else f"{TAG}rate"


Rate = Annotated[
    Annotated[float, Tag(f"{TAG}rate"), Field(gt=0, le=1000)]
    | Annotated[Literal["unlimited"], Tag(f"{TAG}word")],
    Discriminator(_rate),
]


class DeliverySpec(Part):
    """How fast and how large; may change between a run and its resume."""

    rate: Rate = 50.0
    connections: int = Field(default=8, ge=1, le=64)
    batch_bytes: int = Field(default=475_000, ge=1_000, le=500_000)
    batch_messages: int = Field(default=1_000, ge=1, le=100_000)
    gzip: bool = False


class Document(Part):
    """A mapping file, version 1."""

    version: Literal[1]
    name: str | None = None
    after: OneOrMany = Field(default=[])
    source: SourceSpec
    mode: Literal["all", "changed", "since"] = "all"
    key: OneOrMany = Field(default=[])
    watermark: WatermarkSpec | None = None
    where: str | None = None
    rows: RowsSpec | None = None
    messages: list[Message] = Field(min_length=1)
    guards: Guards = Guards()
    delivery: DeliverySpec = DeliverySpec()


MODELS: Final[dict[str, type[BaseModel]]] = {
    **FORMS,
    **MESSAGES,
    "source": SourceSpec,
    "rows": RowsSpec,
    "watermark": WatermarkSpec,
    "csv": CsvDialect,
    "guards": Guards,
    "delivery": DeliverySpec,
}
"""The model that an unknown key was found in, by the last word of its place."""


def keys_of(model: type[BaseModel]) -> list[str]:
    """The keys a part may have, as they are written."""
    return [field.alias or name for name, field in model.model_fields.items()]

"""Our messages beside those that the official clients really sent, for the same content.

Each captured message becomes a row and a mapping; what `preview` makes of the row is compared.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from ledger import Ledger, messages

from backfill.api import preview
from backfill.mapping import load_mapping

if TYPE_CHECKING:
    from collections.abc import Callable

    Door = Callable[..., dict[str, Any]]

SHARED = Path(__file__).parent.parent.parent / "shared"
CAPTURES = SHARED / "data/protocol/captures"
SCHEMA = SHARED / "docs/cdp-messages.schema.json"
CLIENTS = (
    "customerio-node-pipelines",
    "customerio-cdp-analytics-node",
    "customerio-cdp-analytics-python",
)
TYPES = ("identify", "track", "page", "screen", "group", "alias")
BODY = {"identify": "traits", "group": "traits", "alias": None}
"""Where the free data stands; in the others it is `properties`."""

ADDED_BY_CLIENTS = ("_metadata", "receivedAt", "sentAt")
"""Members that a client adds for itself; `context.library` is the other one."""


def captured(client: str) -> list[dict[str, Any]]:
    """Return one message of each type, those with all that a caller can give."""
    path = CAPTURES / f"{client}.all_calls.json"
    if not path.exists():
        pytest.skip(f"the captures of official clients are not on this machine: {path}")
    (request,) = json.loads(path.read_text())["requests"]
    found = messages(request["body_text"].encode())
    return [message for message in found if message["messageId"].startswith("mid-")]


def theirs(message: dict[str, Any]) -> dict[str, Any]:
    """Take away what the client added, and the two places where our contract differs.

    Added: `context.library`, `_metadata`, `sentAt`. Differing: a null is left out here, since it
    removes an attribute; `category` of a page or screen goes into its properties.
    """
    made = {name: value for name, value in message.items() if name not in ADDED_BY_CLIENTS}
    made["context"] = {k: v for k, v in made["context"].items() if k != "library"}
    if made.get("integrations") == {}:
        del made["integrations"]
    if "category" in made:
        made["properties"] = {"category": made.pop("category"), **made.get("properties", {})}
    made = {name: without_nulls(value) for name, value in made.items() if value is not None}
    if made.get("properties") == {}:
        del made["properties"]
    made["timestamp"] = in_utc(made["timestamp"])
    return made


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_nulls(v) for k, v in value.items() if v is not None}
    return [without_nulls(v) for v in value] if isinstance(value, list) else value


def in_utc(text: str) -> str:
    at = datetime.fromisoformat(text).astimezone(UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"


def mapping_of(message: dict[str, Any], folder: Path) -> Path:
    """Write a message as a row of JSON lines, and the mapping that makes it of the row again."""
    kind = message["type"]
    ids = ("userId", "anonymousId", "groupId", "previousId", "messageId", "timestamp", "event")
    body: str | None = BODY.get(kind, "properties")
    row: dict[str, Any] = {"filler": 1}
    made: dict[str, Any] = {"type": kind}
    for name in (*ids, "name", "category"):
        if message.get(name) is not None:
            row[name] = message[name]
            made[name] = name
    for part in (body, "context"):
        if part is None or not message.get(part):
            continue
        members = {k: v for k, v in message[part].items() if k != "library"}
        row |= {f"{part}.{k}": v for k, v in members.items()}
        made[part] = {k: f"{part}.{k}" for k in members}
    made["integrations"] = {"const": message["integrations"]}
    (folder / "rows.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\n")
    path = folder / "mapping.yaml"
    document = {
        "version": 1,
        "source": {"path": "rows.jsonl"},
        "messages": [made],
        "guards": {"recent_events": "send"},
    }
    path.write_text(json.dumps(document))  # YAML holds JSON
    return path


def shape(value: Any) -> Any:
    """Return keys, nesting and the JSON types of the values."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [shape(inner) for inner in value]
    if isinstance(value, bool):
        return "boolean"
    return "number" if isinstance(value, int | float) else type(value).__name__


def ours(message: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return what `preview` makes of the row that a message became."""
    frame = preview(load_mapping(mapping_of(message, folder)))
    (made,) = frame["message"]
    assert isinstance(made, dict)
    return made


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("client", CLIENTS)
def test_a_message_is_what_the_official_client_sent_for_the_same_content(
    client: str, kind: str, tmp_path: Path
) -> None:
    (message,) = [one for one in captured(client) if one["type"] == kind]
    made, wanted = ours(message, tmp_path), theirs(message)
    assert shape(made) == shape(wanted)
    assert made == wanted


@pytest.mark.parametrize("client", CLIENTS)
def test_the_captures_hold_all_six_types(client: str) -> None:
    assert [message["type"] for message in captured(client)] == list(TYPES)


@pytest.fixture(scope="module")
def validator() -> Any:
    if not SCHEMA.exists():
        pytest.skip(f"the schema of the messages is not on this machine: {SCHEMA}")
    schema = json.loads(SCHEMA.read_text())
    return jsonschema.Draft202012Validator(
        schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("client", CLIENTS)
def test_a_message_is_valid_by_the_schema_of_the_vendors_description(
    validator: Any, client: str, kind: str, tmp_path: Path
) -> None:
    (message,) = [one for one in captured(client) if one["type"] == kind]
    made = ours(message, tmp_path)
    assert next(iter(made)) == "type"
    assert [fault.message for fault in validator.iter_errors({"batch": [made]})] == []


def test_a_request_is_like_those_of_the_official_clients(
    door: Door, ledger: Ledger, tmp_path: Path
) -> None:
    path = CAPTURES / f"{CLIENTS[0]}.all_calls.json"
    message = next(one for one in captured(CLIENTS[0]) if one["type"] == "track")
    assert door(mapping_of(message, tmp_path))["exit_code"] == 0
    (arrival,) = ledger.arrivals
    (request,) = json.loads(path.read_text())["requests"]
    assert arrival.path == request["path"]
    same = ("Content-Type", "X-Strict-Mode")
    assert [arrival.headers[n] for n in same] == [request["headers"][n] for n in same]
    assert arrival.headers["Authorization"].startswith("Basic ")
    assert list(json.loads(arrival.body)) == list(json.loads(request["body_text"]))

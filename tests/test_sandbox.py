"""The sandbox is the destination as the contract tells it: real server, real SQLite, loopback."""

from __future__ import annotations

import base64
import gzip
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests

from backfill.errors import UsageError
from backfill.sandbox import ASSUMPTIONS, Sandbox, Store
from backfill.sandbox.faults import Faults
from backfill.sandbox.rules import message_faults
from backfill.sandbox.wire import BodyError, read_batch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backfill.sandbox.wire import Received

CAPTURES = Path(__file__).parent.parent / "../shared/data/protocol/captures"
KEY = "a-classic-key"
T1, T2, T3 = (f"2024-0{n}-01T00:00:00.000Z" for n in (1, 2, 3))


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


class Client:
    """Sends to a sandbox as a loader would, strictly unless told otherwise."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.url = sandbox.url
        self.store = sandbox.store

    def post(
        self, body: Any, path: str = "/v1/batch", *, strict: bool = True, **headers: str
    ) -> requests.Response:
        """Post a body, by default strictly; headers are named with _ for -."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Authorization": basic(f"{KEY}:")} | ({"X-Strict-Mode": "1"} if strict else {})
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return requests.post(self.url + path, data=data, headers=sent, timeout=20)

    def send(self, *messages: dict[str, Any]) -> None:
        """Post one strict batch that is good."""
        answer = self.post({"batch": messages})
        assert (answer.status_code, answer.json()) == (200, {}), answer.text

    def get(self, path: str) -> Any:
        """Read back what must be there."""
        answer = requests.get(self.url + path, timeout=20)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def stats(self) -> dict[str, Any]:
        """Read the counts."""
        found: dict[str, Any] = self.get("/stats")
        return found


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with Sandbox(tmp_path / "s.sqlite") as sandbox:
        yield Client(sandbox)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """One server for tests that look at answers, and at what their own messages changed."""
    with Sandbox(tmp_path_factory.mktemp("shared") / "s.sqlite") as sandbox:
        yield Client(sandbox)


def identify(user: str | None, at: str | None = None, **traits: Any) -> dict[str, Any]:
    message = {"type": "identify", "userId": user, "traits": traits, "timestamp": at}
    return {name: value for name, value in message.items() if value is not None}


def track(user: str, event: str = "Bought", at: str = T1, **more: Any) -> dict[str, Any]:
    return {"type": "track", "userId": user, "event": event, "timestamp": at, **more}


def group(group_id: str, user: str | None = None, **traits: Any) -> dict[str, Any]:
    return {"type": "group", "groupId": group_id, "userId": user, "traits": traits}


def device(user: str, token: str, event: str = "Device Created or Updated") -> dict[str, Any]:
    return track(user, event, context={"device": {"token": token, "type": "ios"}})


def batch(*messages: dict[str, Any]) -> list[Received]:
    return read_batch(json.dumps({"batch": messages}).encode())


def fail(*_: object) -> None:
    raise OSError("disk full")


# ---- what official clients send


@pytest.mark.parametrize(
    "name",
    [
        "customerio-node-pipelines",
        "customerio-cdp-analytics-node",
        "customerio-cdp-analytics-python",
    ],
)
def test_bodies_that_official_clients_sent_are_accepted_in_strict_mode(
    client: Client, name: str
) -> None:
    path = CAPTURES / f"{name}.all_calls.json"
    if not path.exists():
        pytest.skip(f"the captures of official clients are not on this machine: {path}")
    for request in json.loads(path.read_text())["requests"]:
        answer = client.post(request["body_text"].encode(), path=request["path"])
        assert (answer.status_code, answer.text) == (200, "{}")
    stats = client.stats()
    assert set(stats["messages"]) == {"identify", "track", "page", "screen", "group", "alias"}
    assert client.get("/people/user-1")["traits"]["name"] == "Zoë"
    assert client.get("/people/user-1")["relationships"][0]["id"] == "group-1"
    assert (stats["refused"], stats["refused_strict"]) == (0, 0)


def test_single_calls_of_the_official_node_client_are_accepted(client: Client) -> None:
    path = CAPTURES / "customerio-node-pipelines.single_calls.json"
    if not path.exists():
        pytest.skip(f"the captures of official clients are not on this machine: {path}")
    captured = json.loads(path.read_text())["requests"]
    for request in captured:
        answer = client.post(request["body_text"].encode(), path=request["path"])
        assert answer.status_code == 200, answer.text
    assert client.stats()["total"] == len(captured)


# ---- strict and permissive


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        ({"type": "track", "userId": "u"}, "track needs event"),
        ({"type": "track", "userId": "u", "event": " "}, "track needs event"),
        ({"type": "track", "event": "E"}, "track needs userId, anonymousId or groupId"),
        ({"type": "identify", "traits": {"email": "a@b.co"}}, "identify needs userId or"),
        ({"type": "identify", "userId": "", "anonymousId": None}, "identify needs userId or"),
        ({"type": "page", "name": "n"}, "page needs userId or anonymousId"),
        ({"type": "screen"}, "screen needs userId or anonymousId"),
        ({"type": "group", "userId": "u"}, "group needs groupId"),
        ({"type": "alias", "userId": "u"}, "alias needs previousId"),
        ({"type": "alias", "previousId": "u"}, "alias needs userId"),
        ({"type": "import", "userId": "u"}, "type must be one of"),
        ({"userId": "u"}, "type must be one of"),
        ([1], "must be an object"),
        (identify("u") | {"userId": True}, "userId must be text"),
        (identify("u") | {"userId": 1.5}, "userId must be text"),
        (identify("u") | {"traits": [1]}, "traits must be an object"),
        (track("u") | {"messageId": 7}, "messageId must be text"),
        (track("u") | {"event": 7}, "event must be text"),
        (track("u") | {"properties": "p"}, "properties must be an object"),
        (track("u", at="yesterday"), "timestamp must be an ISO 8601"),
        (track("u", at="2024-05-01"), "timestamp must be an ISO 8601"),
        (track("u", at="2024-05-01T10:00:00"), "timestamp must be an ISO 8601"),
        (track("u", at="2024-02-30T10:00:00Z"), "timestamp must be an ISO 8601"),
        (track("u") | {"timestamp": 1714557600}, "timestamp must be text"),
        (group("g", objectTypeId="0"), "objectTypeId must be a whole number"),
        (track("u", "Device Deleted"), "Device Deleted needs context.device.token"),
        ({"type": "track", "anonymousId": "a", "event": "User Deleted"}, "needs userId"),
        (track("u", "Relationship Deleted"), "needs properties.objectId"),
        (track("u", "Object Deleted", properties={"objectId": "o"}), "needs anonymousId"),
        (track("u", "Report Delivery Event"), "needs properties"),
        (track("u", properties={"x": "y" * 32_000}), "the limit is 32,000"),
    ],
)
def test_strict_mode_names_the_item_and_stores_nothing_of_the_batch(
    shared: Client, message: Any, fault: str
) -> None:
    before = shared.stats()
    answer = shared.post({"batch": [track("good"), message]})
    assert answer.status_code == 400
    (error,) = answer.json()["meta"]["errors"]
    assert error.startswith("batch[1]: ")
    assert fault in error
    after = shared.stats()
    assert after["total"] == before["total"]
    assert after["refused_strict"] == before["refused_strict"] + 1


def test_permissive_mode_answers_200_drops_the_invalid_and_keeps_the_rest(client: Client) -> None:
    bad = {"type": "track", "userId": "u"}
    answer = client.post({"batch": [track("u"), bad]}, strict=False)
    assert (answer.status_code, answer.text) == (200, "{}")
    assert (client.stats()["total"], client.stats()["refused"]) == (1, 1)
    (refused,) = client.get("/refused")
    assert refused["reason"] == "batch[1]: track needs event"
    assert json.loads(refused["item"]) == bad
    assert refused["strict"] is False


@pytest.mark.parametrize("value", ["0", "true", "11", ""])
def test_any_strict_header_but_1_is_permissive(shared: Client, value: str) -> None:
    answer = shared.post({"batch": []}, strict=False, X_Strict_Mode=value)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (b"", 400, "the body is not JSON"),
        (b"{", 400, "the body is not JSON"),
        (b'{"batch":[]}x', 400, "text after its end"),
        (b'{"batch":[{"type":"track"},]}', 400, "the body is not JSON"),
        (b'{"batch":[{"a":NaN}]}', 400, "NaN is no JSON value"),
        (b'{"batch":[' + b"[" * 100_000, 400, "the body is not JSON"),
        (b'{"batch":["\xff"]}', 400, "not UTF-8"),
        (b"[1]", 400, "must be an object"),
        (b"{}", 400, "batch must be an array"),
        (b'{"batch":{}}', 400, "batch must be an array"),
        (b'{"batch":[]}', 400, "batch must not be empty"),
        (b'{"batch":[' + b" " * 500_000 + b"]}", 413, "the limit is 500,000"),
    ],
)
def test_a_body_that_is_no_batch_is_refused_strictly_and_dropped_otherwise(
    shared: Client, body: bytes, status: int, error: str
) -> None:
    before = shared.stats()
    answer = shared.post(body)
    assert answer.status_code == status
    assert error in answer.json()["meta"]["errors"][0]
    assert shared.post(body, strict=False).status_code == 200
    after = shared.stats()
    assert (after["total"], after["refused"]) == (before["total"], before["refused"] + 1)


def test_limits_are_measured_on_the_bytes_sent(client: Client) -> None:
    message = track("u", properties={"x": ""})
    room = 32_000 - len(json.dumps(message))
    fits = track("u", properties={"x": "y" * room})
    assert client.post({"batch": [fits]}).status_code == 200
    assert (
        client.post({"batch": [track("u", properties={"x": "y" * (room + 1)})]}).status_code == 400
    )
    wide = json.dumps({"batch": [track("u", properties={"x": "é" * 15_990})]}, ensure_ascii=False)
    assert client.post(wide.encode()).status_code == 400
    full = b'{"batch":[' + json.dumps(track("u")).encode()
    full += b" " * (500_000 - len(full) - 2) + b"]}"
    assert (len(full), client.post(full).status_code) == (500_000, 200)


def test_gzip_is_not_accepted(shared: Client) -> None:
    body = gzip.compress(json.dumps({"batch": [track("u")]}).encode())
    assert shared.post(body, Content_Encoding="gzip").status_code == 415
    assert shared.post(body, strict=False, Content_Encoding="gzip").status_code == 200


def test_a_sandbox_that_takes_gzip_reads_it_and_nothing_larger_or_broken(tmp_path: Path) -> None:
    whole = gzip.compress(json.dumps({"batch": [track("u")]}).encode())
    bomb = gzip.compress(b" " * 50_000_000)
    with Sandbox(tmp_path / "db.sqlite", takes_gzip=True) as sandbox:
        client = Client(sandbox)
        told = [
            client.post(body, Content_Encoding="gzip").status_code
            for body in (whole, bomb, whole[:-9], b"{}")
        ]
        assert told == [200, 413, 400, 400]
        assert client.post(whole, Content_Encoding="br").status_code == 415
        assert sandbox.store.stats()["requests"]["200"] == 1


@pytest.mark.parametrize(
    ("header", "is_good"),
    [
        (basic("classic:"), True),
        ("Bearer sk_us_abc", True),
        ("bearer pk_eu_abc", True),
        (basic("classic"), False),
        (basic("classic:secret"), False),
        (basic(":"), False),
        (basic("sk_us_abc:"), False),
        ("Basic classic:", False),
        ("Bearer classic", False),
        ("Bearer sk_jp_abc", False),
        ("", False),
    ],
)
def test_a_key_must_come_in_the_shape_of_its_kind(
    shared: Client,
    header: str,
    is_good: bool,  # noqa: FBT001  a column of the table
) -> None:
    before = shared.stats()["total"]
    body = {"batch": [track("u")]}
    assert shared.post(body, Authorization=header).status_code == (200 if is_good else 401)
    assert shared.post(body, strict=False, Authorization=header).status_code == 200
    assert shared.stats()["total"] == before + 2 * is_good


def test_a_sandbox_with_a_key_takes_no_other(tmp_path: Path) -> None:
    with Sandbox(tmp_path / "s.sqlite", key="sk_us_one") as sandbox:
        client = Client(sandbox)
        for key, status in (("sk_us_one", 200), ("sk_us_two", 401)):
            answer = client.post({"batch": [track("u")]}, Authorization=f"Bearer {key}")
            assert answer.status_code == status


def test_a_single_call_takes_its_type_from_the_route(client: Client) -> None:
    assert client.post({"userId": "u", "event": "E"}, path="/v1/track").status_code == 200
    answer = client.post({"userId": "u"}, path="/v1/track")
    assert answer.json() == {"meta": {"errors": ["track needs event"]}}
    assert client.post([], path="/v1/track").status_code == 400
    assert client.stats()["messages"] == {"track": 1}


def test_context_beside_the_batch_is_the_default_of_its_messages() -> None:
    own = {"type": "track", "context": {"ip": "1"}}
    body = {"context": {"ip": "2"}, "batch": [own, {"type": "track"}], "sentAt": T1}
    first, second = read_batch(json.dumps(body).encode())
    assert first.body["context"] == {"ip": "1"}
    assert second.body["context"] == json.loads(second.text)["context"] == {"ip": "2"}
    assert second.size_bytes == len('{"type": "track"}')


def test_half_a_surrogate_pair_is_read_as_a_replacement_character(client: Client) -> None:
    client.send(track("u\ud800", properties={"x": "😀\udc00"}))
    assert client.get("/people/u\ufffd/timeline")[0]["message"]["properties"] == {"x": "😀\ufffd"}


def test_a_message_the_rules_accept_has_no_fault_in_any_spelling_of_time() -> None:
    for at in (T1, "2021-03-04T05:06:07.891234+05:30", "0001-01-01T00:00:00Z"):
        assert message_faults(track("u", at=at), 100) == []
    with pytest.raises(BodyError, match="batch must be an array"):
        read_batch(b'{"batch": null}')


# ---- what messages do


def test_identify_merges_traits_and_a_null_removes_one(client: Client) -> None:
    client.send(identify("u", T1, plan="free", city="Rome", createdAt="2020-01-01T00:00:00Z"))
    client.send(identify("u", T2, plan="pro", city=None, note=""))
    person = client.get("/people/u")
    created = "2020-01-01T00:00:00Z"
    assert person["traits"] == {"plan": "pro", "note": "", "created_at": created}
    assert person["created_at"] == created


def test_a_person_without_created_at_was_created_when_first_seen(tmp_path: Path) -> None:
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    with Store(tmp_path / "s.sqlite", now=lambda: moment) as store:
        store.accept(batch(track("u")))
        moment += timedelta(days=1)
        store.accept(batch(identify("u", a=1)))
        person = store.person("u")
    assert person is not None
    assert person["created_at"] == person["created"] == "2026-01-02T00:00:00.000Z"
    assert person["updated"] == "2026-01-03T00:00:00.000Z"


def test_an_identify_older_than_the_profile_is_dropped_with_200(client: Client) -> None:
    client.send(track("u"), identify("u", T2, plan="new"))
    client.send(identify("u", T1, plan="old", city="Rome"), identify("u", T2, same="time"))
    assert client.get("/people/u")["traits"] == {"plan": "new", "same": "time"}
    assert client.stats()["stale"] == 1
    assert [m["effect"] for m in client.get("/messages")] == ["applied"] * 2 + ["stale", "applied"]
    client.send(identify("u", plan="now"), identify("u", T3, plan="past"))
    assert client.get("/people/u")["traits"]["plan"] == "now"


def test_a_message_id_seen_before_has_no_effect(client: Client) -> None:
    first = identify("u", plan="a") | {"messageId": "m1"}
    client.send(first, track("u", messageId="m2"), track("u", messageId="m2"))
    client.send(identify("u", plan="b"))
    client.send(track("new", messageId="m2"), first, track("u", messageId="m3"))
    stats = client.stats()
    assert (stats["total"], stats["duplicates"], stats["people"]) == (4, 3, 1)
    assert client.get("/people/u")["traits"] == {"plan": "b"}
    assert [m["messageId"] for m in client.get("/people/u/timeline")] == ["m2", "m3"]


def test_message_ids_are_known_for_ever_also_to_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backfill.sandbox.seen.RECENT_MAX", 10)
    numbers = range(0, 28, 4)
    batches = [batch(*(track("u", messageId=f"m{n + i}") for i in range(4))) for n in numbers]
    with Store(tmp_path / "s.sqlite") as one, Store(tmp_path / "s.sqlite") as two:
        for n, messages in enumerate(batches):
            (one, two)[n % 2].accept(messages)
        for messages in batches:
            one.accept(messages)
            two.accept(messages)
    with Store(tmp_path / "s.sqlite") as store:
        for messages in batches:
            store.accept(messages)
        store.accept(batch(track("u", messageId="m28")))
        assert (store.stats()["total"], store.stats()["duplicates"]) == (29, 3 * 28)


def test_a_batch_that_fails_on_its_way_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = batch(identify("u", a=1), track("u", messageId="m"), group("g", "u"))
    with Store(tmp_path / "s.sqlite") as store:
        with monkeypatch.context() as patched:
            patched.setattr("backfill.sandbox.acts.Acts._group", fail)
            with pytest.raises(OSError, match="disk full"):
                store.accept(messages)
        assert (store.stats()["total"], store.person("u")) == (0, None)
        store.accept(messages)
        assert (store.stats()["total"], store.stats()["duplicates"]) == (3, 0)


def test_a_timeline_is_in_the_order_of_timestamps_with_complete_messages(client: Client) -> None:
    page = {"type": "page", "userId": "u", "name": "Home", "timestamp": T2}
    screen = {"type": "screen", "userId": "u", "timestamp": "2024-01-15T01:00:00+02:00"}
    late, early = track("u", "Late", T3, properties={"a": [1]}), track("u", " Early ", T1)
    client.send(late, page, screen, early)
    timeline = client.get("/people/u/timeline")
    assert [entry["message"] for entry in timeline] == [early, screen, page, late]
    assert [entry["event"] for entry in timeline] == ["Early", None, "Home", "Late"]
    assert client.get("/people/u/timeline?limit=2&offset=1") == timeline[1:3]
    assert [m["message"] for m in client.get("/messages?after=1&limit=2")] == [page, screen]
    assert client.stats()["events"] == {"Early": 1, "Late": 1}


def test_an_identify_with_both_ids_takes_over_the_anonymous_history(client: Client) -> None:
    client.send({"type": "page", "anonymousId": "a1", "timestamp": T1})
    assert (client.stats()["people"], client.stats()["anonymous"]) == (0, 1)
    client.send(identify("u", x=1) | {"anonymousId": "a1"}, track("u", at=T2))
    client.send({"type": "track", "anonymousId": "a1", "event": "Later", "timestamp": T3})
    assert [m["event"] for m in client.get("/people/u/timeline")] == [None, "Bought", "Later"]
    assert client.get("/people/a1")["identifiers"]["anonymous_id"] == ["a1"]
    assert (client.stats()["people"], client.stats()["anonymous"]) == (1, 0)
    client.send(identify("other") | {"anonymousId": "a1"})
    assert client.get("/people/a1")["id"] == "u"


def test_an_email_as_user_id_is_the_email_in_any_case(client: Client) -> None:
    client.send(identify("Ann@Example.com", x=1), track("ann@example.com"))
    client.send(identify("u1", email="ANN@example.com", y=2))
    person = client.get("/people/ANN@EXAMPLE.COM")
    assert (person["id"], person["identifiers"]["email"]) == ("u1", ["ann@example.com"])
    assert person["traits"] == {"x": 1, "email": "ANN@example.com", "y": 2}
    assert (client.stats()["people"], person["messages"]) == (1, 1)


def test_an_email_of_another_person_is_a_conflict_and_the_rest_applies(client: Client) -> None:
    client.send(identify("u1", email="a@b.co"), identify("u2", email="a@b.co", plan="x"))
    client.send(identify("u1", email="new@b.co", plan="y"))
    assert client.get("/people/u2")["traits"] == {"plan": "x"}
    assert client.get("/people/u1")["traits"] == {"email": "a@b.co", "plan": "y"}
    assert (client.stats()["people"], client.stats()["conflicts"]) == (2, 2)


def test_alias_merges_profile_and_timeline_for_ever(client: Client) -> None:
    client.send(identify("old", a=1, b=1), track("old", "One"), group("g", "old"))
    client.send(device("old", "tok"), identify("new", b=2), track("new", "Two", T2))
    client.send({"type": "alias", "userId": "new", "previousId": "old"}, track("old", "Three", T3))
    person = client.get("/people/old")
    assert person == client.get("/people/new")
    assert (person["id"], person["identifiers"]["merged"]) == ("new", ["old"])
    assert person["traits"] == {"a": 1, "b": 2}
    assert [m["event"] for m in client.get("/people/new/timeline")] == ["One", "Two", "Three"]
    assert [d["token"] for d in person["devices"]] == ["tok"]
    assert client.get("/objects/1/g")["people"] == [{"id": "new", "attributes": {}}]
    client.send({"type": "alias", "userId": "new", "previousId": "never seen"}, track("never seen"))
    assert client.stats()["people"] == 1


def test_group_makes_objects_and_relationships(client: Client) -> None:
    related = {"role": "admin", "desk": 4}
    client.send(group("g", "u", name="Initech", size=9, relationshipAttributes=related))
    client.send(group("g", "u", size=None, city="", relationshipAttributes={"desk": None}))
    client.send(group("g", name="Other", object_type_id="2"), group("h", objectTypeId=2))
    found = client.get("/objects/1/g")
    assert found["traits"] == {"name": "Initech"}
    assert found["people"] == [{"id": "u", "attributes": {"role": "admin"}}]
    assert client.get("/objects/2/g")["traits"] == {"name": "Other"}
    assert client.get("/people/u")["relationships"][0]["attributes"] == {"role": "admin"}
    assert (client.stats()["objects"], client.stats()["relationships"]) == (3, 1)


def test_commands_act_and_are_no_history(client: Client) -> None:
    client.send(identify("u", a=1), device("u", "t1"), device("u", "t2"), group("g", "u"))
    client.send(device("u", "t1", "Device Deleted"), group("h", "u"), group("h", "v"))
    client.send(track("u", "Report Delivery Event", properties={"metric": "opened"}))
    client.send({"type": "track", "event": "Report Content Event", "properties": {}})
    person = client.get("/people/u")
    assert [(d["token"], d["attributes"]) for d in person["devices"]] == [("t2", {"type": "ios"})]
    client.send(track("u", "Relationship Deleted", properties={"objectId": "g"}))
    assert [r["id"] for r in client.get("/people/u")["relationships"]] == ["h"]
    gone = {"type": "track", "anonymousId": "a", "event": "Object Deleted"}
    client.send({**gone, "properties": {"objectId": "h", "objectTypeId": 1}})
    assert requests.get(client.url + "/objects/1/h", timeout=9).status_code == 404
    assert (client.stats()["relationships"], client.get("/people/u/timeline")) == (0, [])
    client.send(track("u"), track("u", "User Deleted"))
    assert requests.get(client.url + "/people/u", timeout=9).status_code == 404
    client.send(track("u", "Again", T2))
    assert [m["event"] for m in client.get("/people/u/timeline")] == ["Again"]
    assert client.stats()["devices"] == 0


def test_a_suppressed_id_is_ignored_silently_until_it_is_unsuppressed(client: Client) -> None:
    client.send(identify("u", a=1), track("u"), track("v"), track("u", "User Suppressed"))
    client.send(identify("u", a=2), track("u"), track("v"), group("g", "u"))
    assert requests.get(client.url + "/people/u", timeout=9).status_code == 404
    stats = client.stats()
    assert (stats["suppressed"], stats["suppressed_ids"], stats["objects"]) == (3, 1, 0)
    client.send(track("u", "User Unsuppressed"), track("u", "Back"))
    assert [m["event"] for m in client.get("/people/u/timeline")] == ["Back"]
    assert client.get("/people/v")["messages"] == 2


def test_numbers_as_ids_become_text_and_an_event_on_an_object_has_no_person(client: Client) -> None:
    client.send(track("x") | {"userId": 42}, {"type": "track", "groupId": "g", "event": "E"})
    assert client.get("/people/42")["identifiers"]["id"] == ["42"]
    assert (client.stats()["people"], client.stats()["total"]) == (1, 2)


# ---- reading back


def test_reading_back_tells_what_there_is_and_what_is_unknown(shared: Client) -> None:
    assert "/stats" in shared.get("/")["read"]
    assert requests.head(shared.url, timeout=9).status_code == 200
    for path in ("/people/nobody", "/people/nobody/timeline", "/objects/1/none", "/nowhere"):
        answer = requests.get(shared.url + path, timeout=9)
        assert (answer.status_code, list(answer.json())) == (404, ["meta"])
    assert requests.get(shared.url + "/messages?limit=x", timeout=9).status_code == 400
    assert requests.get(shared.url + "/v1/batch", timeout=9).status_code == 405
    shared.send(track("a/b c"))
    assert shared.get("/people/a%2Fb%20c")["id"] == "a/b c"
    assert len(shared.get("/people/a%2Fb%20c/timeline")) == 1


def test_stats_outlive_the_server_and_a_store_reads_them_without_one(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with Sandbox(path) as sandbox:
        Client(sandbox).send(track("u"), group("g", "u"))
        Client(sandbox).post({"batch": []})
    with Store(path, must_exist=True) as store:
        stats = store.stats()
        assert (stats["messages"], stats["requests"]) == (
            {"group": 1, "track": 1},
            {"200": 1, "400": 1},
        )
        assert stats["bytes"] > 150
        assert [m["event"] for m in store.timeline("u")] == ["Bought"]
        assert store.object_("1", "g") is not None
        assert store.person("nobody") is None


# ---- faults


def test_the_same_seed_draws_the_same_faults() -> None:
    text = "429:0.2,503:0.2,reset:0.2,slow:0.5"
    first, again, other = (Faults.parse(text, seed=seed) for seed in (7, 7, 8))
    drawn = [first.draw() for _ in range(500)]
    assert drawn == [again.draw() for _ in range(500)]
    assert drawn != [other.draw() for _ in range(500)]
    assert {fault.status for fault in drawn} == {0, 429, 503}
    resets = [fault for fault in drawn if fault.is_reset]
    assert 60 < len(resets) < 140
    assert {fault.moment for fault in resets} == {"before", "after"}
    assert {fault.retry_after_s for fault in drawn if fault.status == 429} == {None, 1}
    assert {fault.wait_s for fault in drawn} == {0.0, 1.0}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("429", "faults '429': '' is no probability"),
        ("429:x", "faults '429:x': 'x' is no probability"),
        ("429:0.1, boom:0.2", "faults 'boom:0.2': unknown kind 'boom'"),
        ("200:0.1", "unknown kind '200'"),
        ("500:nan", "'nan' is no probability"),
        ("500:1.5", "'1.5' is no probability"),
        ("500:0.1,500:0.1", "'500' stands twice"),
        ("500:0.6,reset:0.6", "add up to more than 1"),
        ("", "unknown kind ''"),
    ],
)
def test_faults_that_cannot_be_read_are_named(text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        Faults.parse(text)
    assert words in str(caught.value)
    assert caught.value.fix


def test_statuses_and_resets_happen_before_or_after_storing(tmp_path: Path) -> None:
    sent, lost, with_header = 60, 0, 0
    with Sandbox(tmp_path / "s.sqlite", faults="429:0.3,500:0.3,reset:0.3", seed=1) as sandbox:
        client = Client(sandbox)
        for n in range(sent):
            try:
                answer = client.post({"batch": [track("u", messageId=f"m{n}")]})
            except requests.ConnectionError:
                lost += 1
                continue
            assert (answer.status_code == 200) == (answer.json() == {})
            with_header += answer.headers.get("Retry-After") == "1"
        stats = client.stats()
    answers = stats["requests"]
    assert set(answers) == {"200", "429", "500", "reset"}
    assert (answers["reset"], sum(answers.values())) == (lost, sent)
    assert 0 < with_header < answers["429"]
    assert answers["200"] < stats["total"] < sent - answers["429"]


def test_slow_answers_and_latency_wait(tmp_path: Path) -> None:
    with Sandbox(tmp_path / "s.sqlite", faults="slow:1", latency_s=0.2) as sandbox:
        began = time.monotonic()
        Client(sandbox).send(track("u"))
        assert time.monotonic() - began >= 1.2


# ---- the server and its file


def test_batches_from_eight_threads_leave_exact_counts(client: Client) -> None:
    def lane(lane_n: int) -> None:
        for n in range(10):
            ids = (f"{lane_n}-{n}-{i}" for i in range(50))
            client.send(*(track(f"u{i % 7}", messageId=m) for i, m in enumerate(ids)))
            client.send(identify(f"u{lane_n}", n=n), track("x", messageId="same"))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lane, range(8)))
    stats = client.stats()
    assert stats["messages"] == {"identify": 80, "track": 4001}
    assert (stats["duplicates"], stats["people"]) == (79, 9)
    assert [m["seq"] for m in client.store.messages(limit=9_999)] == list(range(1, 4082))


def test_the_file_and_its_log_are_for_their_owner_alone(client: Client) -> None:
    client.send(track("u"))
    folder = client.store.path.parent
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == dict.fromkeys(("s.sqlite", "s.sqlite-wal", "s.sqlite-shm"), 0o600)


def test_a_port_that_is_taken_is_named(shared: Client, tmp_path: Path) -> None:
    port = int(shared.url.rpartition(":")[2])
    with pytest.raises(UsageError, match=f"127.0.0.1:{port}: cannot listen") as caught:
        Sandbox(tmp_path / "other.sqlite", port=port).__enter__()
    assert "--port" in caught.value.fix
    assert not (tmp_path / "other.sqlite").exists()


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    text, foreign = tmp_path / "notes.txt", tmp_path / "foreign.sqlite"
    text.write_text("no database, and longer than its head of one hundred bytes" * 3)
    script = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('CREATE TABLE t (x)')"
    subprocess.run([sys.executable, "-c", script, str(foreign)], check=True)
    for path, must_exist in (
        (text, False),
        (foreign, False),
        (tmp_path, False),
        (tmp_path / "no" / "folder.sqlite", False),
        (tmp_path / "missing.sqlite", True),
    ):
        with pytest.raises(UsageError) as caught:
            Store(path, must_exist=must_exist)
        assert caught.value.where == str(path)
        assert caught.value.fix
    assert text.read_text().startswith("no database")
    assert not (tmp_path / "missing.sqlite").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_runs_until_a_signal_prints_nothing_and_keeps_what_it_got(
    tmp_path: Path, number: signal.Signals
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    script = (
        "import pathlib, sys; from backfill.sandbox import serve;"
        "serve(pathlib.Path(sys.argv[1]), port=int(sys.argv[2]),"
        " on_ready=lambda s: pathlib.Path(sys.argv[3]).write_text(s.url))"
    )
    ready = tmp_path / "ready"
    command = [sys.executable, "-c", script, str(tmp_path / "s"), str(port), str(ready)]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env
    ) as process:
        while not (ready.exists() and ready.read_text()):
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.02)
        body = {"userId": "u", "event": "E"}
        headers = {"Authorization": basic(f"{KEY}:")}
        url = f"http://127.0.0.1:{port}/v1/track"
        assert requests.post(url, json=body, headers=headers, timeout=9).status_code == 200
        process.send_signal(number)
        assert (process.wait(20), process.communicate()[0]) == (0, b"")
    with Store(tmp_path / "s", must_exist=True) as store:
        assert store.stats()["total"] == 1


def test_leaving_the_block_ends_the_thread_and_frees_the_port(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with Sandbox(tmp_path / "s.sqlite") as sandbox:
        port = int(sandbox.url.rpartition(":")[2])
        assert set(threading.enumerate()) > before
    assert set(threading.enumerate()) == before
    with Sandbox(tmp_path / "s.sqlite", port=port) as sandbox:
        assert sandbox.url.endswith(f":{port}")


def test_importing_the_sandbox_loads_no_web_server() -> None:
    script = (
        "import sys, backfill.sandbox, backfill.sandbox.store;"
        "assert not {'starlette', 'uvicorn'} & set(sys.modules)"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    subprocess.run([sys.executable, "-c", script], check=True, env=env)


def test_every_assumption_has_words_on_both_sides() -> None:
    assert len(ASSUMPTIONS) > 30
    assert all(question and answer for question, answer in ASSUMPTIONS)
    assert ASSUMPTIONS[0][0] == "a strict batch with an invalid item"

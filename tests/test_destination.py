"""Where requests go and with which key: decided before any of them, without the network."""

from __future__ import annotations

import base64
import html
import io
import json
import os
import re
import sys
import threading
import traceback
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from backfill.destination import find_key, find_target, scrubber
from backfill.errors import BackfillError, DestinationError, UsageError
from backfill.wire import Key

if TYPE_CHECKING:
    from pathlib import Path

CLASSIC = Key("abcdef0123456789")
US, EU = "https://cdp.customer.io/v1", "https://cdp-eu.customer.io/v1"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CUSTOMERIO_WRITE_KEY", "BACKFILL_TO"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(sys.modules, "keyring", None)


@pytest.mark.parametrize(
    ("to", "key", "url", "is_bearer"),
    [
        (None, "abc", US, False),
        ("us", "abc", US, False),
        ("eu", "abc", EU, False),
        (None, "sk_us_abc", US, True),
        (None, "sk_eu_abc", EU, True),
        (None, "pk_eu_abc", EU, True),
        ("eu", "pk_eu_abc", EU, True),
        (None, "sk_xx_abc", US, False),
        ("https://proxy.example", "sk_eu_abc", "https://proxy.example/v1", True),
    ],
)
def test_the_region_is_the_one_asked_for_else_that_of_the_key_else_us(
    to: str | None, key: str, url: str, *, is_bearer: bool
) -> None:
    target = find_target(to, Key(key))
    assert (target.url, target.is_bearer) == (url, is_bearer)


@pytest.mark.parametrize(("to", "key"), [("us", "sk_eu_x"), ("eu", "pk_us_x")])
def test_a_key_of_another_region_is_refused_before_a_request(to: str, key: str) -> None:
    with pytest.raises(DestinationError) as caught:
        find_target(to, Key(key))
    region = key[3:5]
    assert int(caught.value.exit_code) == 12
    assert str(caught.value) == (
        f"--to {to}: the key is of the region {region}\n  fix: use --to {region}"
    )


@pytest.mark.parametrize(
    ("to", "url"),
    [
        ("https://cdp.example", "https://cdp.example/v1"),
        ("https://cdp.example/", "https://cdp.example/v1"),
        ("https://cdp.example/v1", "https://cdp.example/v1"),
        ("https://cdp.example/v1/", "https://cdp.example/v1"),
        ("https://cdp.example/v1/batch", "https://cdp.example/v1"),
        ("https://cdp.example:8443/proxy/v1", "https://cdp.example:8443/proxy/v1"),
        ("http://127.0.0.1:8722", "http://127.0.0.1:8722/v1"),
        ("http://localhost:8722/v1", "http://localhost:8722/v1"),
        ("http://[::1]:8722", "http://[::1]:8722/v1"),
        ("http://LOCALHOST:8722", "http://LOCALHOST:8722/v1"),
        ("http://127.8.9.10:8722", "http://127.8.9.10:8722/v1"),
        ("https://cdp.example.:443", "https://cdp.example.:443/v1"),
    ],
)
def test_an_address_is_taken_with_or_without_v1(to: str, url: str) -> None:
    assert find_target(to, CLASSIC).url == url


@pytest.mark.parametrize(
    ("to", "words"),
    [
        ("http://cdp.customer.io", "http:// would send the key in the clear"),
        ("http://10.0.0.1", "http:// would send the key in the clear"),
        ("http://127.0.0.1.example.com", "http:// would send the key in the clear"),
        ("http://localhost.example.com", "http:// would send the key in the clear"),
        ("http://0.0.0.0:80", "http:// would send the key in the clear"),
        ("http://127.0.0.1.nip.io", "http:// would send the key in the clear"),
        ("http://2130706433:8722", "http:// would send the key in the clear"),
        ("http://0x7f.1", "http:// would send the key in the clear"),
        ("http://127.1", "http:// would send the key in the clear"),
        ("http://[::2]:1", "http:// would send the key in the clear"),
        ("http://[::]:1", "http:// would send the key in the clear"),
        ("http://evil.example[::1]:80", "'http://evil.example[::1]:80' is no destination"),
        ("http://[::1]evil.example", "'http://[::1]evil.example' is no destination"),
        ("http://127.0.0.1\\evil.example", "'http://127.0.0.1\\evil.example' is no destination"),
        ("https://a..b", "'https://a..b' is no destination"),
        ("https://*.example", "'https://*.example' is no destination"),
        ("http://①②⑦.0.0.1", "'http://①②⑦.0.0.1' is no destination"),
        ("http://127.0.0.1:80@evil.example", "an address with a password is refused"),
        ("http://:@127.0.0.1", "an address with a password is refused"),
        ("https://me:secret@[::1", "an address with a password is refused"),
        ("ftp://cdp.example", "'ftp://cdp.example' is no destination"),
        ("cdp.customer.io", "'cdp.customer.io' is no destination"),
        ("US", "'US' is no destination"),
        ("https://", "'https://' is no destination"),
        ("https://cdp.example/?key=1", "'https://cdp.example/?key=1' is no destination"),
        ("https://me:secret@cdp.example", "an address with a password is refused"),
    ],
)
def test_an_address_that_cannot_be_right_is_a_fault_of_usage(to: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_target(to, CLASSIC)
    assert caught.value.what == words
    assert int(caught.value.exit_code) == 2
    assert caught.value.fix


@pytest.mark.parametrize(
    "to",
    ["http://[::1", "https://cdp.example:notaport", "https://cdp.example:99999", "https://a b"],
)
def test_an_address_that_is_broken_is_a_fault_of_usage_too(to: str) -> None:
    with pytest.raises(BackfillError) as caught:
        find_target(to, CLASSIC)
    assert int(caught.value.exit_code) == 2


def test_a_password_in_an_address_is_not_repeated() -> None:
    for to in ("https://me:secret@cdp.example", "https://me:secret@[::1", "me:secret@cdp.example"):
        with pytest.raises(UsageError) as caught:
            find_target(to, CLASSIC)
        assert "secret" not in str(caught.value)


def test_without_a_key_there_is_no_target() -> None:
    with pytest.raises(UsageError) as caught:
        find_target(None, None)
    assert str(caught.value) == (
        "us: there is no write key\n"
        "  fix: set CUSTOMERIO_WRITE_KEY, or give --write-key-file; --to sandbox needs none"
    )


def test_the_variable_is_the_default_where_the_key_names_no_region(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BACKFILL_TO", "eu")
    assert find_target(None, CLASSIC).url == EU
    assert find_target("us", CLASSIC).url == US


def test_the_region_of_a_key_comes_before_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKFILL_TO", "us")
    assert find_target(None, Key("sk_eu_abc")).url == EU


# ---- the key


def test_a_key_comes_from_its_file_before_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "key"
    path.write_text("from-file\n")
    monkeypatch.setenv("CUSTOMERIO_WRITE_KEY", " from-env ")
    found = find_key(str(path))
    assert found is not None
    assert found.reveal() == "from-file"
    found = find_key(None)
    assert found is not None
    assert found.reveal() == "from-env"


def test_a_key_comes_from_stdin_where_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("from-stdin\r\nand more"))
    found = find_key("-")
    assert found is not None
    assert found.reveal() == "from-stdin"


def test_a_key_comes_from_the_keyring_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ring:
        asked: Any = None

        def get_password(self, *asked: str) -> str:
            self.asked = asked
            return "from-ring"

    ring = Ring()
    monkeypatch.setitem(sys.modules, "keyring", ring)
    found = find_key(None)
    assert found is not None
    assert found.reveal() == "from-ring"
    assert ring.asked == ("backfill", "write-key")


def test_without_any_source_there_is_no_key() -> None:
    assert find_key(None) is None


@pytest.mark.parametrize("text", ["", "\n", "two words", "schlüssel", "a\x00b", "a\nb"])
def test_what_is_no_key_is_refused_without_being_repeated(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        find_key(str(path))
    assert caught.value.what == "this is no write key"
    assert not text.strip() or text.strip() not in str(caught.value)


def test_a_key_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "nokey"
    with pytest.raises(UsageError) as caught:
        find_key(str(missing))
    assert str(caught.value) == (
        f"{missing}: the write key cannot be read: No such file or directory\n"
        "  fix: check --write-key-file"
    )
    missing.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError):
        find_key(str(missing))


def test_a_key_file_that_others_may_read_is_read_and_told_once(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("from-file\n")
    told: list[str] = []
    for mode in (0o600, 0o400):
        path.chmod(mode)
        find_key(str(path), told.append)
    assert told == []
    for mode in (0o640, 0o604, 0o660, 0o444):
        path.chmod(mode)
        found = find_key(str(path), told.append)
        assert found is not None
        assert found.reveal() == "from-file"
        assert told.pop() == (
            f"warning: {path}: others may read the write key in this file (mode {mode:04o})\n"
            f"  fix: chmod 600 {path}"
        )
        assert told == []


def test_a_pipe_may_give_the_key(tmp_path: Path) -> None:
    """`--write-key-file <(pass show key)`: what is no file has no mode to be warned about."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o666)
    threading.Thread(target=pipe.write_text, args=("from-pipe\n",)).start()
    told: list[str] = []
    found = find_key(str(pipe), told.append)
    assert found is not None
    assert (found.reveal(), told) == ("from-pipe", [])


def test_what_is_far_too_long_for_a_key_is_not_cut_to_one(tmp_path: Path) -> None:
    path = tmp_path / "key"
    for length in (1001, 1_000_000):
        path.write_text("k" * length)
        with pytest.raises(UsageError, match="this is no write key"):
            find_key(str(path))
    with pytest.raises(UsageError, match="this is no write key"):
        find_key("/dev/zero")


def test_stdin_that_is_no_text_is_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(b"\xff\xfe\n"), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", stdin)
    with pytest.raises(UsageError, match="the write key cannot be read: it is no text"):
        find_key("-")


@pytest.mark.parametrize("source", ["file", "environment", "keyring"])
def test_what_is_no_key_shows_itself_in_no_traceback_with_locals(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key with a blank in its middle is still a secret."""
    text, key_file = "canary 4711", None
    if source == "file":
        key_file = str(tmp_path / "key")
        (tmp_path / "key").write_text(text)
    elif source == "environment":
        monkeypatch.setenv("CUSTOMERIO_WRITE_KEY", text)
    else:
        ring = SimpleNamespace(get_password=lambda *_: text)
        monkeypatch.setitem(sys.modules, "keyring", ring)
    with pytest.raises(UsageError) as caught:
        find_key(key_file)
    ours = caught.value.__traceback__
    assert ours is not None
    captured = traceback.TracebackException(
        UsageError, caught.value, ours.tb_next, capture_locals=True
    )
    told = "".join(captured.format())
    assert "_checked" in told
    assert "4711" not in told


def test_a_keyring_that_is_installed_but_not_there_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def raising(fault: type[Exception]) -> SimpleNamespace:
        def get_password(*_: str) -> str:
            raise fault("names nothing")

        errors = SimpleNamespace(NoKeyringError=FileNotFoundError, KeyringError=OSError)
        return SimpleNamespace(get_password=get_password, errors=errors)

    monkeypatch.setitem(sys.modules, "keyring", raising(FileNotFoundError))
    assert find_key(None) is None
    monkeypatch.setitem(sys.modules, "keyring", raising(PermissionError))
    with pytest.raises(UsageError) as caught:
        find_key(None)
    assert str(caught.value) == (
        "keyring: the keyring cannot be read: PermissionError\n"
        "  fix: unlock it, or set CUSTOMERIO_WRITE_KEY"
    )


@pytest.mark.parametrize("text", ["sk_eu_a+b/c=d", "canaryKEY/4711+abcdef", 'a"b\\c&<d>', "abcdef"])
def test_every_form_of_the_key_is_taken_out_of_a_text(text: str) -> None:
    key = Key(text)
    basic = base64.b64encode(f"{text}:".encode()).decode()
    forms = [
        text,
        basic,
        basic.rstrip("="),
        base64.b64encode(text.encode()).decode(),
        base64.urlsafe_b64encode(f"{text}:".encode()).decode(),
        quote(text, safe=""),
        quote(text, safe="").replace("%2B", "%2b").replace("%2F", "%2f"),
        quote(basic, safe=""),
        text.encode().hex(),
        text.encode().hex().upper(),
        text.upper(),
        json.dumps(text)[1:-1],
        html.escape(text),
    ]
    scrub = scrubber(key)
    for form in forms:
        assert re.fullmatch(r"<\*\*\*=*>", scrub(f"<{form}>")), form
        assert scrub(f"{form}{form}").strip("*=") == ""
    assert scrub("nothing here") == "nothing here"

"""`backfill ping`."""

from __future__ import annotations

import json

import click

from backfill.cli import options
from backfill.cli.manual import Page
from backfill.errors import DestinationError, ResumableError


@click.command(cls=Page, short_help="Is the key good, and is this its region?")
@options.TO
@options.KEY_FILE
@options.JSON
def ping(*, to: str | None, key_file: str | None, as_json: bool) -> int:
    """Ask whether the key is good: one strict request that stores nothing.

    It is an empty batch: a good key is told what is wrong with it (400), a bad key that it is bad.

    \b
    Example:
      CUSTOMERIO_WRITE_KEY=… backfill ping --to eu
    """
    from backfill.answer import words  # noqa: PLC0415
    from backfill.destination import find_key, find_target, scrubber  # noqa: PLC0415
    from backfill.wire import TrustError, Wire, WireError, proxy_of  # noqa: PLC0415

    tell = options.talk()
    target = find_target(to, find_key(key_file, tell))
    if proxy := proxy_of(target):
        tell(f"{target.origin}: through the proxy {proxy}")
    wire = Wire(target)
    try:
        answer = wire.post(b'{"batch":[]}')
    except WireError as fault:
        what, fix = f"no answer: {fault}", "check the network and the address"
        raise ResumableError(what, where=target.origin, fix=fix) from None
    except TrustError as fault:
        what, fix = f"the connection cannot be trusted: {fault}", "check the address and proxies"
        raise DestinationError(what, where=target.origin, fix=fix) from None
    finally:
        wire.close()
    if answer.status in {408, 429} or answer.status >= 500:  # noqa: PLR2004  not about the key
        what, fix = f"it is busy: answered {answer.status}", "ask again later"
        raise ResumableError(what, where=target.origin, fix=fix)
    if answer.status not in {200, 400}:
        told = words(answer.body, scrubber(target.key))
        what = f"refused: answered {answer.status} {told}".strip()
        fix = "check the write key and its region (--to us | eu)"
        raise DestinationError(what, where=target.origin, fix=fix)
    found = {"exit_code": 0, "destination": target.origin, "status": answer.status}
    click.echo(json.dumps(found) if as_json else f"{target.origin}: the key is good")
    return 0

"""What a store answers, in words: what is wrong, the fix, and whether to come again. No I/O.

The words of Arrow's file systems are their only form; those of S3 were seen against moto and
plain servers, those of the others are from Arrow's source.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from backfill.errors import BackfillError, ResumableError, SourceError
from backfill.mapping.uri import ENVIRONMENT

if TYPE_CHECKING:
    from backfill.mapping.uri import Address

DETAIL_CHARS: Final = 300
AGAIN: Final = "then run the same command again: it goes on where it stopped"
SECRETS: Final = re.compile("KEY|SECRET|TOKEN|PASSWORD|CREDENTIAL", re.IGNORECASE)
SECRET_CHARS_MIN: Final = 4
"""A shorter value is in every text by chance."""


class Cause(NamedTuple):
    """Words of a store, and what they mean."""

    words: re.Pattern[str]
    what: str
    fix: str
    is_passing: bool = False
    """Whether it may be over a moment later, whoever is to blame."""


def _cause(words: str, what: str, fix: str, *, is_passing: bool = False) -> Cause:
    return Cause(re.compile(words, re.IGNORECASE), what, fix, is_passing)


CAUSES: Final = (
    _cause(
        r"HTTP status 301|HTTP status 307|PermanentRedirect|configured region"
        r"|AuthorizationHeaderMalformed|IllegalLocationConstraint",
        "the bucket is in another region than it was asked in",
        "add ?region=… with the bucket's own to its address, or set AWS_REGION",
    ),
    _cause(
        r"EXPIRED_?TOKEN|INVALID_?ACCESS_?KEY|SIGNATURE_?DOES_?NOT_?MATCH|INVALID_?CLIENT_?TOKEN"
        r"|UNRECOGNIZED_?CLIENT|MISSING_?AUTHENTICATION|HTTP status 40[01]\b|Unauthenticated"
        r"|Unauthorized|InvalidAuthenticationInfo|Could not (create|load).*credential"
        r"|OAuth2 access token|AuthenticationException|DefaultAzureCredential"
        r"|no credentials|invalid_grant|AuthenticationFailed",
        "the store does not know the credentials, or they have expired",
        "check {environment}; a clock that is wrong does it, too",
    ),
    _cause(
        r"ACCESS_?DENIED|HTTP status 403|Forbidden|Permission_?Denied|AuthorizationFailure"
        r"|AuthorizationPermissionMismatch|NoAuthenticationInformation|PublicAccessNotPermitted",
        "access is denied: there are no credentials, they may not read this, or it is not there",
        "give the right to read and list it; credentials come from {environment}",
    ),
    _cause(
        r"NO_?SUCH_?BUCKET|ContainerNotFound|bucket (does not exist|not found)",
        "there is no such bucket",
        "correct its name, or the endpoint",
    ),
    _cause(
        r"NETWORK_CONNECTION|curl|(could|can) ?not (connect|resolve)|timed? ?out|REQUEST_TIMEOUT"
        r"|SLOW_?DOWN|THROTTL|SERVICE_UNAVAILABLE|INTERNAL_FAILURE|InternalError|HTTP status 5\d\d"
        r"|HTTP status 429|Connection (reset|refused|closed)|Unavailable|DeadlineExceeded"
        r"|Retry policy exhausted|transport",
        "the store cannot be reached",
        "check the network and the endpoint, {again}",
        is_passing=True,
    ),
)
UNKNOWN: Final = _cause("", "the store cannot be read", "check its state and the rights to read")


def trouble(fault: Exception, address: Address, where: str, *, is_begun: bool) -> BackfillError:
    """Return what to raise for a fault of a store.

    is_begun: something of this object was read by now, so that whatever is wrong began since (an
    expired token): coming again helps. Otherwise only what passes by itself is resumable.
    """
    said = scrubbed(str(fault))
    cause = next((one for one in CAUSES if one.words.search(said)), UNKNOWN)
    fix = cause.fix.format(environment=ENVIRONMENT[address.kind], again=AGAIN)
    what = f"{cause.what} ({_detail(said)})"
    if cause.is_passing:
        return ResumableError(what, where=where, fix=fix)
    if is_begun:
        return ResumableError(f"{what} while it was being read", where=where, fix=f"{fix}; {AGAIN}")
    return SourceError(what, where=where, fix=fix)


def changed(where: str, *, is_gone: bool) -> ResumableError:
    """Return what to raise where a file is not the one that was found when the run was planned."""
    how = "has gone" if is_gone else "was replaced or written to"
    fix = "let it come to rest, then run the same command again: it says what it finds changed"
    return ResumableError(f"the file {how} while it was being read", where=where, fix=fix)


def _detail(said: str) -> str:
    """Return the store's own words in one line, without the ids of a request."""
    line = " ".join(said.split())
    line = re.sub(r"^When .*?: (?=AWS Error)", "", line)
    line = re.sub(r"\s*\(Request ID: [^)]*\)", "", line)
    return line[:DETAIL_CHARS]


def scrubbed(text: str) -> str:
    """Return a text without the credentials of the environment: stores may say them again."""
    for name, value in os.environ.items():
        if SECRETS.search(name) and len(value) >= SECRET_CHARS_MIN:
            text = text.replace(value, "…")
    return text

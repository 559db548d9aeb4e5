"""What the names of columns and files say, in many vocabularies. Tables and words, no data.

A name is only ever a hint: `values` looks at what the cells are, and both must agree.
"""

from __future__ import annotations

import re
from typing import Final


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


PERSON: Final = _set(
    "person customer user client member contact subscriber player buyer shopper patient student "
    "employee lead guest passenger donor recipient cust usr kunde cliente usuario "
    "utilisateur"
)
GROUP: Final = _set(
    "company organization organisation org account team store shop workspace tenant group "
    "household school branch club department business firm firma"
)
THING: Final = _set(
    "product item sku listing article course property vehicle zip zipcode postcode city country "
    "region category plan campaign"
)
OWNERS: Final = _set(
    "order invoice product item session event transaction track ticket cart parent"
)
"""What else is often written together with `id`: orderid."""

ID_WORDS: Final = _set("id ids uuid guid key nr no num number code ref pk")
OWN: Final = frozenset({"id", "uuid", "guid", "key", "pk", "rowid"})
ITEM_CODES: Final = frozenset({"sku", "isbn", "ean", "upc", "asin"})
"""They name one thing each, unlike a post code or a telephone."""

TIES: Final = frozenset({"membership", "relationship", "affiliation"})
ANONYMOUS: Final = frozenset({"anonymousid", "anonid", "visitorid", "deviceid", "cookieid"})
OLD: Final = _set("old previous prev former merged duplicate losing source")

EMAIL: Final = re.compile(r"e?_?-?mails?(address(e?s)?)?|correo|emailadresse|courriel")
PERSON_NAMES: Final = _set(
    "firstname lastname fullname surname givenname familyname vorname nachname nombre"
)
SINCE: Final = _set(
    "createdat created creationdate createdon signedupat signupat signupdate signedup registeredat "
    "registrationdate joinedat joindate datejoined membersince customersince"
)
"""Of a person: the reserved trait createdAt, by which campaigns know how old a person is."""

TIME_WORDS: Final = _set(
    "at on time date datetime timestamp ts when day since datum fecha zeit epoch created updated "
    "ms birthday dob"
)
NOT_OF_THE_EVENT: Final = _set(
    "updated modified changed birth birthday dob expires expiry expiration deleted due until last "
    "end ended loaded synced ingested"
)
"""Times that are about something else than when it happened."""

BOOLEAN_WORDS: Final = _set(
    "is has flag active enabled disabled subscribed unsubscribed verified confirmed deleted optin "
    "optout opt consent allow allowed newsletter paid vip was can"
)
CODES: Final = _set(
    "phone tel telephone mobile fax zip zipcode postcode postal plz sku isbn ean upc iban vat bic "
    "version extension last4"
)
"""Texts of digits that are no amounts: zeros in front, no sums."""

SECRETS: Final = _set(
    "password passwd pwd passphrase secret salt hash token apikey ssn socialsecuritynumber "
    "socialsecurity cvv cvc pin creditcard cardnumber ccnumber privatekey otp"
)
PROSE: Final = _set(
    "note notes comment comments description content body message text feedback review bio "
    "remark remarks summary bemerkung notiz"
)
NOISE: Final = _set(
    "raw export exports dump data list all final sample samples example tbl table file csv stg "
    "master lookup summary with tmp temp new copy of the full"
)
CONTEXT: Final = {
    "ip": "ip",
    "ipaddress": "ip",
    "clientip": "ip",
    "useragent": "userAgent",
    "locale": "locale",
}
"""What belongs into the context of an event, by the API's own names."""

SCREENS: Final = frozenset({"screen", "screenname", "screentitle"})
TITLES: Final = frozenset({"title", "pagetitle", "pagename"})
URLS: Final = frozenset({"url", "pageurl", "path", "pagepath", "href"})
EVENT_NAMES: Final = _set("event eventname eventtype action activity activityname")

EVENTS: Final = {
    "order": "Order Completed",
    "invoice": "Invoice Issued",
    "transaction": "Purchase",
    "purchase": "Purchase",
    "payment": "Payment Made",
    "tweet": "Tweet Posted",
    "post": "Posted",
    "click": "Clicked",
    "login": "Logged In",
    "signup": "Signed Up",
    "subscription": "Subscribed",
    "booking": "Booked",
    "refund": "Order Refunded",
}
"""What a row of such a file is called, where no column says it."""

CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
IRREGULAR: Final = {"people": "person", "persons": "person", "men": "man", "children": "child"}


def words_of(name: str) -> list[str]:
    """`CustomerID`, `customer_id`, `Customer Id` → customer, id."""
    return [part.lower() for part in re.split(r"[\W_]+", CAMEL.sub(" ", name)) if part]


def joined(name: str) -> str:
    """`Customer ID` → customerid."""
    return "".join(words_of(name))


def singular(word: str) -> str:
    """`companies` → company, `orders` → order."""
    if word in IRREGULAR:
        return IRREGULAR[word]
    if word.endswith("ies") and len(word) > len("ties"):
        return word[:-3] + "y"
    if re.search(r"(ss|x|z|ch|sh)es$", word):
        return word[:-2]
    return word[:-1] if re.search(r"[^su]s$", word) else word


def entities(stem: str) -> list[str]:
    """Return what a file is about by its name, without what every export is called."""
    found = [singular(word) for word in words_of(stem) if not re.search("[0-9]", word)]
    return [word for word in found if word not in NOISE]


def event_of(stem: str) -> str:
    """Name the event of a file's rows: `raw_orders` → Order Completed, `flights` → Flight."""
    about = entities(stem)
    known = [EVENTS[word] for word in about if word in EVENTS]
    return known[0] if known else " ".join(word.title() for word in about[:4]) or "Event"


def _names_an_id(name: str, owners: frozenset[str]) -> bool:
    """Whether a name is one of the owners, with or without a word for an id after it."""
    words, whole = words_of(name), joined(name)
    if not words:
        return False
    if words[-1] in ID_WORDS and len(words) > 1:
        return singular(words[-2]) in owners
    glued = re.fullmatch(r"(.+?)(?:id|uuid|guid|key|nr|no|number|code)", whole)
    return (glued is not None and glued[1] in owners) or singular(whole) in owners


def is_nameless(name: str) -> bool:
    """Whether a column has but a number, since its file has no header."""
    return re.fullmatch("column_[0-9]+", name) is not None


def is_person(name: str) -> bool:
    """`customer_id`, `UserId`, `client`, `uid`."""
    return _names_an_id(name, PERSON) or joined(name) in {"uid", "externalid", "distinctid"}


def is_group(name: str) -> bool:
    """`company_id`, `account`, `storeId`."""
    return _names_an_id(name, GROUP)


def is_old(name: str) -> bool:
    """`old_customer_id`, `previousId`."""
    words = words_of(name)
    rest = words[1:]
    return bool(rest) and words[0] in OLD and (rest[0] in ID_WORDS or is_person(" ".join(rest)))


def is_own(name: str, about: list[str]) -> bool:
    """Whether a column names the rows themselves: `id`, or `order_id` in a file of orders."""
    words = words_of(name)
    if joined(name) in OWN:
        return True
    rest = " ".join(words[:-1]).split() if words and words[-1] in ID_WORDS else []
    return bool(rest) and (singular(rest[-1]) in about or rest == about)


def is_id_like(name: str) -> bool:
    """Whether a name ends as ids do: digits there are no amount."""
    words = words_of(name)
    if not words:
        return False
    glued = re.fullmatch(r"(.+?)(?:id|uuid)", words[-1])
    return words[-1] in ID_WORDS or (glued is not None and glued[1] in PERSON | GROUP | OWNERS)


def has_word(name: str, known: frozenset[str]) -> bool:
    """Whether one of the words of a name, or all of them together, is known."""
    return joined(name) in known or any(word in known for word in words_of(name))

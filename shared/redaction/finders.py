"""Finds what should not be stored verbatim: e-mail addresses, phone and card numbers, IBANs,
IP addresses, secrets. Pure functions from a text to places in it.

A nearly free check comes first (is there an `@`, are there enough digits, a known prefix?), then
linear work. Candidates are verified where their kind has a rule: cards by Luhn, IBANs by their check
digits and country, phone numbers by the numbering plans.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import phonenumbers
from stdnum import iban as stdnum_iban
from stdnum import luhn


class Found(NamedTuple):
    """text[start:end], and its canonical spelling: two spellings of one number are the same number."""

    start: int
    end: int
    value: str


Finder = Callable[[str], Iterator[Found]]

_DIGIT = re.compile(r"\d")


def count_digits(text: str) -> int:
    """How many digits there are, in any script: the first check of every finder of numbers."""
    if text.isascii():
        return sum(map(text.count, "0123456789"))
    return len(_DIGIT.findall(text))


def emails(text: str) -> Iterator[Found]:
    """Searches outwards from each `@`, so that a long text without one costs nothing."""
    at = text.find("@")
    while at >= 0:
        domain = _DOMAIN.match(text, at + 1)
        start = at
        while start > max(0, at - 64) and (text[start - 1].isalnum() or text[start - 1] in _LOCAL):
            start -= 1
        while start < at and text[start] in ".'":  # quotes and full stops before an address
            start += 1
        if domain and start < at:
            yield Found(start, domain.end(), text[start : domain.end()].lower())
            at = domain.end()
        at = text.find("@", at + 1)


_LOCAL = frozenset(".!#$%&'*+-/=?^_`{|}~")
_DOMAIN = re.compile(r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}[^\W\d_]{2,24}(?![\w-])")


def cards(text: str) -> Iterator[Found]:
    """13 to 19 digits that pass Luhn, unbroken or in groups of three or more, not starting with 0, 1, 7-9."""
    for run in _CARD_RUN.finditer(text):
        groups = list(_GROUP.finditer(text, run.start(), run.end()))
        first = 0
        while first < len(groups):
            last = _card_end(text, groups, first)
            if last is None:
                first += 1
                continue
            start, end = groups[first].start(), groups[last].end()
            yield Found(start, end, re.sub(r"\D", "", text[start:end]))
            first = last + 1


_CARD_RUN = re.compile(r"(?<!\d)\d{3,19}(?:[ -]\d{3,13}){0,63}(?!\d)", re.ASCII)
_GROUP = re.compile(r"\d+", re.ASCII)
_CARD_LENGTHS = range(13, 20)


def _card_end(text: str, groups: Sequence[re.Match[str]], first: int) -> int | None:
    """The last group of the longest card number that starts with group `first`; None if there is none."""
    number, found = "", None
    for place in range(first, min(first + 6, len(groups))):
        number += groups[place].group()
        if len(number) > 19:
            break
        if len(number) in _CARD_LENGTHS and number[0] in "23456" and luhn.is_valid(number):
            found = place
    return found


def ibans(text: str) -> Iterator[Found]:
    """IBANs that are valid in their country, unbroken or in groups, in capitals or not."""
    after = 0
    for run in _IBAN_RUN.finditer(text):
        start, limit = run.start(), run.end(1)
        if start < after:
            continue
        for end in range(limit, start + 14, -1):
            ends = text[end - 1].isalnum() and not (end < len(text) and text[end].isalnum())
            said = text[start:end].replace(" ", "").upper() if ends else ""
            if said and _mod_97(said) and stdnum_iban.is_valid(said):
                yield Found(start, end, said)
                after = end
                break


def _mod_97(said: str) -> bool:
    """ISO 7064's check, which 96 of 97 false candidates fail: cheap, so it precedes the country's rules."""
    return int((said[4:] + said[:4]).translate(_LETTERS)) % 97 == 1


_LETTERS = {ord("A") + n: str(10 + n) for n in range(26)}
# Tried at every place where an IBAN may start: an earlier false candidate must not swallow it.
_IBAN_RUN = re.compile(r"(?<![A-Za-z0-9])(?=([A-Za-z]{2}\d{2}[A-Za-z0-9 ]{11,42}))", re.ASCII)


def addresses(text: str) -> Iterator[Found]:
    """IPv4 and IPv6. A v6 address needs a digit or four groups: `a::b` is more likely C++."""
    if text.count(".") >= 3:
        for match in _V4.finditer(text):
            yield from _address(match)
    if text.count(":") >= 2:
        for match in _V6.finditer(text):
            said = match.group()
            if said.count(":") >= 2 and (said.count(":") > 3 or _DIGIT.search(said)):
                yield from _address(match)


_V4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?!\w|\.\d)", re.ASCII)
_V6 = re.compile(
    r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,8}(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f]{0,4})(?![\w:])"
)


def _address(match: re.Match[str]) -> Iterator[Found]:
    try:
        address = ipaddress.ip_address(match.group())
    except ValueError:
        return
    yield Found(match.start(), match.end(), address.compressed)


def phones(regions: Sequence[str]) -> Finder:
    """Numbers with a + of any country; without one, numbers as written in one of `regions` (ISO 3166
    codes such as "US"). A text with more than _EXAMINED_CHARS of digits and signs is nobody's phone number:
    beyond them whatever has the shape of a number counts as one, so that no text costs more than a few
    milliseconds and none gets through by being long."""

    def find(text: str) -> Iterator[Found]:
        examined = 0
        for run in _PHONE_RUN.finditer(text):
            said = run.group()
            if ("+" not in said and not regions) or sum(map(str.isdigit, said)) < 7:
                continue
            if examined > _EXAMINED_CHARS:
                yield Found(run.start(), run.start() + len(said.rstrip()), said)
                continue
            examined += len(said)
            yield from _numbers(said, run.start(), regions)

    return find


_EXAMINED_CHARS = 2000
_PHONE_RUN = re.compile(r"(?<!\w)[+(]{0,2}\d[\d \t().\-/+\u00a0]{5,200}")


def _numbers(said: str, at: int, regions: Sequence[str]) -> Iterator[Found]:
    seen: list[Found] = []
    for region in (None, *regions):
        for match in phonenumbers.PhoneNumberMatcher(said, region):
            found = Found(at + match.start, at + match.end, _e164(match.number))
            if all(found.end <= one.start or found.start >= one.end for one in seen):
                seen.append(found)
    yield from seen


def _e164(number: phonenumbers.PhoneNumber) -> str:
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))


def secrets(text: str) -> Iterator[Found]:
    """Keys and tokens by their issuers' prefixes, private keys, JSON web tokens, passwords in URLs, and
    values assigned to a name such as `api_key` or `password`."""
    for sign, shapes in _SECRETS.items():
        for hint, pattern in shapes if sign in text else ():
            if hint not in text:
                continue
            for match in pattern.finditer(text):
                group = 1 if pattern.groups else 0
                yield Found(match.start(group), match.end(group), match.group(group))
    if "-----BEGIN " in text:
        yield from _private_keys(text)
    if "=" in text or ":" in text:
        yield from _assigned(text)


Shapes = dict[str, list[tuple[str, re.Pattern[str]]]]


def _by_sign(shapes: Mapping[str, str]) -> Shapes:
    """The shapes by a sign that every such secret contains and that is rare in prose: most texts lack it and
    need not be searched for the longer literals."""
    found: Shapes = {}
    for hint, shape in shapes.items():
        sign = next((sign for sign in "_-./=" if sign in hint), hint)
        found.setdefault(sign, []).append((hint, re.compile(shape)))
    return found


_JWT = r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,4096}\.[A-Za-z0-9_-]{8,8192}\.[A-Za-z0-9_-]{8,}"
# A literal that the secret contains, and its shape. Unbounded repetitions come last: no shape can be matched
# in more than one way.
_SECRETS = _by_sign(
    {
        "sk-": r"(?<![A-Za-z0-9])sk-[A-Za-z0-9_-]{20,}",  # OpenAI, Anthropic, ...
        "_live_": r"(?<![A-Za-z0-9])[rsp]k_live_[A-Za-z0-9]{10,}",  # Stripe
        "_test_": r"(?<![A-Za-z0-9])[rsp]k_test_[A-Za-z0-9]{10,}",
        "whsec_": r"whsec_[A-Za-z0-9+/=]{20,}",
        "AKIA": r"(?<![A-Z0-9])AKIA[A-Z2-7]{16}(?![A-Z0-9])",  # AWS
        "ASIA": r"(?<![A-Z0-9])ASIA[A-Z2-7]{16}(?![A-Z0-9])",
        "_": r"(?<![A-Za-z0-9])gh[pousr]_[A-Za-z0-9]{30,}",  # GitHub
        "github_pat_": r"github_pat_[A-Za-z0-9_]{22,}",
        "glpat-": r"glpat-[A-Za-z0-9_-]{20,}",  # GitLab
        "-": r"xox[abeoprs]-[A-Za-z0-9-]{10,}",  # Slack
        "xapp-": r"xapp-[A-Za-z0-9-]{10,}",
        "hooks.slack.com/services/": r"hooks\.slack\.com/services/([A-Za-z0-9/]{20,})",
        "AIza": r"AIza[A-Za-z0-9_-]{35}",  # Google
        "ya29.": r"ya29\.[A-Za-z0-9_-]{20,}",
        "GOCSPX-": r"GOCSPX-[A-Za-z0-9_-]{20,}",
        "hf_": r"(?<![A-Za-z0-9])hf_[A-Za-z0-9]{30,}",  # Hugging Face
        "npm_": r"(?<![A-Za-z0-9])npm_[A-Za-z0-9]{36,}",
        "pypi-": r"pypi-[A-Za-z0-9_-]{50,}",
        "SG.": r"(?<![A-Za-z0-9])SG\.[A-Za-z0-9_-]{16,64}\.[A-Za-z0-9_-]{16,}",  # SendGrid
        "dapi": r"(?<![A-Za-z0-9])dapi[0-9a-f]{32}",  # Databricks
        "_v1_": r"(?<![A-Za-z0-9])do[opr]_v1_[0-9a-f]{64}",  # DigitalOcean
        "AccountKey=": r"AccountKey=([A-Za-z0-9+/=]{40,})",  # Azure
        "eyJ": _JWT,
        "tt_": r"(?<![A-Za-z0-9])tt_[A-Za-z0-9_-]{40,}",  # our own
        "://": r"://[^\s:/@\[\]]{0,128}:([^\s/@\[\]]{1,256})@",  # a password in a URL
    }
)
_NAMES = (
    *(
        f"{of}{sign}key"
        for of in ("api", "access", "secret", "private")
        for sign in ("_", "-", " ", "")
    ),
    *("secret", "token", "password", "passwd", "pwd", "passphrase", "authorization", "bearer"),
)
_VALUE = re.compile(
    r"\s{0,4}(?:bearer\s{1,4}|basic\s{1,4})?[\"']?([^\s\"',;\[\]<>]{8,512})", re.IGNORECASE
)


def _assigned(text: str) -> Iterator[Found]:
    """The value after a name and `:` or `=`, if it has a digit or a sign: `key: whatever` is not one."""
    after = 0
    for sign in sorted((*_places(text, ":"), *_places(text, "="))):
        name = text[max(0, sign - 20) : sign].rstrip("\"' ").lower()
        if sign < after or not name.endswith(_NAMES):
            continue
        match = _VALUE.match(text, sign + 1)
        value = match.group(1).rstrip(".)}") if match else ""
        if match and len(value) >= 8 and not value.isalpha():
            after = match.start(1) + len(value)
            yield Found(match.start(1), after, value)


def _places(text: str, sign: str) -> Iterator[int]:
    place = text.find(sign)
    while place >= 0:
        yield place
        place = text.find(sign, place + 1)


def _private_keys(text: str) -> Iterator[Found]:
    """From BEGIN to END; a key that was cut off, to the end of the text."""
    start = text.find("-----BEGIN ")
    while start >= 0:
        title = text.find("-----", start + 11)
        if 0 <= title <= start + 80 and "PRIVATE KEY" in text[start:title]:
            closing = text.find("-----END ", title)
            after = text.find("-----", closing + 9) if closing >= 0 else -1
            end = after + 5 if after >= 0 else len(text)
            yield Found(start, end, text[start:end])
            start = end
        start = text.find("-----BEGIN ", start + 1) if start < len(text) else -1

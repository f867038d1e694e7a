"""Takes sensitive content out of texts before anything is stored: by kind, by tenant.

A found place becomes `[EMAIL]` (mask) or `[EMAIL:3f2ac01b9e77]` (hash: HMAC-SHA-256 under the tenant's
key, so that one person stays one person within a tenant but cannot be followed across tenants, nor
guessed without the key), or the whole text of the message becomes `[DROPPED:EMAIL]` (drop). With
`content = "metadata"` every text becomes its length and a keyed digest.

Redacting twice changes nothing: placeholders are never examined, and a text is searched until nothing
more is found. Ids (of users, conversations, turns) are not content: they stay.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from operator import is_not
from typing import Any, Protocol

from shared.language.messages import Media, Message, Part, Text, ToolCall, ToolResult
from shared.language.turns import Turn
from shared.redaction import finders as sensitive
from shared.redaction.finders import Finder, Found

# In order: of two that overlap, the earlier kind counts. Each with the fewest digits that it needs.
KINDS = {"secret": 0, "email": 0, "iban": 2, "card": 13, "ip": 1, "phone": 7}
_FINDERS: dict[str, Finder] = {
    "secret": sensitive.secrets,
    "email": sensitive.emails,
    "iban": sensitive.ibans,
    "card": sensitive.cards,
    "ip": sensitive.addresses,
}
# Neighbouring finds can hide each other: each round may uncover the next. Ordinary texts need two.
_ROUNDS = 32


class Action(StrEnum):
    OFF = "off"
    MASK = "mask"
    HASH = "hash"
    DROP = "drop"


class Expression(Protocol):
    """A compiled regular expression."""

    def spans(self, text: str) -> Iterable[tuple[int, int]]:
        """Its matches from left to right: [start, end) in characters, never empty."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A tenant's own kind: `name` in capitals, `expression` compiled by `shared.redaction.patterns`."""

    name: str
    expression: Expression
    action: Action

    def find(self, text: str) -> Iterator[Found]:
        for start, end in self.expression.spans(text):
            yield Found(start, end, text[start:end])


@dataclass(frozen=True)
class RedactionPolicy:
    """`actions` by kind, OFF where a kind is missing; `phone_regions` are ISO 3166 codes."""

    actions: Mapping[str, Action] = field(default_factory=lambda: {"secret": Action.MASK})
    phone_regions: tuple[str, ...] = ()
    patterns: tuple[Pattern, ...] = ()
    metadata_only: bool = False

    @cached_property
    def needs_key(self) -> bool:
        used = {*self.actions.values(), *(pattern.action for pattern in self.patterns)}
        return self.metadata_only or Action.HASH in used

    @cached_property
    def finders(self) -> tuple[tuple[str, int, Finder, Action], ...]:
        """(kind, digits it needs, finder, action): secrets, then own patterns, then the rest."""
        own = [(one.name, 0, one.find, one.action) for one in self.patterns]
        built_in = [
            (kind.upper(), digits, self._finder(kind), self.actions[kind])
            for kind, digits in KINDS.items()
            if self.actions.get(kind, Action.OFF) is not Action.OFF
        ]
        secrets = [one for one in built_in if one[0] == "SECRET"]
        return (*secrets, *own, *(one for one in built_in if one[0] != "SECRET"))

    @cached_property
    def counts_digits(self) -> bool:
        return any(needs for _, needs, _, _ in self.finders)

    def _finder(self, kind: str) -> Finder:
        return sensitive.phones(self.phone_regions) if kind == "phone" else _FINDERS[kind]


@dataclass(frozen=True, slots=True)
class RedactionPolicies:
    default: RedactionPolicy = field(default_factory=RedactionPolicy)
    tenants: Mapping[str, RedactionPolicy] = field(default_factory=dict)

    def of(self, tenant: str) -> RedactionPolicy:
        return self.tenants.get(tenant, self.default)

    @property
    def needs_key(self) -> bool:
        return any(policy.needs_key for policy in (self.default, *self.tenants.values()))


# The key of a turn's metadata whose value says what was taken out, such as "EMAIL=2 SECRET=1".
REDACTED = "redacted"


def noted_counts(metadata: Mapping[str, str]) -> dict[str, int]:
    """What was taken out of a turn, by kind, according to its metadata."""
    counts: dict[str, int] = {}
    for word in metadata.get(REDACTED, "").split():
        kind, equals, count = word.partition("=")
        if equals and kind.isidentifier() and count.isdecimal() and len(count) < 7:
            counts[kind] = counts.get(kind, 0) + int(count)
    return counts


def noted(metadata: Mapping[str, str], counts: Mapping[str, int]) -> Mapping[str, str]:
    """The metadata with `counts` added to what an earlier service took out."""
    if not counts:
        return metadata
    whole = noted_counts(metadata)
    for kind, n in counts.items():
        whole[kind] = whole.get(kind, 0) + n
    said = " ".join(f"{kind}={n}" for kind, n in sorted(whole.items()))
    return {**metadata, REDACTED: said}


Counted = Callable[[str, str, int], None]


class Redactor:
    """Redacts by the tenant's policy. `key` is the installation's (needed if a policy hashes); `counted` is
    called with each kind taken out, its action and how often."""

    def __init__(
        self,
        policies: RedactionPolicies | None = None,
        key: str = "",
        counted: Counted = lambda kind, action, n: None,
    ) -> None:
        self._policies = policies or RedactionPolicies()
        self._key, self._counted = key.encode(), counted

    @contextmanager
    def of(self, tenant: str) -> Iterator[Redaction]:
        """For the texts of one item. What was taken out is counted at the end."""
        policy = self._policies.of(tenant)
        redaction = Redaction(policy, self._tenant_key(tenant) if policy.needs_key else b"")
        yield redaction
        for (kind, action), n in redaction.counts.items():
            self._counted(kind, action, n)

    def turn(self, turn: Turn) -> Turn:
        """By its tenant's policy, with what was taken out noted in its metadata; the same object if nothing was
        found."""
        with self.of(turn.tenant) as redaction:
            return redaction.turn(turn)

    def message(self, tenant: str, message: Message) -> Message:
        """The redacted message; the same object if nothing was found."""
        with self.of(tenant) as redaction:
            return redaction.message(message)

    def text(self, tenant: str, text: str) -> str:
        with self.of(tenant) as redaction:
            return redaction.content(text)

    def _tenant_key(self, tenant: str) -> bytes:
        return hmac.digest(self._key, f"redaction:{tenant}".encode(), hashlib.sha256)


_NO_BRACKETS = str.maketrans("", "", "[]")
_PLACEHOLDER = re.compile(
    r"\[(?:DROPPED:)?[A-Z][A-Z0-9_]{0,31}(?::[0-9a-f]{12})?\]|\[TEXT \d{1,9} [0-9a-f]{16}\]"
)


class Redaction:
    """One policy applied to one item; collects in `counts` what was taken out, by kind and action."""

    def __init__(self, policy: RedactionPolicy, key: bytes) -> None:
        self._policy, self._key = policy, key
        self.counts: Counter[tuple[str, str]] = Counter()
        self.dropped = ""

    @property
    def kinds(self) -> Mapping[str, int]:
        """How much was taken out, by kind."""
        kinds: Counter[str] = Counter()
        for (kind, _), n in self.counts.items():
            kinds[kind] += n
        return kinds

    def turn(self, turn: Turn) -> Turn:
        message, metadata = self.message(turn.message), self.metadata(turn.metadata)
        if not self.counts:
            return turn
        return replace(turn, message=message, metadata=noted(metadata, self.kinds))

    def message(self, message: Message) -> Message:
        parts = [self._part(part) for part in message.parts]
        if self.dropped:
            parts = [_dropped(part, f"[DROPPED:{self.dropped}]") for part in parts]
        changed = any(map(is_not, parts, message.parts))
        return replace(message, parts=tuple(parts)) if changed else message

    def content(self, text: str) -> str:
        """What somebody said: redacted by kind, or replaced entirely if the policy keeps only metadata."""
        if self._policy.metadata_only:
            return self._measured(text)
        return self.text(text)

    def metadata(self, metadata: Mapping[str, str]) -> Mapping[str, str]:
        """The redacted metadata; the same object if nothing was found."""
        if not metadata:
            return metadata
        found = {
            key: self._json(value) if value.startswith("{") else self.text(value)
            for key, value in metadata.items()
        }
        return metadata if found == metadata else found

    def label(self, text: str) -> str:
        """An identifier that somebody chose, such as a category: placeholders without brackets."""
        found = self.text(text)
        return text if found is text else found.translate(_NO_BRACKETS)

    def text(self, text: str) -> str:
        """Redacted by kind, as values of metadata are; `text` itself if nothing was found."""
        if not self._policy.finders or not text:
            return text
        for _ in range(_ROUNDS):
            found = self._once(text)
            if found is text:
                break
            text = found
        else:
            # Crafted so that it never ends: none of it is kept.
            self.dropped = self.dropped or "TANGLED"
        return text if not self.dropped else f"[DROPPED:{self.dropped}]"

    def _part(self, part: Part) -> Part:
        match part:
            case Text(text):
                new = self.content(text)
                return part if new is text else Text(new)
            case Media(uri, mime_type):
                new = self.content(uri)
                return part if new is uri else Media(new, mime_type)
            case ToolCall(call_id, function, arguments):
                new = self._arguments(arguments)
                return part if new is arguments else ToolCall(call_id, function, new)
            case ToolResult(call_id, result):
                new = self.content(result)
                return part if new is result else ToolResult(call_id, new)

    def _arguments(self, arguments: str) -> str:
        if self._policy.metadata_only:
            return self._measured(arguments)
        return self._json(arguments)

    def _json(self, arguments: str) -> str:
        """JSON stays JSON: a numeric card number becomes a string; escapes hide nothing."""
        counts = self.counts.copy()
        new = self.text(arguments)
        as_text = self.counts
        if (new is arguments and "\\" not in arguments) or self.dropped:
            return new
        try:
            document = json.loads(arguments)
            self.counts = counts
            walked = self._walk(document)
        except (ValueError, RecursionError):
            self.counts = as_text
            return new
        if walked == document:
            return arguments
        return json.dumps(walked, ensure_ascii=False, separators=(",", ":"))

    def _walk(self, value: Any) -> Any:
        match value:
            case str():
                return self.text(value)
            case bool() | None:
                return value
            case int() | float():
                said = str(value)
                new = self.text(said)
                return value if new is said else new
            case list():
                return [self._walk(one) for one in value]
            case dict():
                return {self.text(key): self._walk(one) for key, one in value.items()}
        return value

    def _once(self, text: str) -> str:
        """One round over the text, skipping placeholders; `text` itself if nothing was found."""
        if "[" not in text:
            return self._plain(text)
        pieces: list[str] = []
        at = 0
        for kept in _PLACEHOLDER.finditer(text):
            pieces += [self._plain(text[at : kept.start()]), kept.group()]
            at = kept.end()
        if not at:
            return self._plain(text)
        joined = "".join([*pieces, self._plain(text[at:])])
        return text if joined == text else joined

    def _plain(self, text: str) -> str:
        digits = sensitive.count_digits(text) if self._policy.counts_digits else 0
        taken: list[tuple[int, int, str]] = []  # sorted, none overlaps another
        for kind, needs, find, action in self._policy.finders:
            if digits < needs:
                continue
            for found in find(text):
                place = bisect(taken, (found.start, found.end))
                before_ends = taken[place - 1][1] if place else 0
                after_starts = taken[place][0] if place < len(taken) else len(text)
                if before_ends <= found.start and found.end <= after_starts:
                    self.counts[(kind, action.value)] += 1
                    placeholder = self._placeholder(kind, action, found)
                    taken.insert(place, (found.start, found.end, placeholder))
        return _replaced(text, taken) if taken else text

    def _placeholder(self, kind: str, action: Action, found: Found) -> str:
        if action is Action.DROP:
            self.dropped = self.dropped or kind
        if action is not Action.HASH:
            return f"[{kind}]"
        return f"[{kind}:{self._digest(kind, found.value)[:12]}]"

    def _measured(self, text: str) -> str:
        """Metadata only: the text's length, and a digest that identifies repetitions."""
        if not text or _PLACEHOLDER.fullmatch(text):
            return text
        self.counts[("TEXT", "metadata")] += 1
        return f"[TEXT {len(text)} {self._digest('text', text)[:16]}]"

    def _digest(self, kind: str, value: str) -> str:
        return hmac.digest(
            self._key, f"{kind}:{value}".encode("utf-8", "surrogatepass"), hashlib.sha256
        ).hex()


def _replaced(text: str, taken: list[tuple[int, int, str]]) -> str:
    pieces: list[str] = []
    at = 0
    for start, end, placeholder in taken:
        pieces += (text[at:start], placeholder)
        at = end
    return "".join((*pieces, text[at:]))


def _dropped(part: Part, placeholder: str) -> Part:
    match part:
        case Text():
            return Text(placeholder)
        case Media(_, mime_type):
            return Media(placeholder, mime_type)
        case ToolCall(call_id, function, _):
            return ToolCall(call_id, function, placeholder)
        case ToolResult(call_id, _):
            return ToolResult(call_id, placeholder)

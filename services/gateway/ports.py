"""What the use cases need from outside."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from services.gateway.domain.linking import Link, Question
from services.gateway.domain.refusals import Refused
from services.gateway.domain.stored import CompletionQuery, StoredCompletion
from shared.language.assessments import Assessment
from shared.language.messages import Message
from shared.language.opinions import ExplicitFeedback
from shared.language.pairs import Pair
from shared.language.turns import Turn


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, identified by an API key."""

    tenant: str
    key_digest: str


class Authenticator(Protocol):
    def identify(self, authorization: str, *roles: str) -> Caller:
        """The caller by the `authorization` header of any protocol. Unauthenticated if the key is missing or
        wrong; PermissionDenied if it has none of `roles` (by default: writer); ResourceExhausted beyond the
        tenant's quota of requests."""


class TurnQuota(Protocol):
    def turns(self, tenant: str, count: int) -> None:
        """ResourceExhausted if the tenant may not log that many now; `retry_after_s` says when it may."""


class PersonaSource(Protocol):
    """The feedback service. Its errors are logged and counted."""

    async def persona(self, tenant: str, user_id: str) -> str:
        """Empty if there is none."""


class GroupSource(Protocol):
    """The reward service. Its errors are logged and counted."""

    async def groups(self, tenant: str, user_id: str) -> tuple[str, ...]:
        """Those that the user belongs to, the learnt one first; empty if nothing is known."""

    def members(self, tenant: str, group: str) -> AsyncIterator[tuple[str, tuple[str, ...]]]:
        """The users of a group, each with all their groups."""


class Sink(Protocol):
    """The interaction service. Returns once Kafka holds what was accepted; otherwise raises Unavailable (or
    another error that says when to try again), and the caller repeats the whole."""

    async def log_turns(self, tenant: str, turns: Sequence[Turn]) -> list[Refused]: ...

    async def forward(self, tenant: str, turns: Sequence[bytes]) -> list[Refused]:
        """The same, for turns of one tenant that come out of the spool, in order. InvalidArgument if the call
        as a whole is invalid."""

    async def log_feedback(
        self, tenant: str, feedback: Sequence[ExplicitFeedback]
    ) -> tuple[list[str], list[Refused]]:
        """The ids of what was accepted, and what was refused."""

    async def log_assessments(
        self, tenant: str, assessments: Sequence[Assessment]
    ) -> list[Refused]: ...

    async def log_preferences(
        self, tenant: str, preferences: Sequence[Pair]
    ) -> tuple[list[str], list[Refused]]:
        """Likewise."""


@dataclass(frozen=True, slots=True)
class AnswerReport:
    """A user's first answer by `version`, the champion or the canary, while `canary` was out. `wait_s`: seconds
    until its first words; None if it failed or was not streamed. `reward`: of the reward model, where both
    versions answered the same."""

    tenant: str
    policy: str
    canary: str
    version: str
    user_id: str
    failed: bool
    wait_s: float | None = None
    reward: float | None = None
    reward_model: str = ""


class AnswerScorer(Protocol):
    """The reward service."""

    async def rewards(
        self, tenant: str, user_id: str, asked: Sequence[Message], answers: Sequence[Message]
    ) -> tuple[list[float], str]:
        """Of each answer to what was asked, and the model's name. FailedPrecondition while there is no model,
        Unavailable."""


class AnswerReportSink(Protocol):
    """The registry. Unavailable while it is; reports may be repeated."""

    async def report(self, reports: Sequence[AnswerReport]) -> None:
        """At most 1,000."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A tenant's oldest waiting turns, serialised as the sink expects them. `records` counts them and the
    `unreadable` ones."""

    tenant: str
    turns: list[bytes]
    records: int
    unreadable: int


class Spool(Protocol):
    """Turns that wait to be forwarded, on disk, in order within a tenant. What was appended survives the
    process. Unavailable (SPOOL_DISK) if the disk fails."""

    def append(self, turns: Sequence[Turn]) -> None:
        """Of one tenant: all or none. ResourceExhausted (SPOOL_FULL) if the tenant has used up its share;
        InvalidArgument (TURN_TOO_LARGE) for a turn that could never be forwarded."""

    def head(self, tenant: str) -> Batch: ...

    def advance(self, tenant: str) -> None:
        """Removes what `head` returned last. If the disk fails, it is still not returned again until the
        process ends. After a restart it is, and counts once by its event ids."""

    def drop_older(self, tenant: str, than: float) -> int:
        """Removes what has waited since before `than` (Unix time), to the nearest file; how many turns."""

    def tenants(self) -> list[str]:
        """Those with waiting turns."""

    def pending_of(self, tenant: str) -> int: ...

    def waiting(self, tenant: str, conversation_id: str) -> list[Turn]:
        """The turns of a conversation that were not forwarded yet. May be called in another thread."""

    @property
    def pending(self) -> int: ...


class Reply(Protocol):
    """An upstream's response whose body was not read yet."""

    @property
    def status(self) -> int: ...

    @property
    def content_type(self) -> str: ...

    @property
    def advice(self) -> Mapping[str, str]:
        """Headers that tell a client what to do next, above all when to try again."""

    async def read(self) -> bytes:
        """Unavailable if the connection breaks."""

    def lines(self) -> AsyncIterator[list[bytes]]:
        """Lines that arrived together, without their ends. Unavailable if the connection breaks."""

    async def close(self) -> None: ...


class Upstream(Protocol):
    async def send(
        self, body: bytes, tenant: str, user_id: str, left_out: Collection[str] = ()
    ) -> Reply:
        """`body` is JSON. Asks the user's replica, or the next one if the connection breaks before the first
        byte; none that is left out, unless all are. Unavailable if none answers; DeadlineExceeded if it takes
        too long."""


class StoredCompletions(Protocol):
    """Completions requested with `store: true`; they appear a moment after they were answered. NotFound if it
    is not stored or belongs to another tenant; Unavailable if interaction is."""

    async def get(self, tenant: str, completion_id: str) -> StoredCompletion: ...

    async def page(
        self, tenant: str, query: CompletionQuery
    ) -> tuple[list[StoredCompletion], bool]:
        """In order of time; and whether more follow."""

    async def messages(self, tenant: str, completion_id: str) -> list[Turn]:
        """The messages that led to it, oldest first."""

    async def update(
        self, tenant: str, completion_id: str, said: Mapping[str, str]
    ) -> StoredCompletion:
        """Replaces the metadata."""


class Links(Protocol):
    """Answered calls by their digests. Old ones are removed; a call that finds none begins a conversation."""

    async def find(self, question: Question) -> list[Link]:
        """Oldest first, each once: what domain/link_index.py says that the question asks for, and the newest
        links of the conversations that it may continue. Never raises; empty rather than late."""

    def remember(self, link: Link) -> None:
        """Found in this process immediately; durable, and found in others, a moment later."""

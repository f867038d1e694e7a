"""The whole feedback service on twins: an in-memory log and database, keywords for labels."""

import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from services.feedback.adapters.unit_of_work import UnitOfWork
from services.feedback.grpc_api import mount
from services.feedback.heads.adapters.memory import MemoryHeadTracker
from services.feedback.mining.adapters.memory import HashingEmbedder, ScriptedChat
from services.feedback.mining.app.classifier import Classifier, Exchange, Judged
from services.feedback.mining.domain import Label
from services.feedback.pairs.adapters.memory import ScriptedScorer
from services.feedback.settings import FeedbackSettings
from services.feedback.tables import METADATA
from services.feedback.wiring.ground import Ground
from services.feedback.wiring.service import Ports, Rooms, wire
from shared.contracts.messages import encode_message
from shared.gen.trimtab.common.v1 import common_pb2 as common
from shared.gen.trimtab.common.v1 import people_pb2 as people
from shared.gen.trimtab.events.v1 import events_pb2 as events
from shared.language.messages import Message, text_message
from shared.language.times import now
from shared.language.topics import FEEDBACK_GIVEN, INTERACTION_LOGGED, MEMBERSHIP_UPDATED
from shared.language.verdicts import DISSATISFIED, FollowUpKind
from shared.log.events import Event
from shared.log.memory import MemoryEventLog
from shared.redaction.redactor import Redactor
from shared.state.database import Database, Transaction
from shared.state.stage import drain

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
LONG = "Rivers are long bodies of water that flow through many lands. " * 8
SHORT = "The Roe River is very short indeed."
_KEYWORDS = {
    "shorter": FollowUpKind.REATTEMPT_WITH_FEEDBACK,
    "wrong": FollowUpKind.REATTEMPT_WITHOUT_FEEDBACK,
    "thanks": FollowUpKind.POSITIVE,
    "lol": FollowUpKind.NONE,
}


class KeywordClassifier(Classifier):
    """Sure of its keywords; unsure of "maybe"."""

    def judge(self, exchanges: list[Exchange], tenants: Sequence[str] = ()) -> Judged:  # type: ignore[override]
        vectors = self.embedder.embed([exchange.request for exchange in exchanges])
        follow_ups = self.embedder.embed([exchange.follow_up for exchange in exchanges])
        labels = [_label(exchange.follow_up) for exchange in exchanges]
        return Judged(labels, vectors, (vectors * follow_ups).sum(1).tolist())


def _label(text: str) -> Label:
    kind = next((k for word, k in _KEYWORDS.items() if word in text), FollowUpKind.NEW_REQUEST)
    probabilities = {k.value: (0.9 if k is kind else 0.025) for k in FollowUpKind}
    bad = sum(probabilities[k.value] for k in DISSATISFIED)
    return Label(kind, probabilities, bad, "LOW_CONFIDENCE" if "maybe" in text else "")


class KeywordModerator:
    def offence(self, text: str) -> float:
        return 0.5 if "blockhead" in text else 0.4


def script(messages: Sequence[Message]) -> str:
    last = messages[-1].text
    if "how this user likes answers" in last:
        return "This user wants shorter answers."
    return "Here is one short river answer." if "shorter" in last else "Rivers vary a good deal."


class Clock:
    """The time, moved forward as far as a test says."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return now() + self.ahead


class House:
    def __init__(self, database: Database | None = None, **settings: Any) -> None:
        self.log, self.clock = MemoryEventLog(), Clock()
        self.database = database or Database("sqlite://", METADATA)
        self.chat = ScriptedChat(script)
        self.scorer = ScriptedScorer(lambda text: -len(text.split()) / 10.0)
        self.settings = FeedbackSettings(
            **{"conversation_quiet_s": 0.0, "ubr_share": 0.0, **settings}
        )
        self.tracker = MemoryHeadTracker()
        self.start()

    def start(self) -> None:
        """As a process starts: on the same log and database."""
        ports = Ports(
            HashingEmbedder(),
            self.chat,
            self.scorer,
            self.tracker,
            KeywordModerator(),
            Redactor(),
        )
        self.rooms = wire(Ground(self.settings, self.database, self.log, self.clock), ports)
        self.parts = parts_of(self.rooms)
        keyword = KeywordClassifier(HashingEmbedder(), self.parts.classifier.head, 0.5)
        object.__setattr__(self.parts.judge.judge, "classifier", keyword)

    def wait(self, seconds: float) -> None:
        self.clock.ahead += timedelta(seconds=seconds)

    def log_turns(self, *turns: common.Turn) -> None:
        self.log.publish([turn_event(turn) for turn in turns])

    def chat_with(
        self,
        user: str,
        conversation: str,
        *texts: str,
        channel: str = "openai",
        tenant: str = "local",
    ) -> None:
        """Texts of user and assistant in turn, from 0."""
        self.log_turns(
            *(
                turn(user, conversation, index, text, channel=channel, tenant=tenant)
                for index, text in enumerate(texts)
            )
        )

    def give(self, feedback: common.ExplicitFeedback) -> None:
        value = events.FeedbackGiven(feedback=feedback).SerializeToString()
        key = f"tenants/{feedback.tenant}/conversations/{feedback.conversation_id or 'unknown'}"
        event = Event(FEEDBACK_GIVEN, f"given.{feedback.feedback_id}", key, value, "t", NOW)
        self.log.publish([event])

    def belongs(
        self,
        user: str,
        *groups: str,
        version: int = 1,
        tenant: str = "local",
        removed: bool = False,
    ) -> None:
        """The reward service says that the user is in the groups: segments as `key=value`."""
        segments = dict(name.split("=", 1) for name in groups if "=" in name)
        member = people.Membership(
            tenant=tenant,
            user_id=user,
            version=version,
            group=next((name for name in groups if "=" not in name), ""),
            segments=segments,
            removed=removed,
        )
        value = events.MembershipUpdated(membership=member).SerializeToString()
        event_id = (
            f"{tenant}.{user}.{version}.{removed}.{len(self.log.records(MEMBERSHIP_UPDATED))}"
        )
        self.log.publish([Event(MEMBERSHIP_UPDATED, event_id, f"{tenant}.{user}", value, "t", NOW)])

    def settle(self) -> None:
        """Until nothing is left to do."""
        drain(self.parts.people)
        drain(self.parts.turns)
        drain(self.parts.explicit)
        drain(self.parts.preferences)
        for _ in range(50):
            busy = self.parts.judge.once() + self.parts.sweep.once()
            busy += sum(worker.run_once() for worker in self.parts.workers.values())
            busy += self.parts.filter.once()
            if not busy:
                break
        while self.parts.relay.relay_once():
            continue

    def published(self, topic: str, kind: Any) -> list[Any]:
        return [kind.FromString(record.event.value) for record in self.log.records(topic)]

    def counts(self, stage: str) -> dict[tuple[str, str], int]:
        return {(o, r): n for s, o, r, n in self.database.counts() if s == stage and n}

    def adds_up(self) -> bool:
        sums: dict[str, Counter[str]] = {}
        for stage, outcome, _, n in self.database.counts():
            sums.setdefault(stage, Counter())[outcome] += n
        return all(
            s["taken"] == s["made"] + s["abstained"] + s["dropped"] + s["waiting"]
            for s in sums.values()
        )


def parts_of(rooms: Rooms) -> SimpleNamespace:
    """What tests step by hand."""
    mining, pairs, heads = rooms.mining, rooms.pairs, rooms.heads
    return SimpleNamespace(
        people=rooms.people,
        turns=mining.turns,
        explicit=mining.explicit,
        preferences=pairs.preferences,
        judge=mining.judge,
        sweep=mining.sweep,
        late=mining.late,
        unsure=mining.unsure,
        trust=mining.trust,
        classifier=mining.classifier,
        requests=mining.judge.judge.consequences,
        feedback=mining.reads,
        judgements=mining.judgements,
        personas=rooms.personas.reads,
        pairs=pairs.reads,
        filter=pairs.filter,
        heads=heads.reads,
        head_schedule=heads.schedule,
        head_workers=heads.workers,
        workers={
            **rooms.personas.workers,
            **pairs.workers,
            mining.unsure_worker.kind: mining.unsure_worker,
        },
        relay=rooms.relay,
        erasing=rooms.erasing,
        mount=lambda: mount(rooms.servicer()),
    )


def work_of(transaction: Transaction) -> UnitOfWork:
    return UnitOfWork(transaction, time.time)


def turn(
    user: str,
    conversation: str,
    index: int,
    text: str,
    *,
    channel: str = "openai",
    role: str = "",
    tenant: str = "local",
) -> common.Turn:
    role = role or ("assistant" if index % 2 else "user")
    made = common.Turn(
        tenant=tenant,
        conversation_id=conversation,
        index=index,
        turn_id=f"t{index}",
        message=encode_message(text_message(role, text)),
        user_id=user,
        model_version="assistant-v0" if role == "assistant" else "",
        completion_id=f"{conversation}-{index}" if role == "assistant" else "",
        channel=channel,
    )
    made.create_time.FromDatetime(NOW + timedelta(seconds=index))
    return made


def turn_event(logged: common.Turn) -> Event:
    key = f"tenants/{logged.tenant}/conversations/{logged.conversation_id}"
    value = events.InteractionLogged(turn=logged).SerializeToString()
    return Event(INTERACTION_LOGGED, f"{key}/{logged.turn_id}", key, value, "test", NOW)

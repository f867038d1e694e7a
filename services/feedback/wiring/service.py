"""The whole service over its ports."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from services.feedback.adapters.erasing import FeedbackRemover
from services.feedback.grpc_api import FeedbackServicer, Reads
from services.feedback.heads.adapters.sql_heads import SqlHeadReads
from services.feedback.heads.ports import HeadTracker
from services.feedback.mining.adapters.sql_reads import SqlFeedbackReads
from services.feedback.mining.ports import ChatModel, Embedder
from services.feedback.pairs.app.proposing import Propose
from services.feedback.pairs.ports import Moderator, RewardScorer
from services.feedback.people.app.following import STAGE as PEOPLE
from services.feedback.people.stages import MembershipsHandler
from services.feedback.personas.adapters.sql_personas import SqlPersonaReads
from services.feedback.wiring.ground import Ground
from services.feedback.wiring.heads import HeadRoom, classifier_of, load_shipped, wire_heads
from services.feedback.wiring.mining import MiningRoom, wire_mining
from services.feedback.wiring.pairs import PairRoom, requests_of, screen_of, wire_pairs
from services.feedback.wiring.personas import PersonaRoom, wire_personas
from shared.privacy.erasure import Erasing
from shared.redaction.redactor import Redactor
from shared.serving.process import Background
from shared.state import operations
from shared.state.outbox import OutboxRelay
from shared.state.stage import SqlStage


@dataclass(frozen=True, slots=True)
class Ports:
    """What the service needs from outside."""

    embedder: Embedder
    chat: ChatModel
    scorer: RewardScorer
    tracker: HeadTracker
    moderator: Moderator
    redactor: Redactor


@dataclass(frozen=True, slots=True)
class Rooms:
    ground: Ground
    people: SqlStage
    mining: MiningRoom
    personas: PersonaRoom
    pairs: PairRoom
    heads: HeadRoom
    relay: OutboxRelay
    erasing: Erasing

    def background(self) -> list[Background]:
        return [
            (PEOPLE, self.people.run),
            *self.mining.background(self.ground),
            *self.personas.background(self.ground),
            *self.pairs.background(self.ground),
            *self.heads.background(self.ground),
            ("outbox", self.relay.run),
            *self.erasing.background(),
        ]

    def servicer(self) -> FeedbackServicer:
        mining = self.mining
        return FeedbackServicer(
            Reads(
                mining.reads,
                self.personas.reads,
                self.pairs.reads,
                self.heads.reads,
                mining.judgements,
            ),
            mining.classifier,
            self.personas.care,
            self.ground.settings.heads_schedule,
            mining.trust,
            self.heads.control,
            partial(operations.get, self.ground.database),
        )


def wire(ground: Ground, ports: Ports) -> Rooms:
    settings, database = ground.settings, ground.database
    shipped, feedback = load_shipped(), SqlFeedbackReads(database)
    heads = SqlHeadReads(database, shipped.name, shipped.dissatisfaction)
    classifier = classifier_of(ground, shipped, heads, ports.embedder)
    propose = Propose(screen_of(settings, ports.moderator))
    personas = SqlPersonaReads(database)
    return Rooms(
        ground,
        MembershipsHandler(ground.work_of).stage(database, ground.log),
        wire_mining(ground, feedback, classifier, ports.chat, requests_of(settings, propose)),
        wire_personas(ground, feedback, ports.chat, ports.redactor.text),
        wire_pairs(ground, feedback, personas, ports.chat, ports.scorer, propose),
        wire_heads(ground, heads, shipped, classifier, ports.tracker),
        OutboxRelay(database, ground.log),
        Erasing("feedback", database, ground.log, FeedbackRemover(database)),
    )

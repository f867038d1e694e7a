"""Wires the feedback service: `python -m services.feedback.main`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from services.feedback.adapters.erasing import FeedbackRemover, SqlHoldings
from services.feedback.adapters.grpc_reward import GrpcRewardScorer
from services.feedback.adapters.mlflow_heads import MlflowHeads
from services.feedback.adapters.offensive import LinearModerator
from services.feedback.adapters.sql_heads import SqlHeads
from services.feedback.adapters.sql_judgements import SqlJudgements
from services.feedback.adapters.sql_shelf import SqlShelf
from services.feedback.adapters.tracer import FeedbackTracer
from services.feedback.adapters.vllm_chat import VllmChat
from services.feedback.app import explicit as explicit_app
from services.feedback.app import mining, preferences, unsure
from services.feedback.app.classifier import Classifier, load_head
from services.feedback.app.contrasts import Contrast
from services.feedback.app.dissatisfaction import load_dissatisfaction
from services.feedback.app.explicit import JoinExplicit
from services.feedback.app.heads.refit import FIT_JOB, TRACK_JOB, RefitHead
from services.feedback.app.heads.serving import NoOwnHeads, shipped_name
from services.feedback.app.mining import JudgeFollowUps, TakeTurn
from services.feedback.app.pairs import FilterPairs, ProposeRewrite, SampleUnderPersona
from services.feedback.app.persona_lines import Evidence
from services.feedback.app.personas import WritePersona
from services.feedback.app.ports import ChatModel, Embedder, HeadTracker, Moderator, RewardScorer
from services.feedback.app.preferences import TakePreference
from services.feedback.app.proposing import Propose, Screen
from services.feedback.app.requests import (
    PERSONA_OF_COMPLAINT,
    PERSONA_OF_TURNS,
    REWRITE_BACKLOG,
    REWRITE_LIVE,
    SAMPLE,
    Limits,
    Requests,
    nothing,
)
from services.feedback.app.unsure import JudgeUnsure
from services.feedback.consumer import (
    ExplicitHandler,
    ExplicitSweep,
    PreferencesHandler,
    TurnsHandler,
)
from services.feedback.grpc_api import FeedbackServicer
from services.feedback.head_workers import HeadFits, HeadSchedule, HeadTracking
from services.feedback.settings import FeedbackSettings
from services.feedback.workers import (
    FilterLoop,
    JudgeLoop,
    LateFollowUps,
    PairJobs,
    PersonaJobs,
    UnsureJobs,
    paced,
    repeat,
)
from shared.calls.client import calling_of, channel
from shared.calls.server import Mount
from shared.configuration.settings import CommonSettings, load
from shared.encoding.sentences import SentenceEncoder
from shared.gen.trimtab.feedback.v1.feedback_pb2_grpc import add_FeedbackServiceServicer_to_server
from shared.language.times import now
from shared.language.topics import FEEDBACK_GIVEN, INTERACTION_LOGGED, PREFERENCE_GIVEN
from shared.log.events import EventLog
from shared.privacy import holdings as personal_data
from shared.privacy.erasure import Erasing
from shared.redaction.policy import redactor_of
from shared.redaction.redactor import Redactor
from shared.serving.opening import open_event_log
from shared.serving.process import Background, Service, run
from shared.state.database import LOOKS_S, Database
from shared.state.outbox import OutboxRelay
from shared.state.stage import SqlStage
from shared.telemetry.setup import start_telemetry

GROUPS = {
    mining.STAGE: (INTERACTION_LOGGED,),
    explicit_app.STAGE: (FEEDBACK_GIVEN,),
    preferences.STAGE: (PREFERENCE_GIVEN,),
}
HEAD = Path(__file__).parent / "head.npz"
DISSATISFACTION = Path(__file__).parent / "dissatisfaction.npz"


class Parts:
    """The service over its ports; tests build it on twins."""

    def __init__(
        self,
        settings: FeedbackSettings,
        database: Database,
        log: EventLog,
        embedder: Embedder,
        chat: ChatModel,
        scorer: RewardScorer,
        tracker: HeadTracker,
        moderator: Moderator,
        redactor: Redactor | None = None,
    ) -> None:
        self.settings, self.database, self.log = settings, database, log
        self.shelf, self.redactor = SqlShelf(database), redactor or Redactor()
        self._wire_heads(embedder, tracker)
        limits, self.propose = _limits(settings), Propose(_screen(settings, moderator))
        contrast = Contrast(limits, self.propose, settings.contrast_min_gap)
        self.requests = Requests(limits, contrast)
        join = JoinExplicit(
            self.requests,
            self.propose,
            settings.context_messages,
            settings.context_characters,
            settings.conversation_quiet_s,
        )
        self.turns = SqlStage(
            mining.STAGE, database, log, [INTERACTION_LOGGED], TurnsHandler(TakeTurn(self.requests))
        )
        self.explicit = SqlStage(
            explicit_app.STAGE, database, log, [FEEDBACK_GIVEN], ExplicitHandler(join)
        )
        self.preferences = SqlStage(
            preferences.STAGE,
            database,
            log,
            [PREFERENCE_GIVEN],
            PreferencesHandler(TakePreference(self.requests.limits, self.propose)),
        )
        self.relay = OutboxRelay(database, log)
        self.sweep = ExplicitSweep(database, join, self._turns_lag, settings.explicit_wait_s)
        self.late = LateFollowUps(database, self.shelf, self._turns_lag, settings.answer_wait_s)
        self.judge = JudgeLoop(
            database,
            self.shelf,
            JudgeFollowUps(
                self.classifier,
                self.requests,
                unsure=unsure.ask_later if settings.judge_unsure else nothing,
            ),
            settings.judge_batch,
            settings.context_messages,
            settings.context_characters,
        )
        self.erasing = Erasing("feedback", database, log, FeedbackRemover(database))
        self._wire_writers(chat, scorer)

    def _wire_heads(self, embedder: Embedder, tracker: HeadTracker) -> None:
        settings, database = self.settings, self.database
        kinds, shipped = load_head(HEAD), load_dissatisfaction(DISSATISFACTION)
        name = shipped_name(kinds.weights, kinds.bias, shipped.weights, np.array(shipped.bias))
        self.heads = SqlHeads(database, name, shipped)
        self.classifier = Classifier(
            embedder,
            kinds,
            settings.abstain_below or kinds.threshold,
            shipped,
            self.heads if settings.heads_serve else NoOwnHeads(),
            name,
        )
        refit = RefitHead(self.classifier, shipped, settings.refit_rules())
        self.head_schedule = HeadSchedule(database, self.heads, settings.heads_schedule, now)
        self.head_workers = {
            FIT_JOB: HeadFits(database, self.heads, refit, name, now).worker(),
            TRACK_JOB: HeadTracking(database, self.heads, tracker).worker(),
        }

    def _wire_writers(self, chat: ChatModel, scorer: RewardScorer) -> None:
        settings, database, shelf = self.settings, self.database, self.shelf
        least = Evidence(settings.persona_min_stated, settings.persona_min_inferred)
        personas = PersonaJobs(database, WritePersona(shelf, chat, least))
        writing = {"temperature": settings.temperature}
        rewrites = PairJobs(
            database,
            shelf,
            ProposeRewrite(
                shelf,
                chat,
                scorer,
                self.propose,
                settings.rewrite_samples,
                max_tokens=settings.candidate_max_tokens,
                **writing,
            ),
            "CANDIDATES",
        )
        samples = PairJobs(
            database,
            shelf,
            SampleUnderPersona(
                shelf,
                chat,
                scorer,
                self.propose,
                settings.ubr_samples,
                settings.ubr_min_margin,
                max_tokens=settings.candidate_max_tokens,
                **writing,
            ),
            "SAMPLES",
        )
        self.judgements = SqlJudgements(database)
        self.unsure = UnsureJobs(
            database,
            shelf,
            self.judgements,
            JudgeUnsure(chat, self.requests, settings.judge_votes),
            settings.trust_rules(),
        )
        self.filter = FilterLoop(database, shelf, FilterPairs(scorer))
        self.workers = {
            PERSONA_OF_COMPLAINT: personas.worker(PERSONA_OF_COMPLAINT),
            PERSONA_OF_TURNS: personas.worker(PERSONA_OF_TURNS),
            REWRITE_LIVE: rewrites.worker(REWRITE_LIVE, settings.llm_threads),
            REWRITE_BACKLOG: rewrites.worker(REWRITE_BACKLOG),
            SAMPLE: samples.worker(SAMPLE),
            unsure.JOB: self.unsure.worker(),
        }

    def background(self) -> list[Background]:
        settings = self.settings
        pace = {
            PERSONA_OF_COMPLAINT: settings.persona_complaint_max_per_minute,
            PERSONA_OF_TURNS: settings.persona_max_per_minute,
            REWRITE_BACKLOG: settings.rewrite_backlog_max_per_minute,
            SAMPLE: settings.ubr_max_per_minute,
            unsure.JOB: settings.judge_max_per_minute,
        }
        return [
            ("turns", self.turns.run),
            ("explicit", self.explicit.run),
            ("preferences", self.preferences.run),
            ("outbox", self.relay.run),
            *self.erasing.background(),
            ("judge", repeat(self.judge.once, LOOKS_S, self.database)),
            ("sweep", repeat(_idle(self.sweep.sweep_once), 1.0)),
            ("late", repeat(_idle(self.late.once), 5.0)),
            ("filter", repeat(self.filter.once, settings.filter_every_s)),
            ("heads", repeat(_idle(self.head_schedule.once), 10.0)),
            *((kind, worker.run) for kind, worker in self.head_workers.items()),
            (REWRITE_LIVE, self.workers[REWRITE_LIVE].run),
            *(
                (kind, paced(self.workers[kind], rate, self._before(kind)))
                for kind, rate in pace.items()
            ),
        ]

    @staticmethod
    def _before(kind: str) -> tuple[str, ...]:
        """Complaints of live users come first; their personas do not wait for their rewrites."""
        return () if kind == PERSONA_OF_COMPLAINT else (REWRITE_LIVE, PERSONA_OF_COMPLAINT)

    def mount(self) -> Mount:
        servicer = FeedbackServicer(
            self.database,
            self.shelf,
            self.classifier,
            self.redactor,
            self.heads,
            self.settings.heads_schedule,
            self.unsure,
        )
        return (
            "trimtab.feedback.v1.FeedbackService",
            partial(add_FeedbackServiceServicer_to_server, servicer),
        )

    def _turns_lag(self) -> int:
        return self.log.lag(mining.STAGE, [INTERACTION_LOGGED])[INTERACTION_LOGGED]


def main() -> None:
    common, settings = load(CommonSettings), load(FeedbackSettings)
    start_telemetry("feedback", level=common.log_level, otlp_endpoint=common.otlp_endpoint)
    database = Database(settings.database_url, revisions=Path(__file__).with_name("migrations"))
    log = open_event_log(common)
    parts = Parts(
        settings,
        database,
        log,
        SentenceEncoder(
            common.encoder, threads=settings.encoder_threads, max_tokens=settings.encoder_tokens
        ),
        VllmChat(common.vllm_replicas, common.base_model_name),
        GrpcRewardScorer(
            channel(common.reward_address, calling_of(common)), settings.reward_min_pairs
        ),
        MlflowHeads(common.mlflow_url),
        LinearModerator(),
        redactor_of(common, "feedback"),
    )
    run(
        Service(
            name="feedback",
            common=common,
            settings=settings,
            database=database,
            log=log,
            mounts=[parts.mount(), personal_data.mount("feedback", SqlHoldings(database))],
            background=parts.background(),
            groups={**GROUPS, **parts.erasing.groups},
            tracer=FeedbackTracer(database),
        )
    )


def _limits(settings: FeedbackSettings) -> Limits:
    channels = tuple(name.strip() for name in settings.live_channels.split(",") if name.strip())
    return Limits(
        persona_min_turns=settings.persona_min_turns,
        pairs_per_user_day=settings.pairs_per_user_day,
        ubr_per_user_day=settings.ubr_per_user_day,
        ubr_share=settings.ubr_share,
        rewrite_min_probability=settings.rewrite_min_probability,
        live_channels=channels,
    )


def _screen(settings: FeedbackSettings, moderator: Moderator) -> Screen:
    return Screen(
        least_words=settings.prompt_min_words,
        leak_share=settings.leak_share,
        duplicate_jaccard=settings.duplicate_jaccard,
        same_language=settings.same_language,
        moderator=moderator,
        max_offence=settings.max_offence,
    )


def _idle(once: Callable[[], int]) -> Callable[[], int]:
    """Sweeps look at everything each time: none follows another at once."""

    def swept() -> int:
        once()
        return 0

    return swept


if __name__ == "__main__":
    main()

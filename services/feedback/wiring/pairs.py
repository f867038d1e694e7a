"""Preference pairs: what is asked for, written, screened and judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from services.feedback.mining.ports import ChatModel, FeedbackReads
from services.feedback.pairs.adapters.sql_pairs import SqlPairReads
from services.feedback.pairs.app.contrasts import Contrast
from services.feedback.pairs.app.demonstrations import Demonstrate
from services.feedback.pairs.app.limits import UserLimits
from services.feedback.pairs.app.making import FilterPairs, ProposeRewrite, SampleUnderPersona
from services.feedback.pairs.app.preferences import STAGE, TakePreference
from services.feedback.pairs.app.proposing import Propose, Screen
from services.feedback.pairs.app.requests import Requests
from services.feedback.pairs.domain import REWRITE_BACKLOG, REWRITE_LIVE, SAMPLE
from services.feedback.pairs.jobs import FilterLoop, PairJobs
from services.feedback.pairs.ports import Moderator, RewardScorer
from services.feedback.pairs.stages import PreferencesHandler
from services.feedback.personas.domain import PERSONA_OF_COMPLAINT
from services.feedback.personas.ports import PersonaReads
from services.feedback.settings import FeedbackSettings
from services.feedback.wiring.ground import Ground
from services.feedback.wiring.pacing import Pace
from shared.serving.process import Background
from shared.state.jobs import Worker
from shared.state.loop import repeat
from shared.state.stage import SqlStage


@dataclass(frozen=True, slots=True)
class PairRoom:
    reads: SqlPairReads
    preferences: SqlStage
    filter: FilterLoop
    workers: Mapping[str, Worker]

    def background(self, ground: Ground) -> list[Background]:
        settings = ground.settings
        paces = {
            REWRITE_BACKLOG: settings.rewrite_backlog_max_per_minute,
            SAMPLE: settings.ubr_max_per_minute,
        }
        first = (REWRITE_LIVE, PERSONA_OF_COMPLAINT)
        return [
            (STAGE, self.preferences.run),
            ("filter", repeat("filter", self.filter.once, idle_s=settings.filter_every_s)),
            (REWRITE_LIVE, self.workers[REWRITE_LIVE].run),
            *((kind, Pace(self.workers[kind], rate, first).run) for kind, rate in paces.items()),
        ]


def requests_of(settings: FeedbackSettings, propose: Propose) -> Requests:
    limits = limits_of(settings)
    contrast = Contrast(limits, propose, settings.contrast_min_gap)
    return Requests(limits, contrast, Demonstrate(limits, propose))


def wire_pairs(
    ground: Ground,
    feedback: FeedbackReads,
    personas: PersonaReads,
    chat: ChatModel,
    scorer: RewardScorer,
    propose: Propose,
) -> PairRoom:
    settings, database, reads = ground.settings, ground.database, SqlPairReads(ground.database)
    ports = (personas, chat, scorer, propose)
    writing = (settings.temperature, settings.candidate_max_tokens)
    rewrite = ProposeRewrite(*ports, settings.rewrite_samples, *writing)
    sample = SampleUnderPersona(*ports, settings.ubr_samples, settings.ubr_min_margin, *writing)
    rewrites = PairJobs(database, feedback, rewrite, ground.work_of, "CANDIDATES")
    samples = PairJobs(database, feedback, sample, ground.work_of, "SAMPLES")
    take = PreferencesHandler(TakePreference(limits_of(settings), propose), ground.work_of)
    return PairRoom(
        reads,
        take.stage(database, ground.log),
        FilterLoop(
            database,
            reads,
            FilterPairs(scorer),
            ground.work_of,
            ground.now,
            most_waiting=settings.pairs_max_waiting,
        ),
        {
            REWRITE_LIVE: rewrites.worker(REWRITE_LIVE, settings.llm_threads),
            REWRITE_BACKLOG: rewrites.worker(REWRITE_BACKLOG),
            SAMPLE: samples.worker(SAMPLE),
        },
    )


def limits_of(settings: FeedbackSettings) -> UserLimits:
    channels = tuple(name.strip() for name in settings.live_channels.split(",") if name.strip())
    return UserLimits(
        persona_min_turns=settings.persona_min_turns,
        pairs_per_user_day=settings.pairs_per_user_day,
        ubr_per_user_day=settings.ubr_per_user_day,
        ubr_share=settings.ubr_share,
        rewrite_min_probability=settings.rewrite_min_probability,
        live_channels=channels,
    )


def screen_of(settings: FeedbackSettings, moderator: Moderator) -> Screen:
    return Screen(
        least_words=settings.prompt_min_words,
        leak_share=settings.leak_share,
        duplicate_jaccard=settings.duplicate_jaccard,
        same_language=settings.same_language,
        moderator=moderator,
        max_offence=settings.max_offence,
    )

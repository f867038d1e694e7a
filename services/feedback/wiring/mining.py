"""Mining: from turns and explicit feedback to labels."""

from __future__ import annotations

from dataclasses import dataclass

from services.feedback.mining.adapters.sql_judgements import SqlJudgementReads, SqlJudgementWrites
from services.feedback.mining.adapters.sql_reads import SqlFeedbackReads
from services.feedback.mining.adapters.sql_waiting import SqlWaiting, SqlWaitingReads
from services.feedback.mining.app import unsure
from services.feedback.mining.app.agreement import Trust
from services.feedback.mining.app.classifier import Classifier
from services.feedback.mining.app.explicit import STAGE as EXPLICIT
from services.feedback.mining.app.explicit import JoinExplicit
from services.feedback.mining.app.follow_ups import STAGE as TURNS
from services.feedback.mining.app.follow_ups import JudgeFollowUps, TakeTurn, nothing
from services.feedback.mining.app.unsure import JudgeUnsure
from services.feedback.mining.jobs import ExplicitSweep, JudgeLoop, LateFollowUps, UnsureJobs
from services.feedback.mining.ports import ChatModel, Consequences
from services.feedback.mining.stages import ExplicitHandler, TurnsHandler
from services.feedback.pairs.domain import REWRITE_LIVE
from services.feedback.pairs.ports import PairWork
from services.feedback.personas.domain import PERSONA_OF_COMPLAINT
from services.feedback.tables import EXPLICIT as WAITING
from services.feedback.tables import PENDING
from services.feedback.wiring.ground import Ground
from services.feedback.wiring.pacing import Pace
from shared.serving.process import Background
from shared.state.jobs import Worker
from shared.state.loop import repeat
from shared.state.stage import SqlStage


@dataclass(frozen=True, slots=True)
class MiningRoom:
    reads: SqlFeedbackReads
    judgements: SqlJudgementReads
    trust: Trust
    classifier: Classifier
    turns: SqlStage
    explicit: SqlStage
    judge: JudgeLoop[PairWork]
    sweep: ExplicitSweep[PairWork]
    late: LateFollowUps
    unsure: UnsureJobs[PairWork]
    unsure_worker: Worker

    def background(self, ground: Ground) -> list[Background]:
        database = ground.database
        pace = Pace(
            self.unsure_worker,
            ground.settings.judge_max_per_minute,
            (REWRITE_LIVE, PERSONA_OF_COMPLAINT),
        )
        return [
            (TURNS, self.turns.run),
            (EXPLICIT, self.explicit.run),
            ("judge", repeat("judge", self.judge.once, wake=database.waker(PENDING))),
            (
                "sweep",
                repeat(
                    "sweep", self.sweep.once, idle_s=self.sweep.rest_s, wake=database.waker(WAITING)
                ),
            ),
            ("late", repeat("late", self.late.once)),
            (unsure.JOB, pace.run),
        ]


def wire_mining(
    ground: Ground,
    reads: SqlFeedbackReads,
    classifier: Classifier,
    chat: ChatModel,
    consequences: Consequences[PairWork],
) -> MiningRoom:
    settings, database, log = ground.settings, ground.database, ground.log
    judgements = SqlJudgementReads(database)
    trust = Trust(judgements, chat.name, settings.trust_rules())
    join = JoinExplicit(
        consequences,
        settings.context_messages,
        settings.context_characters,
        settings.conversation_quiet_s,
    )
    asked = _unsure(ground, reads, JudgeUnsure(chat, consequences, settings.judge_votes), trust)
    return MiningRoom(
        reads=reads,
        judgements=judgements,
        trust=trust,
        classifier=classifier,
        turns=TurnsHandler(TakeTurn(consequences), ground.work_of).stage(database, log),
        explicit=_explicit(ground, join).stage(database, log),
        judge=_judge(ground, reads, classifier, consequences),
        sweep=_sweep(ground, join),
        late=_late(ground, reads),
        unsure=asked,
        unsure_worker=asked.worker(),
    )


def _judge(
    ground: Ground,
    reads: SqlFeedbackReads,
    classifier: Classifier,
    consequences: Consequences[PairWork],
) -> JudgeLoop[PairWork]:
    settings = ground.settings
    about_abstentions = unsure.ask_later if settings.judge_unsure else nothing
    judge = JudgeFollowUps(classifier, consequences, unsure=about_abstentions)
    context = (settings.context_messages, settings.context_characters)
    return JudgeLoop(ground.database, reads, judge, ground.work_of, settings.judge_batch, *context)


def _unsure(
    ground: Ground, reads: SqlFeedbackReads, judge: JudgeUnsure[PairWork], trust: Trust
) -> UnsureJobs[PairWork]:
    writes = SqlJudgementWrites
    return UnsureJobs(ground.database, reads, judge, trust, ground.work_of, writes, ground.clock)


def _explicit(ground: Ground, join: JoinExplicit[PairWork]) -> ExplicitHandler[PairWork]:
    settings = ground.settings
    bounds = (settings.explicit_wait_s, settings.explicit_max_waiting)
    return ExplicitHandler(join, ground.work_of, SqlWaiting, ground.now, *bounds)


def _sweep(ground: Ground, join: JoinExplicit[PairWork]) -> ExplicitSweep[PairWork]:
    return ExplicitSweep(
        ground.database,
        join,
        ground.work_of,
        SqlWaitingReads(ground.database),
        SqlWaiting,
        ground.turns_lag,
        ground.settings.explicit_wait_s,
        ground.now,
    )


def _late(ground: Ground, reads: SqlFeedbackReads) -> LateFollowUps:
    settings = ground.settings
    return LateFollowUps(
        ground.database,
        reads,
        ground.work_of,
        ground.turns_lag,
        settings.answer_wait_s,
        settings.follow_ups_max_waiting,
        ground.now,
    )

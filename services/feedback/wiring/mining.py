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
    context = (settings.context_messages, settings.context_characters)
    join = JoinExplicit(consequences, *context, settings.conversation_quiet_s)
    judgements = SqlJudgementReads(database)
    judge = JudgeFollowUps(
        classifier, consequences, unsure=unsure.ask_later if settings.judge_unsure else nothing
    )
    trust = Trust(judgements, chat.name, settings.trust_rules())
    asked = UnsureJobs(
        database,
        reads,
        JudgeUnsure(chat, consequences, settings.judge_votes),
        trust,
        ground.work_of,
        SqlJudgementWrites,
        ground.clock,
    )
    explicit = ExplicitHandler(
        join,
        ground.work_of,
        SqlWaiting,
        ground.now,
        settings.explicit_wait_s,
        settings.explicit_max_waiting,
    )
    return MiningRoom(
        reads=reads,
        judgements=judgements,
        trust=trust,
        classifier=classifier,
        turns=TurnsHandler(TakeTurn(consequences), ground.work_of).stage(database, log),
        explicit=explicit.stage(database, log),
        judge=JudgeLoop(database, reads, judge, ground.work_of, settings.judge_batch, *context),
        sweep=ExplicitSweep(
            database,
            join,
            ground.work_of,
            SqlWaitingReads(database),
            SqlWaiting,
            ground.turns_lag,
            settings.explicit_wait_s,
            ground.now,
        ),
        late=LateFollowUps(
            database,
            reads,
            ground.work_of,
            ground.turns_lag,
            settings.answer_wait_s,
            settings.follow_ups_max_waiting,
            ground.now,
        ),
        unsure=asked,
        unsure_worker=asked.worker(),
    )

"""Wires the reward service: `python -m services.reward.main`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from services.reward import grpc_api
from services.reward.adapters.aging import aging
from services.reward.adapters.erasing import RewardRemover
from services.reward.adapters.kept_models import KeptModels
from services.reward.adapters.lineage import RewardLineage
from services.reward.adapters.sql_intake import SqlIntake
from services.reward.adapters.sql_models import SqlModelWriter, SqlRewardModels
from services.reward.adapters.sql_trainings import SqlTrainingRequests
from services.reward.adapters.sql_waiting import SqlScoredAnswers, SqlWaitingAnswers
from services.reward.adapters.tracked_runs import tracked_run
from services.reward.app.featurising import Featuriser
from services.reward.app.scoring import ScoreAnswers
from services.reward.app.taking import TakeData, TakeTurn
from services.reward.app.training import TrainModel
from services.reward.jobs import SCORING, Scoring, Tracking, Trainings
from services.reward.learning.features import MOST_TOKENS
from services.reward.learning.people import Probabilities
from services.reward.people import grpc_api as people_api
from services.reward.people.adapters.sql_evidence import SqlEvidence
from services.reward.people.adapters.sql_memberships import SqlMembershipReads, SqlMemberships
from services.reward.people.app.correcting import CorrectMembership
from services.reward.people.app.declaring import NoteUser
from services.reward.people.app.learning import KeepLearnt, KeepNames, LearnMemberships
from services.reward.people.jobs import LEARNING, Learning, Sweeps
from services.reward.ports import RewardModels
from services.reward.settings import RewardSettings
from services.reward.stages import GROUPS, Intakes
from shared.calls.server import Mount
from shared.configuration.settings import CommonSettings, load
from shared.encoding.sentences import SentenceEncoder
from shared.language.times import now
from shared.privacy import holdings as personal_data
from shared.privacy.erasure import Erasing
from shared.redaction.policy import redactor_of
from shared.serving import operations_api
from shared.serving.heap import returning_memory
from shared.serving.opening import open_event_log
from shared.serving.process import Background, Service, run
from shared.state import operations
from shared.state.database import Database
from shared.state.outbox import OutboxRelay
from shared.state.sessions import SqlStore
from shared.telemetry.setup import start_telemetry
from shared.tracking.mlflow_tracker import MlflowTracker


def build(common: CommonSettings, settings: RewardSettings) -> Service:
    database = Database(settings.database_url, revisions=Path(__file__).with_name("migrations"))
    log = open_event_log(common)
    rules = settings.rules()
    models = KeptModels(SqlRewardModels(database), settings.kept_models)
    encoder = SentenceEncoder(common.encoder, max_tokens=MOST_TOKENS, cached=settings.cached_texts)
    featuriser = Featuriser(encoder)
    score = ScoreAnswers(featuriser, models, rules.folds)
    intakes = Intakes(
        TakeData(rules),
        TakeTurn(settings.backlog),
        SqlIntake,
        NoteUser(settings.segment_keys, now, settings.stated_wishes),
        SqlMemberships,
    )
    memberships = SqlMembershipReads(database)
    scoring = Scoring(
        database,
        SqlWaitingAnswers(database),
        SqlScoredAnswers,
        score,
        memberships.groups_of,
        now,
        settings.score_batch,
    )
    train = TrainModel(
        featuriser, models, rules, memberships.groups_of, words_divide=settings.words_divide
    )
    remover = RewardRemover(database)
    erasing = Erasing("reward", database, log, remover)
    return Service(
        name="reward",
        common=common,
        settings=settings,
        database=database,
        log=log,
        mounts=[
            _mount(database, models, score),
            _people(common, database, memberships),
            operations_api.mount(database),
            personal_data.mount("reward", remover.holdings),
        ],
        background=[
            *((stage.name, stage.run) for stage in intakes.stages(database, log)),
            *_jobs(common, database, train, models, memberships),
            *_learning(database, models, memberships, featuriser),
            (SCORING, scoring.run),
            returning_memory(),
            ("outbox", OutboxRelay(database, log).run),
            *erasing.background(),
        ],
        groups={**GROUPS, **erasing.groups},
        lineage=RewardLineage(database),
        aging=aging(),
    )


def _mount(database: Database, models: RewardModels, score: ScoreAnswers) -> Mount:
    trainings, operation = SqlTrainingRequests(database), partial(operations.get, database)
    return grpc_api.mount(grpc_api.RewardServicer(models, score, trainings, operation))


def _people(common: CommonSettings, database: Database, memberships: SqlMembershipReads) -> Mount:
    store = SqlStore(database, SqlMemberships)
    correct = CorrectMembership(store, now, redactor_of(common, "reward").text)
    return people_api.mount(people_api.PeopleServicer(memberships, correct))


def _jobs(
    common: CommonSettings,
    database: Database,
    train: TrainModel,
    models: RewardModels,
    memberships: SqlMembershipReads,
) -> list[Background]:
    tracker = MlflowTracker(common.mlflow_url)
    trainings = Trainings(train, KeepNames(memberships), SqlModelWriter, SqlMemberships, now)
    workers = (
        trainings.worker(database),
        Sweeps(memberships, SqlMemberships).worker(database),
        Tracking(models, SqlModelWriter, tracker, tracked_run).worker(database),
    )
    return [(worker.kind, worker.run) for worker in workers]


def _learning(
    database: Database,
    models: RewardModels,
    memberships: SqlMembershipReads,
    featuriser: Featuriser,
) -> list[Background]:
    probabilities = Probabilities(featuriser)
    learn = LearnMemberships(memberships, SqlEvidence(database), models, probabilities)
    keep = KeepLearnt(SqlStore(database, SqlMemberships), now)
    return [(LEARNING, Learning(memberships, learn, keep).run)]


def main() -> None:
    common, settings = load(CommonSettings), load(RewardSettings)
    start_telemetry("reward", level=common.log_level, otlp_endpoint=common.otlp_endpoint)
    run(build(common, settings))


if __name__ == "__main__":
    main()

"""The reward service: `python -m services.reward.main`."""

from __future__ import annotations

from pathlib import Path

from services.reward import grpc_api
from services.reward.adapters.erasing import RewardRemover
from services.reward.adapters.minilm import MiniLmEncoder
from services.reward.adapters.sql_store import SqlRewardModels
from services.reward.adapters.tracer import RewardTracer
from services.reward.app import Featuriser, ScoreAnswers, TakeData, TakeTurn, TrainModel
from services.reward.consumer import GROUPS, Intakes, Scoring, Tracking, Trainings, background
from services.reward.settings import RewardSettings
from shared.configuration.settings import CommonSettings, load
from shared.language.times import now
from shared.privacy import holdings as personal_data
from shared.privacy.erasure import Erasing
from shared.serving.opening import open_event_log
from shared.serving.process import Service, run
from shared.state import operations
from shared.state.database import Database
from shared.state.outbox import OutboxRelay
from shared.telemetry.setup import start_telemetry
from shared.tracking.mlflow_tracker import MlflowTracker


def build(common: CommonSettings, settings: RewardSettings) -> Service:
    database = Database(settings.database_url, revisions=Path(__file__).with_name("migrations"))
    log = open_event_log(common)
    models, rules = SqlRewardModels(database), settings.rules()
    featuriser = Featuriser(MiniLmEncoder(common.encoder), settings.cached_texts)
    score = ScoreAnswers(featuriser, models, rules.folds)
    intakes = Intakes(TakeData(rules), TakeTurn(settings.backlog))
    workers = [
        Trainings(TrainModel(featuriser, models, rules), now).worker(database),
        Tracking(models, MlflowTracker(common.mlflow_url)).worker(database),
    ]
    scoring = Scoring(database, score, now, settings.score_batch)
    remover = RewardRemover(database)
    erasing = Erasing("reward", database, log, remover)
    servicer = grpc_api.RewardServicer(database, models, score)
    return Service(
        name="reward",
        common=common,
        settings=settings,
        database=database,
        log=log,
        mounts=[
            grpc_api.mount(servicer),
            operations.mount(database),
            personal_data.mount("reward", remover.holdings),
        ],
        background=[
            *background(intakes.stages(database, log), workers, scoring),
            ("outbox", OutboxRelay(database, log).run),
            *erasing.background(),
        ],
        groups={**GROUPS, **erasing.groups},
        tracer=RewardTracer(database),
    )


def main() -> None:
    common, settings = load(CommonSettings), load(RewardSettings)
    start_telemetry("reward", level=common.log_level, otlp_endpoint=common.otlp_endpoint)
    run(build(common, settings))


if __name__ == "__main__":
    main()

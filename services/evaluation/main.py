"""The evaluation service: `python -m services.evaluation.main`."""

from __future__ import annotations

from pathlib import Path

from services.evaluation import grpc_api
from services.evaluation.adapters.erasing import EvaluationRemover
from services.evaluation.adapters.forgetting import UnfinishedEvaluations
from services.evaluation.adapters.reward_client import GrpcRewardScorer
from services.evaluation.adapters.sql_results import SqlAnswers, SqlResults
from services.evaluation.adapters.sql_session import SqlSession, operation_name
from services.evaluation.adapters.subprocess_logprobs import SubprocessLogprobs
from services.evaluation.adapters.vllm_policy import VllmPolicy
from services.evaluation.app.evaluating import EvaluateVersion
from services.evaluation.app.evaluations import Evaluations
from services.evaluation.jobs import Evaluating, Tracking
from services.evaluation.ports import Bench
from services.evaluation.settings import EvaluationSettings
from shared.calls.client import calling_of, channel
from shared.configuration.settings import CommonSettings, load
from shared.encoding.chat import takes_tools
from shared.language.times import now
from shared.privacy import holdings as personal_data
from shared.privacy.erasure import Erasing
from shared.serving import operations_api
from shared.serving.opening import open_event_log
from shared.serving.process import Service, run
from shared.state import operations
from shared.state.database import Database
from shared.state.outbox import OutboxRelay
from shared.state.sessions import SqlStore
from shared.telemetry.setup import start_telemetry
from shared.tracking.mlflow_tracker import MlflowTracker


def build(common: CommonSettings, settings: EvaluationSettings) -> Service:
    database = Database(settings.database_url, revisions=Path(__file__).with_name("migrations"))
    log = open_event_log(common)
    bench = Bench(
        policy=VllmPolicy(
            common.vllm_replicas,
            settings.parallel,
            takes_tools=takes_tools(common.base_model),
        ),
        logprobs=SubprocessLogprobs(common.base_model, bases=[*common.bases.values()]),
        scorer=GrpcRewardScorer(channel(common.reward_address, calling_of(common))),
        answers=SqlAnswers(database),
        results=SqlResults(database),
        limits=settings.limits(),
    )
    store = SqlStore(database, SqlSession)
    evaluating = Evaluating(database, store, SqlSession, EvaluateVersion(bench), now).worker()
    tracking = Tracking(database, store, SqlSession, MlflowTracker(common.mlflow_url)).worker()
    remover = EvaluationRemover(database)
    erasing = Erasing("evaluation", database, log, remover)
    servicer = grpc_api.EvaluationServicer(
        Evaluations(store, now), lambda name: operations.get(database, operation_name(name))
    )
    return Service(
        name="evaluation",
        common=common,
        settings=settings,
        database=database,
        log=log,
        mounts=[
            grpc_api.mount(servicer),
            operations_api.mount(database),
            personal_data.mount("evaluation", remover.holdings),
        ],
        background=[
            (evaluating.kind, evaluating.run),
            (tracking.kind, tracking.run),
            ("outbox", OutboxRelay(database, log).run),
            *erasing.background(),
        ],
        groups=erasing.groups,
        aging=[UnfinishedEvaluations()],
    )


def main() -> None:
    common, settings = load(CommonSettings), load(EvaluationSettings)
    start_telemetry("evaluation", level=common.log_level, otlp_endpoint=common.otlp_endpoint)
    run(build(common, settings))


if __name__ == "__main__":
    main()

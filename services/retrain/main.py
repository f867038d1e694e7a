"""Wires retrain: `python -m services.retrain.main`."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

from services.retrain.adapters.adopting import adopt
from services.retrain.adapters.answer_reader import AnswerReader
from services.retrain.adapters.cluster.job_trainer import JobTrainer
from services.retrain.adapters.cluster.kubernetes_api import connect
from services.retrain.adapters.cluster.template import read
from services.retrain.adapters.erasing import RetrainRemover
from services.retrain.adapters.forgetting import ROWS, AgedSnapshots
from services.retrain.adapters.lineage import RetrainLineage
from services.retrain.adapters.mlflow_runs import MlflowRuns
from services.retrain.adapters.pages.report import page_of
from services.retrain.adapters.peers import GrpcEvaluator, GrpcRegistry
from services.retrain.adapters.policies import GrpcPolicies
from services.retrain.adapters.recipes import SHIPPED, RecipeFolders
from services.retrain.adapters.snapshots import ParquetSnapshots
from services.retrain.adapters.sql_session import SqlSession
from services.retrain.adapters.subprocess_trainer import SubprocessTrainer
from services.retrain.adapters.tables import PAIRS, RUNS
from services.retrain.adapters.training_folder import TrainingFolders
from services.retrain.app.reporting import Reports
from services.retrain.app.retrain import Retrain
from services.retrain.app.runner import Runner
from services.retrain.grpc_api import RetrainServicer
from services.retrain.jobs import (
    SCHEDULE,
    VOLUME,
    WISHES,
    alarm_worker,
    on_schedule,
    on_volume,
    on_wishes,
    walk_runs,
)
from services.retrain.ports import PolicyTrainer
from services.retrain.settings import RetrainSettings
from services.retrain.stages import (
    ALARM_JOB,
    GROUPS,
    alarm_stage,
    pair_stage,
    persona_stage,
    praise_stage,
)
from shared.calls.client import calling_of, channel
from shared.configuration.settings import CommonSettings, load, stop
from shared.gen.trimtab.retrain.v1 import retrain_pb2_grpc as pb_grpc
from shared.language.errors import FailedPrecondition, InvalidArgument
from shared.language.retention import RetentionPolicy
from shared.language.times import now
from shared.privacy import holdings as personal_data
from shared.privacy.erasure import Erasing
from shared.serving import operations_api
from shared.serving.opening import open_event_log
from shared.serving.process import Service, run
from shared.state import operations
from shared.state.database import Database
from shared.state.loop import repeat
from shared.state.outbox import OutboxRelay
from shared.state.sessions import SqlStore
from shared.telemetry.setup import start_telemetry

_LOOKS_AT_AGE_S = 3600.0


def main() -> None:
    common, settings = load(CommonSettings), load(RetrainSettings)
    start_telemetry("retrain", level=common.log_level, otlp_endpoint=common.otlp_endpoint)
    # MLflow may be unavailable; a run must not wait for minutes to find out.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    run(build(common, settings))


def build(common: CommonSettings, settings: RetrainSettings) -> Service:
    database = Database(settings.database_url, revisions=Path(__file__).with_name("migrations"))
    log = open_event_log(common)
    calling = calling_of(common)
    to_registry = channel(common.registry_address, calling)
    registry = GrpcRegistry(to_registry)
    reading = AnswerReader(common.bases).alike
    recipes = recipes_of(settings)
    app = Retrain(
        SqlStore(database, SqlSession),
        replace(settings.rules, base_model=common.base_model_name),
        now,
        GrpcPolicies(to_registry),
        lambda key: registry.champion(key).version,
        reading,
        recipes.get,
    )
    adopt(database, settings.tenant, app.rules)
    snapshots = ParquetSnapshots(settings.snapshots or str(_folder(common) / "snapshots"))
    runner = wire_runner(common, settings, app, snapshots, registry)
    aged = AgedSnapshots(database, snapshots, RetentionPolicy(common.retention), now)
    remover = RetrainRemover(database, snapshots, app)
    erasing = Erasing("retrain", database, log, remover)
    servicer = RetrainServicer(
        app,
        lambda name: operations.get(database, f"operations/{name}"),
        snapshots.place_of,
        Reports(app, snapshots),
        page_of,
        recipes.all,
    )
    add = partial(pb_grpc.add_RetrainServiceServicer_to_server, servicer)
    return Service(
        name="retrain",
        common=common,
        settings=settings,
        database=database,
        log=log,
        mounts=[
            ("trimtab.retrain.v1.RetrainService", add),
            operations_api.mount(database),
            personal_data.mount("retrain", remover.holdings),
        ],
        background=[
            ("pairs", pair_stage(database, log, SqlSession).run),
            ("praised", praise_stage(database, log, SqlSession).run),
            ("personas", persona_stage(database, log, SqlSession).run),
            ("alarms", alarm_stage(database, log).run),
            (ALARM_JOB, alarm_worker(database, app, SqlSession).run),
            (VOLUME, on_volume(app, database.waker(PAIRS))),
            (SCHEDULE, on_schedule(app)),
            (WISHES, on_wishes(app, registry.settled)),
            ("runner", walk_runs(database, runner, database.waker(RUNS))),
            ("snapshots", repeat("retrain.snapshots", aged.once, idle_s=_LOOKS_AT_AGE_S)),
            ("outbox", OutboxRelay(database, log).run),
            *erasing.background(),
        ],
        groups={**GROUPS, **erasing.groups},
        aging=ROWS,
        lineage=RetrainLineage(app.store, snapshots, app.rules_of, reading),
    )


def wire_runner(
    common: CommonSettings,
    settings: RetrainSettings,
    app: Retrain,
    snapshots: ParquetSnapshots,
    registry: GrpcRegistry,
) -> Runner:
    return Runner(
        store=app.store,
        snapshots=snapshots,
        trainer=trainer_of(common, settings),
        evaluator=GrpcEvaluator(channel(common.evaluation_address, calling_of(common))),
        registry=registry,
        recorder=MlflowRuns(common.mlflow_url, now),
        clock=now,
        reading=app.reading,
        software=f"trimtab {version('trimtab')}",
    )


def recipes_of(settings: RetrainSettings) -> RecipeFolders:
    """A wrong recipe stops the start, too: it is found before anybody asks for it."""
    own = Path(settings.recipes)
    if settings.recipes and not own.is_dir():
        stop("TRIMTAB_RETRAIN_RECIPES", f"{own} is no folder")
    folders = RecipeFolders((SHIPPED, own) if settings.recipes else (SHIPPED,))
    try:
        folders.all()
    except InvalidArgument as error:
        stop("TRIMTAB_RETRAIN_RECIPES", error.message)
    return folders


def trainer_of(common: CommonSettings, settings: RetrainSettings) -> PolicyTrainer:
    folders = TrainingFolders(
        _folder(common) / "runs", common.base_model, settings.torch_threads, common.bases
    )
    if settings.trainer == "process":
        return SubprocessTrainer(folders)
    _check_paths(common, settings)
    template = read(settings.job_template, settings.trainer)
    try:
        template.check_mounts(folders.root)
        return JobTrainer(
            folders, connect(settings.job_namespace), template, owner=settings.job_owner
        )
    except ValueError as error:
        stop("TRIMTAB_RETRAIN_JOB_TEMPLATE", str(error))
    except FailedPrecondition as error:
        stop("TRIMTAB_RETRAIN_TRAINER", error.message)


def _check_paths(common: CommonSettings, settings: RetrainSettings) -> None:
    """A pod works in another folder than this service."""
    paths = {"TRIMTAB_DATA": common.data, "TRIMTAB_BASE_MODEL": common.base_model}
    paths |= {f"TRIMTAB_BASE_MODELS: {name}": path for name, path in common.base_models.items()}
    if settings.snapshots and "://" not in settings.snapshots:
        paths["TRIMTAB_RETRAIN_SNAPSHOTS"] = Path(settings.snapshots)
    for name, path in paths.items():
        if not path.is_absolute():
            stop(name, f"{path} must begin with /, so that the pods of training jobs find it, too")


def _folder(common: CommonSettings) -> Path:
    return common.data / "retrain"


if __name__ == "__main__":
    main()

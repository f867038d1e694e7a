"""Wires the registry: `python -m services.registry.main`."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from services.registry.adapters.adapter_bucket import AdapterBucket
from services.registry.adapters.adapter_folder import AdapterFolder
from services.registry.adapters.mlflow_models import MlflowModels
from services.registry.adapters.published_adapters import PublishedAdapters
from services.registry.adapters.retrain_runs import RetrainRuns
from services.registry.adapters.sql_session import SqlSession
from services.registry.adapters.vllm_fleet import VllmFleet
from services.registry.app.judge import Judge
from services.registry.app.keeping import Keeping
from services.registry.app.policies import Policies
from services.registry.app.proving import Proving
from services.registry.app.registry import Registry
from services.registry.app.serving import Serving
from services.registry.domain.versions import Naming
from services.registry.grpc_api.versions import RegistryServicer
from services.registry.grpc_api.watching import RolloutFeed
from services.registry.jobs import alias_worker, clocks, withdrawal_worker
from services.registry.ports import AdapterStore
from services.registry.settings import RegistrySettings
from services.registry.stages import GROUPS, judge_stage, reward_stage
from shared.calls.client import calling_of, channel
from shared.configuration.settings import CommonSettings, load
from shared.gen.trimtab.registry.v1 import registry_pb2_grpc as pb_grpc
from shared.language.times import now
from shared.serving.opening import open_event_log
from shared.serving.process import Service, run
from shared.state.database import Database
from shared.state.outbox import OutboxRelay
from shared.state.sessions import SqlStore
from shared.telemetry.setup import start_telemetry


def main() -> None:
    common, settings = load(CommonSettings), load(RegistrySettings)
    start_telemetry("registry", level=common.log_level, otlp_endpoint=common.otlp_endpoint)
    # Callers retry. MLflow's client would retry for minutes and only hide that MLflow is unavailable.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    run(build(common, settings))


def build(common: CommonSettings, settings: RegistrySettings) -> Service:
    database = Database(settings.database_url, revisions=Path(__file__).with_name("migrations"))
    log = open_event_log(common)
    naming = Naming(settings.tenant)
    store, models = SqlStore(database, SqlSession), MlflowModels(common.mlflow_url, naming)
    fleet = VllmFleet(common.vllm_replicas, settings.replica_timeout_s)
    adapters = _adapters(common, settings)
    arrival_s = settings.arrival_s if common.adapter_url else 0.0
    proving = Proving(store, adapters, fleet, settings.answers_tolerance, arrival_s)
    keeping = Keeping(store, adapters, models, proving, settings.keeping, now)
    app = Registry(store, adapters, models, proving, settings.rules, naming, now, keeping)
    app.open(common.base_model_name)
    judge = Judge(store, proving, settings.rules, now)
    runs = RetrainRuns(channel(common.retrain_address, calling_of(common)))
    policies = Policies(store, fleet, runs, common.base_model_name, common.bases.keys(), now)
    feed = RolloutFeed(database.after_commit)
    servicer = RegistryServicer(
        app, feed, policies=policies, serving=Serving(store), proving=proving, judge=judge
    )
    add = partial(pb_grpc.add_RegistryServiceServicer_to_server, servicer)
    return Service(
        name="registry",
        common=common,
        settings=settings,
        database=database,
        log=log,
        mounts=[("trimtab.registry.v1.RegistryService", add)],
        background=[
            ("judge", judge_stage(database, log, judge, SqlSession).run),
            ("rewards", reward_stage(database, log, judge, SqlSession).run),
            *clocks(judge, keeping, settings.check_every_s, settings.prove_every_s),
            ("aliases", alias_worker(database, store, models, settings.tenant).run),
            ("withdrawals", withdrawal_worker(database, store, adapters, fleet).run),
            ("outbox", OutboxRelay(database, log).run),
        ],
        groups=GROUPS,
    )


def _adapters(common: CommonSettings, settings: RegistrySettings) -> AdapterStore:
    folder = AdapterFolder(common.adapter_dir, common.bases, settings.max_lora_rank)
    if not common.adapter_url:
        return folder
    return PublishedAdapters(folder, AdapterBucket(common.adapter_url))


if __name__ == "__main__":
    main()

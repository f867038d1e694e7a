"""The feedback service's process: `python -m services.feedback.main`."""

from __future__ import annotations

from pathlib import Path

from services.feedback.adapters.aging import AGING
from services.feedback.adapters.erasing import SqlHoldings
from services.feedback.adapters.lineage import FeedbackLineage
from services.feedback.grpc_api import mount
from services.feedback.heads.adapters.mlflow_heads import MlflowHeads
from services.feedback.mining import stages as mining_stages
from services.feedback.mining.adapters.vllm_chat import VllmChat
from services.feedback.pairs import stages as pair_stages
from services.feedback.pairs.adapters.grpc_reward import GrpcRewardScorer
from services.feedback.pairs.adapters.offensive import LinearModerator
from services.feedback.people import stages as people_stages
from services.feedback.settings import FeedbackSettings
from services.feedback.wiring.ground import Ground
from services.feedback.wiring.service import Ports, wire
from shared.calls.client import calling_of, channel
from shared.configuration.settings import CommonSettings, load
from shared.encoding.sentences import SentenceEncoder
from shared.language.times import now
from shared.privacy import holdings
from shared.redaction.policy import redactor_of
from shared.serving import operations_api
from shared.serving.opening import open_event_log
from shared.serving.process import Service, run
from shared.state.database import Database
from shared.telemetry.setup import start_telemetry


def build(common: CommonSettings, settings: FeedbackSettings) -> Service:
    database = Database(settings.database_url, revisions=Path(__file__).with_name("migrations"))
    log = open_event_log(common)
    rooms = wire(Ground(settings, database, log, now), _ports(common, settings))
    return Service(
        name="feedback",
        common=common,
        settings=settings,
        database=database,
        log=log,
        mounts=[
            mount(rooms.servicer()),
            holdings.mount("feedback", SqlHoldings(database)),
            operations_api.mount(database),
        ],
        background=rooms.background(),
        groups={
            **people_stages.GROUPS,
            **mining_stages.GROUPS,
            **pair_stages.GROUPS,
            **rooms.erasing.groups,
        },
        lineage=FeedbackLineage(database),
        aging=AGING,
    )


def _ports(common: CommonSettings, settings: FeedbackSettings) -> Ports:
    reward = channel(common.reward_address, calling_of(common))
    return Ports(
        SentenceEncoder(
            common.encoder,
            threads=settings.encoder_threads,
            max_tokens=settings.encoder_tokens,
            int8=True,
        ),
        VllmChat(common.vllm_replicas, common.base_model_name),
        GrpcRewardScorer(reward, settings.reward_min_pairs),
        MlflowHeads(common.mlflow_url),
        LinearModerator(settings.offence),
        redactor_of(common, "feedback"),
    )


def main() -> None:
    common, settings = load(CommonSettings), load(FeedbackSettings)
    start_telemetry("feedback", level=common.log_level, otlp_endpoint=common.otlp_endpoint)
    run(build(common, settings))


if __name__ == "__main__":
    main()

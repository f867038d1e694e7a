"""Wires the drift service: `python -m services.drift.main`."""

from __future__ import annotations

from pathlib import Path

from services.drift import grpc_api
from services.drift.adapters.aging import aging
from services.drift.adapters.erasing import ROWS, SqlHoldings
from services.drift.adapters.sql_readings import SqlReadings
from services.drift.adapters.sql_streams import SqlStreams
from services.drift.settings import DriftSettings
from services.drift.stages import FEEDBACK, GROUPS, REWARD, Intakes
from shared.configuration.settings import CommonSettings, load
from shared.privacy import holdings as personal_data
from shared.privacy.erasure import Erasing, RowRemover
from shared.serving.opening import open_event_log
from shared.serving.process import Service, run
from shared.state.database import Database
from shared.state.outbox import OutboxRelay
from shared.telemetry.setup import start_telemetry


def main() -> None:
    common, settings = load(CommonSettings), load(DriftSettings)
    start_telemetry("drift", level=common.log_level, otlp_endpoint=common.otlp_endpoint)
    database = Database(settings.database_url, revisions=Path(__file__).with_name("migrations"))
    log = open_event_log(common)
    intakes = Intakes(settings.watching, SqlStreams)
    servicer = grpc_api.DriftServicer(SqlReadings(database), settings.watching)
    erasing = Erasing("drift", database, log, RowRemover(ROWS))
    run(
        Service(
            name="drift",
            common=common,
            settings=settings,
            database=database,
            log=log,
            mounts=[
                grpc_api.mount(servicer),
                personal_data.mount("drift", SqlHoldings(database)),
            ],
            background=[
                (FEEDBACK, intakes.feedback_stage(database, log).run),
                (REWARD, intakes.reward_stage(database, log).run),
                ("outbox", OutboxRelay(database, log).run),
                *erasing.background(),
            ],
            groups={**GROUPS, **erasing.groups},
            aging=aging(settings.detail_s, settings.unit_days),
        )
    )


if __name__ == "__main__":
    main()

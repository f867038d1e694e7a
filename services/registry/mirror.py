"""Keeps TRIMTAB_ADAPTER_DIR as TRIMTAB_ADAPTER_URL says: `python -m services.registry.mirror`, beside each vLLM
replica that shares no volume with the registry, and beside evaluation. With --once it ends when all is here."""

from __future__ import annotations

import argparse
import signal
import threading

from services.registry.adapters.adapter_bucket import AdapterBucket
from services.registry.adapters.adapter_mirror import AdapterMirror
from shared.configuration.settings import CommonSettings, load
from shared.state.loop import repeat
from shared.telemetry.setup import start_telemetry

_EVERY_S = 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--once", action="store_true", help="end when all is here")
    only_once: bool = parser.parse_args().once
    common = load(CommonSettings)
    if not common.adapter_url:
        raise SystemExit("TRIMTAB_ADAPTER_URL is empty: it says where adapters come from")
    start_telemetry("adapters", level=common.log_level, otlp_endpoint="")
    mirror, stop = (
        AdapterMirror(AdapterBucket(common.adapter_url), common.adapter_dir),
        threading.Event(),
    )
    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, lambda *_: stop.set())

    def once() -> bool:
        again = mirror.once()
        if only_once and not again:
            stop.set()
        return again

    repeat("registry.mirror", once, idle_s=_EVERY_S)(stop)


if __name__ == "__main__":
    main()

"""Keeps TRIMTAB_ADAPTER_DIR as TRIMTAB_ADAPTER_URL says: `python -m services.registry.mirror`, beside each vLLM
replica that shares no volume with the registry, and beside evaluation, until it is told to end."""

from __future__ import annotations

import signal
import threading

from services.registry.adapters.adapter_bucket import AdapterBucket
from services.registry.adapters.adapter_mirror import AdapterMirror
from shared.configuration.settings import CommonSettings, load
from shared.state.loop import repeat
from shared.telemetry.setup import start_telemetry

_EVERY_S = 1.0


def main() -> None:
    common = load(CommonSettings)
    if not common.adapter_url:
        raise SystemExit("TRIMTAB_ADAPTER_URL is empty: it says where adapters come from")
    start_telemetry("adapters", level=common.log_level, otlp_endpoint="")
    mirror = AdapterMirror(AdapterBucket(common.adapter_url), common.adapter_dir)
    stop = threading.Event()
    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, lambda *_: stop.set())
    repeat("registry.mirror", mirror.once, idle_s=_EVERY_S)(stop)


if __name__ == "__main__":
    main()

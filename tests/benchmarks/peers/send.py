"""The load of a peer, through the client that it is meant to be used with; run by the peer's own Python.

    send.py phoenix|mlflow URL FOLDER COUNT     prints: sent, held by its database, seconds

Each record carries 700 bytes of text. The seconds are from the first one sent until the last one that came
was in the peer's database.
"""

from __future__ import annotations

import sqlite3
import sys
import time
from pathlib import Path

QUIET_S = 15.0
TEXT = "some words " * 62
# MLflow stores some tens of traces a second: a fifth of them say as much.
MLFLOW_SHARE = 5


def send_phoenix(url: str, count: int) -> int:
    """Spans through the OpenTelemetry SDK."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    exporter = OTLPSpanExporter(endpoint=f"{url}/v1/traces")
    provider = TracerProvider()
    provider.add_span_processor(
        BatchSpanProcessor(exporter, max_queue_size=2 * count, max_export_batch_size=200)
    )
    tracer = provider.get_tracer("bench")
    for number in range(count):
        with tracer.start_as_current_span("chat") as span:
            span.set_attribute("openinference.span.kind", "LLM")
            span.set_attribute("session.id", f"bench-{number // 10}")
            span.set_attribute("input.value", f"{number:08d} {TEXT}")
    provider.force_flush(120_000)
    return count


def send_mlflow(url: str, count: int) -> int:
    """Traces through MLflow's own client."""
    import mlflow

    count //= MLFLOW_SHARE
    mlflow.set_tracking_uri(url)
    mlflow.set_experiment("bench")
    for number in range(count):
        with mlflow.start_span("chat") as span:
            span.set_inputs({"text": f"{number:08d} {TEXT}"})
    mlflow.flush_trace_async_logging()
    return count


def stored(database: Path, table: str, sent: int, began: float) -> tuple[int, float]:
    """How many are there once no more come, and the seconds until the last one came."""
    held, last = 0, time.monotonic()
    while held < sent and time.monotonic() - last < QUIET_S:
        reader = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
        (now_held,) = reader.execute(f"SELECT count(*) FROM {table}").fetchone()
        reader.close()
        if now_held > held:
            held, last = now_held, time.monotonic()
        time.sleep(0.1)
    return held, last - began


# How each is sent to, and where its server keeps what came.
PEERS = {
    "phoenix": (send_phoenix, "phoenix.db", "spans"),
    "mlflow": (send_mlflow, "mlflow.db", "trace_info"),
}


def main(name: str, url: str, folder: str, count: int) -> None:
    send, database, table = PEERS[name]
    began = time.monotonic()
    sent = send(url, count)
    print(sent, *stored(Path(folder) / database, table, sent, began))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))

"""Spans of 700 bytes to Phoenix through the OpenTelemetry SDK; run by Phoenix's own Python.

send_phoenix.py URL FOLDER COUNT     prints: spans sent, spans in its database, seconds
"""

import sqlite3
import sys
import time
from pathlib import Path

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

QUIET_S = 15.0


def main(url: str, folder: str, count: int) -> None:
    exporter = OTLPSpanExporter(endpoint=f"{url}/v1/traces")
    processor = BatchSpanProcessor(exporter, max_queue_size=2 * count, max_export_batch_size=200)
    provider = TracerProvider()
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("bench")
    began = time.monotonic()
    for number in range(count):
        with tracer.start_as_current_span("chat") as span:
            span.set_attribute("openinference.span.kind", "LLM")
            span.set_attribute("session.id", f"bench-{number // 10}")
            span.set_attribute("input.value", f"{number:08d} " + "some words " * 62)
    provider.force_flush(120_000)
    held, seconds = stored(Path(folder) / "phoenix.db", count, began)
    print(count, held, seconds)


def stored(database: Path, count: int, began: float) -> tuple[int, float]:
    """How many are there once no more come, and when the last one came."""
    held, last = 0, time.monotonic()
    while held < count and time.monotonic() - last < QUIET_S:
        reader = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
        (now_held,) = reader.execute("SELECT count(*) FROM spans").fetchone()
        reader.close()
        if now_held > held:
            held, last = now_held, time.monotonic()
        time.sleep(0.1)
    return held, last - began


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))

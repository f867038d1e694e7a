"""Traces of 700 bytes to an MLflow server through its own client; run by MLflow's own Python.

send_mlflow.py URL FOLDER COUNT     prints: traces sent, traces in its database, seconds
"""

import sqlite3
import sys
import time
from pathlib import Path

import mlflow

QUIET_S = 15.0
# It stores some tens a second: a fifth of them say as much.
SHARE = 5


def main(url: str, folder: str, count: int) -> None:
    count //= SHARE
    mlflow.set_tracking_uri(url)
    mlflow.set_experiment("bench")
    began = time.monotonic()
    for number in range(count):
        with mlflow.start_span("chat") as span:
            span.set_inputs({"text": f"{number:08d} " + "some words " * 62})
    mlflow.flush_trace_async_logging()
    held, seconds = stored(Path(folder) / "mlflow.db", count, began)
    print(count, held, seconds)


def stored(database: Path, count: int, began: float) -> tuple[int, float]:
    """How many are there once no more come, and when the last one came."""
    held, last = 0, time.monotonic()
    while held < count and time.monotonic() - last < QUIET_S:
        reader = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
        (now_held,) = reader.execute("SELECT count(*) FROM trace_info").fetchone()
        reader.close()
        if now_held > held:
            held, last = now_held, time.monotonic()
        time.sleep(0.1)
    return held, last - began


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))

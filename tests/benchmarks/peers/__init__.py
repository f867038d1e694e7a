"""The tracing servers that people use today, sent the same text and counted in their own stores.

Each gets a virtual environment of its own, made from the package index when it is first asked for
(TRIMTAB_PEERS, by default in the cache folder of the user). One that can not be installed is left out
with a line that says so.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.local.ports import free_ports

SEND = Path(__file__).with_name("send.py")
READY_S, SENDING_S, INSTALL_S = 180.0, 300.0, 900.0


@dataclass(frozen=True, slots=True)
class Peer:
    """`serve` is run by the peer's own Python, and so is send.py, which knows the peer by its name. `on_ours`:
    it uses the packages of this environment, so that both have the same torch; only what
    is missing is installed."""

    name: str
    packages: tuple[str, ...]
    serve: tuple[str, ...]
    environment: Mapping[str, str]
    health: str
    on_ours: bool = False


def known(folder: Path, port: int, grpc_port: int) -> tuple[Peer, ...]:
    return (
        Peer(
            "phoenix",
            ("arize-phoenix==20.26.*", "opentelemetry-exporter-otlp-proto-http"),
            ("-m", "phoenix.server.main", "serve"),
            {
                "PHOENIX_WORKING_DIR": str(folder),
                "PHOENIX_PORT": str(port),
                "PHOENIX_GRPC_PORT": str(grpc_port),
                "PHOENIX_TELEMETRY_ENABLED": "false",
            },
            "/healthz",
        ),
        Peer(
            "mlflow",
            ("mlflow==3.17.2",),
            (
                *("-m", "mlflow", "server", "--workers", "1", "--port", str(port)),
                *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
                *("--artifacts-destination", str(folder / "artifacts")),
            ),
            {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            "/health",
        ),
    )


def compare(ours_per_s: Mapping[str, float], operations: int, say: Callable[..., None]) -> None:
    """`say` gets each peer's figure, with how many times as much each of `ours_per_s` is."""
    for place in range(len(known(Path(), 0, 0))):
        with tempfile.TemporaryDirectory() as folder:
            peer = known(Path(folder), *free_ports(2))[place]
            python = installed(peer)
            if python is None:
                print(f"{peer.name}: left out, its packages can not be installed", file=sys.stderr)
                continue
            sent, held, seconds = measure(peer, python, Path(folder), operations)
            per_s = held / seconds
            times = {f"times_{name}": round(ours / per_s, 1) for name, ours in ours_per_s.items()}
            say(peer.name, per_s, "stored/s", sent=sent, held=held, **times)


def installed(peer: Peer) -> Path | None:
    """The Python of the peer's environment; None if it can not be made."""
    home = Path(os.environ.get("TRIMTAB_PEERS", Path.home() / ".cache" / "trimtab-peers"))
    folder = home / peer.name
    python, made, ours = folder / "bin" / "python", folder / "made", sysconfig.get_path("purelib")
    wanted = " ".join(peer.packages)
    if peer.on_ours:  # of another checkout, which may be gone, it is made anew
        wanted += f" beside {ours}"
    if made.exists() and made.read_text() == wanted:
        return python
    print(f"{peer.name}: installing {wanted}", file=sys.stderr)
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        if peer.on_ours:
            (own,) = (folder / "lib").glob("python*/site-packages")
            (own / "ours.pth").write_text(ours)
        pip: list[str | Path] = [
            python,
            "-m",
            "pip",
            "install",
            "-q",
            "--disable-pip-version-check",
        ]
        subprocess.run([*pip, *peer.packages], check=True, timeout=INSTALL_S)
    except (subprocess.SubprocessError, OSError):
        return None
    made.write_text(wanted)
    return python


def measure(peer: Peer, python: Path, folder: Path, operations: int) -> tuple[int, int, float]:
    variables = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    variables |= peer.environment
    port = peer.environment.get("PHOENIX_PORT") or peer.serve[peer.serve.index("--port") + 1]
    url = f"http://127.0.0.1:{port}"
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen([python, *peer.serve], env=variables, stdout=log, stderr=log)
        try:
            until_ready(url + peer.health, server)
            command: list[str | Path] = [python, SEND, peer.name, url, folder, str(operations)]
            said = subprocess.run(
                command,
                env=variables,
                check=True,
                timeout=SENDING_S,
                stdout=subprocess.PIPE,
                text=True,
            ).stdout
        finally:
            server.terminate()
            server.wait(30)
    sent, held, seconds = said.split()[-3:]
    return int(sent), int(held), float(seconds)


def until_ready(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, OSError) as error:
            if server.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{url} does not come up: {error}") from error
        time.sleep(0.2)

"""The programs of the stack: the command, environment and health check of each."""

import sys
from collections.abc import Callable
from dataclasses import dataclass

from infra.local import health, postgresql
from infra.local.environment import OFFLINE, environment, own
from infra.local.kafka import broker_command
from infra.local.settings import Service, StackSettings
from shared.encoding.precision import dtype_name

# Marks every process of a stack, so that stray processes can be found by their environment.
MARK = "TRIMTAB_STACK"


@dataclass(frozen=True)
class Program:
    """One supervised part. `ready` returns quietly when it serves and raises when it does not."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str]
    ports: tuple[int, ...]
    ready: Callable[[], None]
    is_service: bool = False
    # Whether it answers users. The others yield the processors to those that do.
    is_serving: bool = False
    # The user it runs as when the stack is run by root (empty: the same), and the signal that stops it.
    user: str = ""
    stop_signal: str = "TERM"


def programs(settings: StackSettings) -> dict[str, Program]:
    """All programs by name, third-party parts before services."""
    database = [_postgresql(settings)] if settings.on_postgresql else []
    parts = [_kafka(settings), *database, _mlflow(settings), _vllm(settings)]
    services = [_service(settings, name, one) for name, one in settings.services.items()]
    return {program.name: program for program in parts + services}


def _marked(settings: StackSettings, variables: dict[str, str]) -> dict[str, str]:
    return variables | {MARK: str(settings.data)}


def _kafka(settings: StackSettings) -> Program:
    return Program(
        name="kafka",
        command=broker_command(settings),
        environment=_marked(settings, {}),
        ports=settings.ports()["kafka"],
        ready=lambda: health.kafka(f"{settings.host}:{settings.kafka.port}"),
    )


def _postgresql(settings: StackSettings) -> Program:
    return Program(
        name="postgresql",
        command=postgresql.command(settings),
        environment=_marked(settings, {}),
        ports=settings.ports()["postgresql"],
        ready=lambda: health.postgresql(settings.host, settings.postgresql.port, postgresql.USER),
        user=postgresql.account(),
        # A "fast" shutdown. With TERM it would wait until every service has disconnected.
        stop_signal="INT",
    )


def _mlflow(settings: StackSettings) -> Program:
    folder = settings.data / "mlflow"
    store = ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    artifacts = ["--artifacts-destination", str(folder / "artifacts")]
    where = ["--host", settings.host, "--port", str(settings.mlflow.port)]
    workers = ["--workers", str(settings.mlflow.workers)]
    # Nothing here uses the server's jobs, and its seven job runners take a whole core while they start.
    no_jobs = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    return Program(
        name="mlflow",
        command=(sys.executable, "-m", "mlflow", "server", *store, *artifacts, *where, *workers),
        environment=_marked(settings, OFFLINE | no_jobs | {"OMP_NUM_THREADS": "1"}),
        ports=settings.ports()["mlflow"],
        ready=lambda: health.http(f"http://{settings.host}:{settings.mlflow.port}/health"),
    )


def _vllm(settings: StackSettings) -> Program:
    """vLLM on the CPU. The `vllm` command fails with this distribution; running its module works."""
    vllm = settings.vllm
    options = {
        "--model": settings.base_model,
        "--served-model-name": settings.models.base_name,
        "--host": settings.host,
        "--port": vllm.port,
        "--dtype": dtype_name(),
        "--max-model-len": vllm.max_model_len,
        "--block-size": vllm.block_size,
        "--max-lora-rank": vllm.max_lora_rank,
        "--max-loras": vllm.max_loras,
        "--distributed-executor-backend": "uni",
    }
    flags = [str(word) for option in options.items() for word in option]
    module = (sys.executable, "-m", "vllm.entrypoints.openai.api_server")
    return Program(
        name="vllm",
        command=(*module, *flags, "--enable-lora", "--enforce-eager"),
        environment=_marked(settings, OFFLINE | _vllm_environment(settings)),
        ports=settings.ports()["vllm"],
        ready=lambda: health.http(f"http://{settings.host}:{vllm.port}/health"),
        is_serving=True,
    )


def _vllm_environment(settings: StackSettings) -> dict[str, str]:
    """The engine computes in its own process, and its threads are not bound to cores. Otherwise it would
    reserve one of two cores and spin on it while the worker computes on the other. Nothing is compiled: the
    first request for log-probabilities of a prompt would wait for that, and end the engine where there is no
    C++ compiler."""
    return {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": str(settings.vllm.threads),
        "TORCHDYNAMO_DISABLE": "1",
        "VLLM_TARGET_DEVICE": "cpu",
        "VLLM_CPU_KVCACHE_SPACE": str(settings.vllm.kv_cache_gb),
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
        "VLLM_PLUGINS": "lora_filesystem_resolver,trimtab_cpu_lora",
        "VLLM_LORA_RESOLVER_CACHE_DIR": str(settings.adapters),
    }


def _service(settings: StackSettings, name: str, service: Service) -> Program:
    where = f"{settings.host}:{service.port}"
    threads = {"OMP_NUM_THREADS": str(service.torch_threads)}
    asked: Callable[[], None]
    if service.api == "grpc":
        asked = lambda: health.grpc(where)  # noqa: E731
    else:
        asked = lambda: health.http(f"http://{where}/healthz")  # noqa: E731
    return Program(
        name=name,
        command=(sys.executable, "-m", f"services.{service.replica_of or name}.main"),
        environment=_marked(settings, environment(settings) | own(settings, name) | threads),
        ports=settings.ports()[name],
        ready=asked,
        is_service=True,
        is_serving=name == "gateway",
    )

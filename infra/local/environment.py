"""What services and clients are told about the stack, as environment variables."""

import json
import shlex

from infra.local import postgresql
from infra.local.settings import StackSettings

OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "DO_NOT_TRACK": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PYTHONUNBUFFERED": "1",
}


def common(settings: StackSettings) -> dict[str, str]:
    """The fields that every service shares: `shared.configuration.settings.CommonSettings`."""
    host = settings.host
    return {
        "TRIMTAB_HOST": host,
        "TRIMTAB_DATA": str(settings.data),
        "TRIMTAB_PARTS": str(settings.parts),
        "TRIMTAB_KEYRING_URL": database_url(settings, "keyring", "keys.db"),
        "TRIMTAB_KAFKA": f"{host}:{settings.kafka.port}",
        "TRIMTAB_KAFKA_PARTITIONS": str(settings.kafka.partitions),
        "TRIMTAB_MLFLOW_URL": f"http://{host}:{settings.mlflow.port}",
        "TRIMTAB_VLLM_URLS": f"http://{host}:{settings.vllm.port}",
        "TRIMTAB_BASE_MODEL": str(settings.base_model),
        "TRIMTAB_BASE_MODEL_NAME": settings.models.base_name,
        "TRIMTAB_ENCODER": str(settings.encoder),
        "TRIMTAB_FEEDBACK_OFFENCE": str(settings.offence),
        "TRIMTAB_ADAPTER_DIR": str(settings.adapters),
    }


def addresses(settings: StackSettings) -> dict[str, str]:
    """Where each service answers: ADDRESS for gRPC, URL for HTTP."""
    found = {}
    for name, service in settings.services.items():
        if service.replica_of:
            continue
        where = f"{settings.host}:{service.port}"
        key = f"TRIMTAB_{name.upper()}"
        if service.api == "grpc":
            found[f"{key}_ADDRESS"] = where
        else:
            found[f"{key}_URL"] = f"http://{where}"
    return found


def own(settings: StackSettings, name: str) -> dict[str, str]:
    """The fields of one service's settings, or of a replica's."""
    service = settings.services[name]
    kind = service.replica_of or name
    key = f"TRIMTAB_{kind.upper()}"
    otlp = {f"{key}_OTLP_PORT": str(service.otlp_port)} if service.otlp_port else {}
    return otlp | {
        f"{key}_PORT": str(service.port),
        f"{key}_METRICS_PORT": str(service.metrics_port),
        f"{key}_DATABASE_URL": database_url(settings, kind, "state.db"),
        f"{key}_TORCH_THREADS": str(service.torch_threads),
    }


def database_url(settings: StackSettings, owner: str, file: str) -> str:
    if settings.on_postgresql:
        return postgresql.url(settings, owner)
    return f"sqlite:///{settings.data / owner / file}"


def databases(settings: StackSettings) -> list[str]:
    """The PostgreSQL databases that must exist, by the name of their owner."""
    return ["keyring", *(name for name, one in settings.services.items() if not one.replica_of)]


def environment(settings: StackSettings) -> dict[str, str]:
    """All of it: one environment serves every service, the CLI and the tests."""
    variables = common(settings) | addresses(settings) | OFFLINE
    for name, service in settings.services.items():
        if not service.replica_of:
            variables |= own(settings, name)
    variables["TRIMTAB_GATEWAY_KEYS"] = json.dumps(settings.keys)
    if settings.on_postgresql:
        # Every gateway on one database needs the same secret to read its links.
        variables["TRIMTAB_GATEWAY_LINK_SECRET"] = "the-local-stacks-own"  # noqa: S105
    return variables


def as_shell(variables: dict[str, str]) -> str:
    """A file to `source`."""
    return "".join(f"export {key}={shlex.quote(value)}\n" for key, value in variables.items())

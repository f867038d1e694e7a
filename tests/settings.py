"""The settings of every service, found where the services declare them."""

from __future__ import annotations

from importlib import import_module

from infra.local.paths import REPO
from shared.configuration.settings import CommonSettings, ServiceSettings

SERVICES = sorted(path.parent.name for path in REPO.glob("services/*/settings.py"))


def settings_of(service: str) -> type[ServiceSettings]:
    module = import_module(f"services.{service}.settings")
    [found] = [
        one
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, ServiceSettings) and one is not ServiceSettings
    ]
    return found


def variables_of(kind: type[CommonSettings] | type[ServiceSettings]) -> set[str]:
    """The names of the environment's variables that it reads."""
    prefix = str(kind.model_config["env_prefix"])
    return {
        str(field.validation_alias or prefix + name.upper())
        for name, field in kind.model_fields.items()
    }

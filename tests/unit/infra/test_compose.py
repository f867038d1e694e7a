"""infra/compose.yaml runs every service, with variables that its settings know and the local stack's ports."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.local.environment import common, own
from infra.local.paths import REPO
from infra.local.settings import load
from shared.configuration.settings import CommonSettings
from tests.settings import SERVICES, settings_of, variables_of


def composed() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((REPO / "infra" / "compose.yaml").read_text())
    return found


def test_every_service_of_the_local_stack_is_there(tmp_path: Path) -> None:
    assert set(load(tmp_path).services) <= set(composed()["services"])


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_gets_what_it_reads_and_nothing_that_it_does_not_know(
    tmp_path: Path, service: str
) -> None:
    told = composed()["services"][service]["environment"]
    known = variables_of(CommonSettings) | variables_of(settings_of(service))
    shared = set(composed()["x-environment"])
    assert {name for name in told if name.startswith("TRIMTAB_")} - shared <= known
    stack = load(tmp_path)
    local = common(stack) | own(stack, service)
    read = {name for name in local if name in known} - {"TRIMTAB_PARTS"}
    assert read - set(told) == set()
    for field, port in (("PORT", "port"), ("METRICS_PORT", "metrics_port")):
        value = told[f"TRIMTAB_{service.upper()}_{field}"]
        assert value == str(getattr(stack.services[service], port))


@pytest.mark.parametrize("service", SERVICES)
def test_its_settings_can_be_read_from_that(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, service: str
) -> None:
    told = composed()["services"][service]["environment"]
    for name, value in told.items():
        plain = value.replace("${TRIMTAB_KEY:-local-dev-key}", "a-key")
        monkeypatch.setenv(name, plain)
    settings, shared = settings_of(service)(), CommonSettings()
    assert settings.port == load(tmp_path).services[service].port
    assert shared.kafka == "kafka:9092"


def test_addresses_are_names_of_its_parts() -> None:
    services = set(composed()["services"]) | {"vllm"}
    for name, value in composed()["x-environment"].items():
        if name.endswith("_ADDRESS") or name in ("TRIMTAB_GATEWAY_URL", "TRIMTAB_MLFLOW_URL"):
            assert value.rpartition("//")[2].partition(":")[0] in services, name


def test_services_have_no_rights_and_a_root_that_cannot_be_written() -> None:
    for service in SERVICES:
        one = composed()["services"][service]
        assert one["read_only"] is True
        assert one["cap_drop"] == ["ALL"]


def test_images_are_targets_of_the_dockerfile() -> None:
    text = (REPO / "infra" / "docker" / "Dockerfile").read_text()
    assert text.startswith("ARG BASE=docker.io/library/python:3.11-slim\n")
    for one in composed()["services"].values():
        if "build" in one:
            assert f" AS {one['build']['target']}\n" in text

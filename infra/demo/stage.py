"""What both acts stand on: the stack with the demo's settings, the doors, the progress."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

from infra.demo.doors import Doors
from infra.demo.progress import Progress
from infra.local.stack import LocalStack

ENVIRONMENT = Path(__file__).with_name("environment.toml")


@dataclass(frozen=True, slots=True)
class Stage:
    """`prefix` begins every conversation and user of this demo, so that a second one is not the
    first. `key` is of the tenant that `doors` ask for."""

    prefix: str
    gateway_url: str
    dashboard_url: str
    key: str
    doors: Doors
    progress: Progress


def overlay(file: Path = ENVIRONMENT) -> dict[str, str]:
    """The demo's settings for the services, as environment variables."""
    return {name: str(value) for name, value in tomllib.loads(file.read_text()).items()}


def with_overlay(stack: LocalStack, variables: dict[str, str]) -> LocalStack:
    """The stack, its services started with `variables` over its own environment."""
    stack.programs = {
        name: replace(program, environment=program.environment | variables)
        if program.is_service
        else program
        for name, program in stack.programs.items()
    }
    return stack

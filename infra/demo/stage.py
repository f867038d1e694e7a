"""What both acts share: the stack with the demo's settings, the clients, the progress."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

from infra.demo.clients import Clients
from infra.demo.progress import Progress
from infra.local.stack import LocalStack

ENVIRONMENT = Path(__file__).with_name("environment.toml")


@dataclass(frozen=True, slots=True)
class Stage:
    """`prefix` starts the ids of all conversations and users of this demo, so that two demos do not mix. `key`
    belongs to the tenant that `clients` query."""

    prefix: str
    gateway_url: str
    dashboard_url: str
    key: str
    clients: Clients
    progress: Progress


def overlay(file: Path = ENVIRONMENT) -> dict[str, str]:
    """The demo's settings for the services, as environment variables."""
    return {name: str(value) for name, value in tomllib.loads(file.read_text()).items()}


def with_overlay(stack: LocalStack, variables: dict[str, str]) -> LocalStack:
    """The stack, with `variables` added to the environment of its services."""
    stack.programs = {
        name: replace(program, environment=program.environment | variables)
        if program.is_service
        else program
        for name, program in stack.programs.items()
    }
    return stack

"""What both acts share: the stack with the demo's settings, the clients, the progress."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

from infra.demo.clients import Clients
from infra.demo.progress import Progress
from infra.local.stack import LocalStack
from shared.encoding.precision import has_bfloat16

ENVIRONMENT = Path(__file__).with_name("environment.toml")
# How long a canary may wait for its evidence: less than the demo waits for what becomes of it.
ROLLOUT_MAX, ROLLOUT_S = "TRIMTAB_REGISTRY_ROLLOUT_MAX_S", 480.0


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


def patience() -> float:
    """How many times as long as usual everything may take that waits for the model. Without bfloat16
    instructions two cores write a third of the tokens, and a step of training takes several times as long."""
    return 1.0 if has_bfloat16() else 4.0


def overlay(file: Path = ENVIRONMENT, times: float = 1.0) -> dict[str, str]:
    """The demo's settings for the services, as environment variables; `times`: patience()."""
    named = {name: str(value) for name, value in tomllib.loads(file.read_text()).items()}
    return {ROLLOUT_MAX: f"{times * ROLLOUT_S:g}", **named}


def with_overlay(stack: LocalStack, variables: dict[str, str]) -> LocalStack:
    """The stack, with `variables` added to the environment of its services."""
    stack.programs = {
        name: replace(program, environment=program.environment | variables)
        if program.is_service
        else program
        for name, program in stack.programs.items()
    }
    return stack

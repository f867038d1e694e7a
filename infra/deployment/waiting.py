"""Waits until Kafka and the databases answer, where they start beside the services."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from functools import partial

from infra.deployment.databases import named
from infra.local import health
from shared.configuration.settings import CommonSettings
from shared.language.errors import Unavailable
from shared.state.engine import open_engine

_AGAIN_S = 1.0


class NotThere(Exception):
    """Something did not answer in time; the message says what, and how it failed."""


def wait(
    common: CommonSettings, environment: Mapping[str, str], within_s: float = 600.0
) -> list[str]:
    """A line for each part that answers. Raises NotThere after `within_s`."""
    parts: dict[str, Callable[[], None]] = {"kafka": partial(health.kafka, common.kafka)}
    for owner, url in named(environment).items():
        parts[owner] = partial(_connect, url)
    deadline, pause = time.monotonic() + within_s, threading.Event()
    for name, ask in parts.items():
        while problem := _problem(ask):
            if time.monotonic() > deadline:
                raise NotThere(f"{name} does not answer after {within_s:.0f} s: {problem}")
            pause.wait(_AGAIN_S)
    return [f"{name} answers" for name in parts]


def _problem(ask: Callable[[], None]) -> str:
    try:
        ask()
    except (health.NotReady, Unavailable) as error:
        return str(error) or type(error).__name__
    return ""


def _connect(url: str) -> None:
    engine = open_engine(url)
    try:
        engine.connect().close()
    finally:
        engine.dispose()

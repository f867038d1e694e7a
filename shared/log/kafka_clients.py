"""kafka-python's clients, which leave nothing behind when there is no broker.

The constructors of kafka-python 3.0.12 start a thread and open sockets before they look for a broker, and keep
both if they then raise: a process that tries again each second would have hundreds of threads after a few
minutes without a broker, and compute on all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from kafka.net.compat import KafkaNetClient

T = TypeVar("T")


def opened(make: Callable[..., T], **options: Any) -> T:
    """`make(**options)`, one of kafka-python's clients. If that raises, what it has started is ended."""
    started: list[Any] = []

    def start(**given: Any) -> Any:
        started.append(KafkaNetClient(**given))
        return started[-1]

    try:
        return make(kafka_client=start, **options)
    except BaseException:
        for client in started:
            client.close()
        raise

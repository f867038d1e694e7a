"""Reports ports that are already in use before anything starts; finds free ones for tests."""

import os
import random
import socket
from collections.abc import Mapping
from pathlib import Path

import psutil

_SYSTEMS = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST, _CONNECTIONS = 10_000, 32_768
# Into how many shares the ports are divided, one for each of the tests' workers.
_SHARES = 8
_given: set[int] = set()


class PortTaken(Exception):
    """A port of the stack is in use; the message names the port, the part that needs it and its holder."""


def is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: an address in TIME_WAIT counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def holder(port: int) -> str:
    """The process that listens on the port, as far as this user may see."""
    try:
        for connection in psutil.net_connections("tcp"):
            here = connection.laddr[1] if connection.laddr else None
            if here == port and connection.status == psutil.CONN_LISTEN and connection.pid:
                return f"process {connection.pid} ({psutil.Process(connection.pid).name()})"
    except psutil.Error:
        return "a process that this user may not inspect"
    return "another process"


def require_free(host: str, needed: Mapping[str, tuple[int, ...]]) -> None:
    """Raise PortTaken with one line for each taken port of the parts in `needed`."""
    taken = [
        f"port {port} (needed by {part}) is in use by {holder(port)}: stop it, or use --ports-offset"
        for part, ports in needed.items()
        for port in ports
        if not is_free(host, port)
    ]
    if taken:
        raise PortTaken("\n".join(taken))


def free_ports(count: int) -> list[int]:
    """`count` ports of the loopback address that are free now and were not found before. The system gives none
    of them to a connection as its own end, and another worker of the same test run finds others: they stay
    free until somebody listens on them, which may be a minute later. Raises OSError if there are too few."""
    found: list[int] = []
    for port in _candidates():
        if len(found) == count:
            break
        if port not in _given and is_free("127.0.0.1", port):
            found.append(port)
    if len(found) < count:
        raise OSError(f"{count} free ports are needed, and {len(found)} were found")
    _given.update(found)
    return found


def _candidates() -> list[int]:
    """This worker's share, in random order."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
    share = (int(worker) if worker.isdecimal() else os.getpid()) % _SHARES
    ports = list(range(_LOWEST + share, _lowest_of_connections(), _SHARES))
    random.shuffle(ports)
    return ports


def _lowest_of_connections() -> int:
    """The first port that the system may give to a connection."""
    lowest = int(_SYSTEMS.read_text().split()[0]) if _SYSTEMS.exists() else _CONNECTIONS
    return lowest if lowest > _LOWEST else _CONNECTIONS

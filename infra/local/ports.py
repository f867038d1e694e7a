"""Reports ports that are already in use before anything starts."""

import socket
from collections.abc import Mapping

import psutil


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

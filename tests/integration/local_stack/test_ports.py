"""A taken port is named, with who needs it, before anything starts."""

import os
import socket
from collections.abc import Iterator

import pytest

from infra.local.ports import PortTaken, free_ports, is_free, require_free


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_taken_port_names_the_part_and_the_holder(taken: int) -> None:
    with pytest.raises(PortTaken) as caught:
        require_free("127.0.0.1", {"gateway": (taken,)})
    said = str(caught.value)
    assert said.startswith(f"port {taken} (needed by gateway) is in use by process {os.getpid()} ")


def test_each_taken_port_has_its_line(taken: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        needed = {"kafka": (taken,), "mlflow": (other.getsockname()[1],)}
        with pytest.raises(PortTaken) as caught:
            require_free("127.0.0.1", needed)
    assert [
        line.split("(needed by ")[1].split(")")[0] for line in str(caught.value).splitlines()
    ] == [
        "kafka",
        "mlflow",
    ]


def test_no_connection_and_no_other_worker_is_given_what_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = []
    for worker in ("gw0", "gw1", "gw0"):
        monkeypatch.setenv("PYTEST_XDIST_WORKER", worker)
        found.append(set(free_ports(50)))
    assert len(set.union(*found)) == 150
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as connection,
    ):
        assert connection.getsockname()[1] > max(set.union(*found))


def test_free_ports_pass() -> None:
    ports = tuple(free_ports(3))
    require_free("127.0.0.1", {"kafka": ports})
    assert all(is_free("127.0.0.1", port) for port in ports)

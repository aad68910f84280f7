"""Two fleets on one machine share no port of Serve's."""

import inspect
import itertools
import re
import socket
from pathlib import Path

import pytest
from ray.serve._private import constants

from deployments import haproxy

OF_TESTS = {"RAY_SERVE_WORKER_PROXY_HTTP_PORT", "RAY_SERVE_WORKER_PROXY_GRPC_PORT"}
"""Unset unless somebody runs several nodes on one machine."""


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in haproxy.environment(Path("/tmp/a")):
        monkeypatch.delenv(name, raising=False)


def test_every_port_that_serve_would_choose_itself_is_chosen_for_it() -> None:
    known = set(re.findall(r'"(RAY_SERVE_[A-Z_]+_PORT)"', inspect.getsource(constants)))

    assert known - OF_TESTS <= haproxy.environment(Path("/tmp/a")).keys()


def test_two_fleets_have_no_port_in_common() -> None:
    first, second = (
        {
            name: value
            for name, value in haproxy.environment(Path(folder)).items()
            if name.endswith("_PORT")
        }
        for folder in ("/tmp/a", "/tmp/b")
    )

    assert len(set(first.values())) == len(first)
    assert not set(first.values()) & set(second.values())


def test_single_ports_are_none_that_a_connection_to_elsewhere_may_take() -> None:
    first, _ = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()

    ports = [haproxy.free_port() for _ in range(100)]

    assert len(set(ports)) == len(ports)
    assert haproxy.REPLICA_PORTS.stop <= min(ports)
    assert max(ports) < max(int(first), haproxy.FREE_PORTS.stop)


def test_a_port_that_somebody_listens_on_is_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, free = haproxy.free_port(), haproxy.free_port()
    monkeypatch.setattr(haproxy, "_candidates", itertools.cycle([taken, free]))

    with socket.create_server(("127.0.0.1", taken)):
        assert [haproxy.free_port() for _ in range(3)] == [free] * 3

"""Who may listen on the express port, and how listening sockets change hands."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.errors import ConfigError
from deployments.gateway.listeners import Address, Claim
from deployments.haproxy import free_port
from deployments.node import node_folder
from tests.lines import kept_lines

HOLD = """
import sys
from pathlib import Path
from deployments.gateway.listeners import Address, Claim
claim = Claim(Address("127.0.0.1", int(sys.argv[1])), sys.argv[2], Path(sys.argv[3]))
listener = claim.listener()
print("held", flush=True)
sys.stdin.read()
"""


class Keeper:
    """A gateway that keeps what it is given, or one that leaves itself."""

    def __init__(self, leaving: bool = False) -> None:
        self.leaving = leaving
        self.taken: list[socket.socket] = []

    def take(self, listener: socket.socket) -> bool:
        if self.leaving:
            listener.close()
            return False
        self.taken.append(listener)
        return True

    def spare(self) -> socket.socket | None:
        return self.taken.pop() if self.taken else None


@pytest.fixture
def address() -> Address:
    return Address("127.0.0.1", free_port())


@pytest.fixture
def claims(address: Address, tmp_path: Path) -> Iterator[list[Claim]]:
    """Three gateways of one fleet."""
    claims = [Claim(address, "fleet-1", tmp_path) for _ in range(3)]
    yield claims
    for claim in claims:
        claim.release()


def test_gateways_of_one_fleet_share_the_port(claims: list[Claim], address: Address) -> None:
    listeners = [claim.listener() for claim in claims]

    assert {listener.getsockname() for listener in listeners} == {("127.0.0.1", address.port)}
    for listener in listeners:
        listener.close()


def test_another_fleet_is_refused(address: Address, tmp_path: Path) -> None:
    held = Claim(address, "fleet-1", tmp_path)

    with pytest.raises(ConfigError) as refused:
        Claim(address, "fleet-2", tmp_path)

    assert str(refused.value) == (
        f"express.port: {address.port}: another fleet on this node has it (fleet-1);"
        " choose another, or express: null to do without"
    )
    held.release()
    Claim(address, "fleet-2", tmp_path).release()


def test_a_killed_gateway_holds_nothing(address: Address, tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(address.port), "fleet-1", str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match="another fleet"):
            Claim(address, "fleet-2", tmp_path)
        holder.send_signal(signal.SIGKILL)
        holder.wait()

        Claim(address, "fleet-2", tmp_path).release()


@pytest.mark.parametrize("shared", [True, False])
def test_another_program_s_port_is_refused(address: Address, tmp_path: Path, shared: bool) -> None:
    with (
        socket.create_server(("127.0.0.1", address.port), reuse_port=shared),
        pytest.raises(ConfigError) as refused,
    ):
        Claim(address, "fleet-1", tmp_path)

    assert str(refused.value) == (
        f"express.port: {address.port} on 127.0.0.1: Address already in use;"
        " free it, choose another, or express: null to do without"
    )


def test_what_waits_to_be_accepted_moves_along(claims: list[Claim], address: Address) -> None:
    leaving, staying, coming = claims
    keeper = Keeper()
    staying.answer_neighbours(keeper, "staying")
    listener = leaving.listener()
    waiting = socket.create_connection(("127.0.0.1", address.port), timeout=5)
    waiting.sendall(b"hello")

    assert leaving.hand_over(listener)
    listener.close()
    spare = coming.listener()  # the next gateway takes it from the one that stayed
    accepted, _ = spare.accept()

    assert keeper.taken == []
    assert accepted.recv(5) == b"hello"
    for each in (waiting, spare, accepted):
        each.close()


def test_nobody_takes_a_socket(claims: list[Claim]) -> None:
    leaving, also_leaving, gone = claims
    also_leaving.answer_neighbours(Keeper(leaving=True), "also-leaving")
    gone.answer_neighbours(Keeper(), "gone")
    gone.stop_answering()
    listener = leaving.listener()

    assert not leaving.hand_over(listener)
    listener.close()


def test_a_socket_open_to_others_is_not_taken_over(address: Address, tmp_path: Path) -> None:
    everywhere = Claim(Address("0.0.0.0", address.port), "fleet-1", tmp_path)
    here = Claim(address, "fleet-1", tmp_path)
    keeper = Keeper()
    here.answer_neighbours(keeper, "here")
    listener = everywhere.listener()

    assert not everywhere.hand_over(listener)
    assert keeper.taken == []
    listener.close()
    everywhere.release()
    here.release()


@pytest.mark.parametrize("file", ["owner", "mutex"])
def test_a_claim_survives_a_cleaner_of_temporary_files(
    address: Address, tmp_path: Path, file: str
) -> None:
    claim = Claim(address, "fleet-1", tmp_path)
    listener = claim.listener()
    (tmp_path / f"{address.port}.{file}").unlink()

    claim.renew()

    Claim(address, "fleet-1", tmp_path).release()
    with pytest.raises(ConfigError, match="another fleet"):
        Claim(address, "fleet-2", tmp_path)
    listener.close()
    claim.release()


def test_a_killed_neighbour_is_forgotten(claims: list[Claim], tmp_path: Path) -> None:
    port = claims[0].address.port
    claims[1].answer_neighbours(Keeper(), "killed")
    (left,) = tmp_path.glob("*-killed.sock")
    claims[1].stop_answering()
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(left))  # closed without being removed, as by kill -9

    listener = claims[0].listener()

    assert listener.getsockname()[1] == port
    assert not left.exists()
    listener.close()


def test_a_folder_too_deep_for_sockets_only_costs_the_handing_over(
    address: Address, tmp_path: Path
) -> None:
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    claim = Claim(address, "fleet-1", deep)

    with kept_lines(Claim.__module__) as lines:
        claim.answer_neighbours(Keeper(), "deep")

    (line,) = lines
    assert re.search("cannot hand sockets over at .*AF_UNIX path too long", line.getMessage())
    claim.listener().close()
    claim.release()


def test_the_folder_is_this_user_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    folder = node_folder()

    assert folder == tmp_path / f"rayfleet-{os.getuid()}"
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.rmdir()
    (tmp_path / "elsewhere").mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PermissionError, match="not a folder of this user"):
        node_folder()

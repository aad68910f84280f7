"""The express gRPC port over real sockets: whose it is, TLS, and how a gateway leaves it."""

import asyncio
import socket
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives import serialization

from deployments.errors import ConfigError
from deployments.gateway import grpc_server
from deployments.gateway.grpc_server import open_grpc
from deployments.haproxy import free_port
from deployments.schema import ExpressSpec, FleetSpec
from deployments.settings import resolve_settings
from tests.deployments.gateway.certificates import Certificates
from tests.deployments.gateway.hosted import Fleet
from tests.deployments.gateway.rpc import WITHIN_S, Client, open_grpc_port, raw_request, until

pytestmark = pytest.mark.ray  # starts servers


async def opened(folder: Path, port: int | None, fleet: str = "fleet-1") -> Any:
    spec = FleetSpec(express=ExpressSpec(port=free_port(), grpc_port=port))
    return await open_grpc(Fleet().servicer, resolve_settings(spec, create_home=False), fleet)


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYFLEET_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(grpc_server, "MAX_AGE_S", 0.3)
    # Far more than the age, for a busy machine: who leaves does not wait for it once all are gone.
    monkeypatch.setattr(grpc_server, "LINGER_S", 5.0)


def all_counted(fleets: list[Fleet]) -> bool:
    """Whether each has answered a request."""
    return all(fleet.counted() for fleet in fleets)


class TestOwner:
    def test_no_port_is_no_server(self, tmp_path: Path) -> None:
        assert asyncio.run(opened(tmp_path, None)) is None

    def test_gateways_of_one_fleet_share_the_port_and_another_is_refused(
        self, tmp_path: Path
    ) -> None:
        port = free_port()

        async def run() -> str:
            servers = [await opened(tmp_path, port), await opened(tmp_path, port)]
            with pytest.raises(ConfigError) as refused:
                await opened(tmp_path, port, "fleet-2")
            for server in servers:
                await server.drain(1.0)
            await (await opened(tmp_path, port, "fleet-2")).drain(1.0)
            return str(refused.value)

        assert asyncio.run(run()) == (
            f"express.grpc_port: {port}: another fleet on this node has it (fleet-1);"
            " choose another, or express.grpc_port: null to do without"
        )

    def test_another_program_s_port_is_refused(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0), reuse_port=True) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(ConfigError, match=f"^express.grpc_port: {port} on 127.0.0.1: "):
                asyncio.run(opened(tmp_path, port))


class TestTls:
    @staticmethod
    def ask(folder: Path, credentials: grpc.ChannelCredentials, **spec: Any) -> str:
        async def run() -> str:
            fleet = Fleet()
            fleet.apply()
            server, address = await open_grpc_port(fleet, folder, **spec)
            port = address.rpartition(":")[2]
            try:
                async with grpc.aio.secure_channel(f"localhost:{port}", credentials) as channel:
                    return (await Client(channel).infer(raw_request((1, 2)))).code
            finally:
                await server.drain(1.0)

        return asyncio.run(run())

    @staticmethod
    def keys(given: Certificates) -> dict[str, str]:
        return {"ssl_keyfile": str(given.key), "ssl_certfile": str(given.certificate)}

    def test_clients_talk_tls(self, certificates: Certificates, tmp_path: Path) -> None:
        trusting = grpc.ssl_channel_credentials(certificates.authority.read_bytes())

        assert self.ask(tmp_path, trusting, **self.keys(certificates)) == "OK"

    def test_clients_may_be_asked_for_a_certificate(
        self, certificates: Certificates, tmp_path: Path
    ) -> None:
        authority = certificates.authority.read_bytes()
        pair = certificates.key.read_bytes(), certificates.certificate.read_bytes()
        spec = {**self.keys(certificates), "ssl_ca_certs": str(certificates.authority)}

        known = self.ask(tmp_path, grpc.ssl_channel_credentials(authority, *pair), **spec)
        stranger = self.ask(tmp_path, grpc.ssl_channel_credentials(authority), **spec)

        assert (known, stranger) == ("OK", "UNAVAILABLE")

    def test_a_key_may_have_a_password(self, certificates: Certificates, tmp_path: Path) -> None:
        key = serialization.load_pem_private_key(certificates.key.read_bytes(), None)
        locked = tmp_path / "locked.pem"
        locked.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"secret"),
            )
        )
        spec = {**self.keys(certificates), "ssl_keyfile": str(locked)}
        trusting = grpc.ssl_channel_credentials(certificates.authority.read_bytes())

        assert self.ask(tmp_path, trusting, **spec, ssl_keyfile_password="secret") == "OK"
        with pytest.raises(ConfigError, match=r"^express.ssl_keyfile, "):
            self.ask(tmp_path, trusting, **spec, ssl_keyfile_password="wrong")


class TestLeaving:
    @staticmethod
    async def leave(folder: Path, takes_s: float, timeout_s: float) -> str:
        fleet = Fleet()
        fleet.apply()
        fleet.transport.takes_s = takes_s
        server, address = await open_grpc_port(fleet, folder)
        async with asyncio.timeout(WITHIN_S), grpc.aio.insecure_channel(address) as channel:
            asking = asyncio.create_task(Client(channel).infer(raw_request((1, 2))))
            await until(lambda: fleet.transport.running)
            await server.drain(timeout_s)
            return (await asking).code

    def test_what_is_in_flight_is_finished(self, tmp_path: Path) -> None:
        assert asyncio.run(self.leave(tmp_path, takes_s=0.5, timeout_s=5.0)) == "OK"

    def test_what_takes_too_long_is_cut(self, tmp_path: Path) -> None:
        code = asyncio.run(self.leave(tmp_path, takes_s=60.0, timeout_s=0.1))

        assert code in {"UNAVAILABLE", "CANCELLED"}

    def test_one_by_one_under_load_no_request_is_lost(self, tmp_path: Path) -> None:
        """Clients keep their connections, as long as they are not told to make new ones."""

        async def run() -> tuple[set[str], list[bool]]:
            fleets = [Fleet() for _ in range(4)]
            port = free_port()
            codes: set[str] = set()
            done = asyncio.Event()

            async def client(number: int) -> None:
                own = [("grpc.client_number", number), ("grpc.use_local_subchannel_pool", 1)]
                async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", own) as channel:
                    while not done.is_set():
                        codes.add((await Client(channel).infer(raw_request((1, 2)))).code)

            async def come(fleet: Fleet) -> Any:
                fleet.apply()
                server, _ = await open_grpc_port(fleet, tmp_path, grpc_port=port)
                return server

            servers = [await come(fleet) for fleet in fleets[:2]]
            clients = [asyncio.create_task(client(number)) for number in range(8)]
            for fleet in fleets[2:]:
                # Connections that grow old lead clients to each of them.
                await until(partial(all_counted, fleets[: fleets.index(fleet)]))
                await servers.pop(0).drain(5.0)
                servers.append(await come(fleet))
            await until(fleets[-1].counted)
            done.set()
            await asyncio.gather(*clients)
            for server in servers:
                await server.drain(1.0)
            return codes, [bool(fleet.counted()) for fleet in fleets]

        codes, answered = asyncio.run(run())

        assert codes == {"OK"}
        assert all(answered)

    def test_health_notices_that_nobody_listens(self, tmp_path: Path) -> None:
        async def run() -> None:
            server, _ = await open_grpc_port(Fleet(), tmp_path)
            server.check()
            await server._server.stop(0)
            assert server._ended is not None
            await asyncio.wait([server._ended], timeout=WITHIN_S)
            with pytest.raises(RuntimeError, match="no longer listens"):
                server.check()
            await server.drain(0.1)

        asyncio.run(run())

"""The express port over real sockets: what Serve does for its own door, done here."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployments.errors import ConfigError
from deployments.haproxy import free_port
from deployments.telemetry import IN_FLIGHT
from tests.deployments.gateway.certificates import Certificates, make_certificates
from tests.deployments.gateway.hosted import INFER, JSON, Fleet, express_door, open_express
from tests.deployments.gateway.wire import BODY, answer_of, eventually, on_port, request

pytestmark = pytest.mark.ray  # starts servers


class TestDoor:
    @pytest.mark.parametrize("given", ["mine", None])
    def test_each_answer_names_its_request(self, given: str | None) -> None:
        async def ask() -> httpx.Response:
            fleet = Fleet()
            fleet.apply()
            headers = {**JSON, **({"x-request-id": given} if given else {})}
            async with express_door(fleet.app) as client:
                return await client.post(INFER, content=BODY, headers=headers)

        response = asyncio.run(ask())

        named = response.headers["x-request-id"]
        assert named == response.json()["id"]
        assert named == given if given else len(named) == 32

    def test_load_balancers_are_answered_as_by_serve(self) -> None:
        async def ask() -> httpx.Response:
            async with express_door(Fleet().app) as client:
                return await client.get("/-/healthz")

        response = asyncio.run(ask())

        assert (response.status_code, response.text) == (200, "success")

    def test_a_client_that_leaves_takes_its_work_along(self) -> None:
        forever = asyncio.Event()

        async def never(_: Any) -> Any:
            await forever.wait()

        fleet = Fleet(predict=never)

        async def leave(
            _: asyncio.StreamReader, writer: asyncio.StreamWriter, fleet: Fleet
        ) -> None:
            writer.write(request())
            await eventually("it is predicted", lambda: fleet.transport.running == 1)
            writer.close()
            await eventually("nobody works", lambda: sum(fleet.counted(IN_FLIGHT).values()) == 0)
            await eventually("the batch is given up", lambda: fleet.transport.running == 0)

        on_port(leave, fleet)

    def test_requests_in_a_row_are_answered_in_order(self) -> None:
        async def send(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: Fleet
        ) -> None:
            ids = [f"r{number}" for number in range(20)]
            writer.write(b"".join(request(headers=f"X-Request-Id: {each}\r\n") for each in ids))
            got: list[str] = []
            while len(got) < len(ids):
                head = await reader.readuntil(b"\r\n\r\n")
                headers = dict(line.split(b": ", 1) for line in head.splitlines()[1:-1])
                await reader.readexactly(int(headers[b"content-length"]))
                got.append(headers[b"x-request-id"].decode())
            assert got == ids

        on_port(send)

    @pytest.mark.parametrize("together", [True, False], ids=["at-once", "body-later"])
    def test_an_offered_upgrade_is_ignored(self, together: bool) -> None:
        """The body must not become the next request."""
        offer = (
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
            "X-Request-Id: first\r\n"
        )
        whole = request(headers=offer)

        async def offer_it(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: Fleet
        ) -> None:
            head, body = whole[: -len(BODY)], whole[-len(BODY) :]
            writer.write(whole if together else head)
            if not together:
                await asyncio.sleep(0.05)
                writer.write(body)
            assert await answer_of(reader) == (b"HTTP/1.1 200 OK", b"first")
            writer.write(request(headers="X-Request-Id: second\r\n"))
            assert await answer_of(reader) == (b"HTTP/1.1 200 OK", b"second")

        on_port(offer_it)

    def test_a_client_that_leaves_takes_all_its_requests_along(self) -> None:
        forever = asyncio.Event()

        async def never(_: Any) -> Any:
            await forever.wait()

        fleet = Fleet(predict=never)

        async def leave(
            _: asyncio.StreamReader, writer: asyncio.StreamWriter, fleet: Fleet
        ) -> None:
            writer.write(request() * 2)
            await eventually("it is predicted", lambda: fleet.transport.running == 1)
            writer.close()
            await eventually("nobody works", lambda: fleet.transport.running == 0)
            assert sum(fleet.counted(IN_FLIGHT).values()) == 0

        on_port(leave, fleet)


class TestTls:
    @staticmethod
    def ask(given: Certificates, context: ssl.SSLContext, **spec: Any) -> httpx.Response:
        async def run() -> httpx.Response:
            fleet = Fleet()
            fleet.apply()
            keys: dict[str, Any] = {
                "ssl_keyfile": str(given.key),
                "ssl_certfile": str(given.certificate),
            }
            async with express_door(fleet.app, **keys, **spec) as client:
                url = f"https://localhost:{client.base_url.port}"
                async with httpx.AsyncClient(verify=context) as secure:
                    return await secure.post(url + INFER, content=BODY, headers=JSON)

        return asyncio.run(run())

    def test_https(self, certificates: Certificates) -> None:
        context = ssl.create_default_context(cafile=str(certificates.authority))

        assert self.ask(certificates, context).status_code == 200

    def test_clients_may_be_asked_for_a_certificate(self, certificates: Certificates) -> None:
        authority = str(certificates.authority)
        without = ssl.create_default_context(cafile=authority)
        with_one = ssl.create_default_context(cafile=authority)
        with_one.load_cert_chain(certificates.certificate, certificates.key)

        answered = self.ask(certificates, with_one, ssl_ca_certs=authority)

        assert answered.status_code == 200
        with pytest.raises((httpx.ReadError, httpx.ConnectError, httpx.RemoteProtocolError)):
            self.ask(certificates, without, ssl_ca_certs=authority)

    def test_a_certificate_of_another_key_is_named(
        self, certificates: Certificates, tmp_path: Path
    ) -> None:
        other = make_certificates(tmp_path)
        keys = {"ssl_keyfile": str(other.key), "ssl_certfile": str(certificates.certificate)}

        async def start() -> None:
            await open_express(Fleet().app, tmp_path, **keys)

        with pytest.raises(ConfigError, match=r"^express.ssl_keyfile, ssl_certfile: .*MISMATCH"):
            asyncio.run(start())


class TestLeaving:
    def test_what_is_in_flight_is_finished(self, tmp_path: Path) -> None:
        async def run() -> httpx.Response:
            fleet = Fleet()
            fleet.apply()
            fleet.transport.takes_s = 0.5
            server, url = await open_express(fleet.app, tmp_path)
            async with httpx.AsyncClient(base_url=url) as client:
                asking = asyncio.create_task(client.post(INFER, content=BODY, headers=JSON))
                await eventually("it is predicted", lambda: fleet.transport.running == 1)
                await server.drain(5.0)
                return await asking

        response = asyncio.run(run())

        assert (response.status_code, response.headers["connection"]) == (200, "close")

    def test_what_takes_too_long_is_cut(self, tmp_path: Path) -> None:
        async def run() -> None:
            fleet = Fleet()
            fleet.apply()
            fleet.transport.takes_s = 60.0
            server, url = await open_express(fleet.app, tmp_path)
            async with httpx.AsyncClient(base_url=url) as client:
                asking = asyncio.create_task(client.post(INFER, content=BODY, headers=JSON))
                await eventually("it is predicted", lambda: fleet.transport.running == 1)
                await server.drain(0.1)
                with pytest.raises(httpx.HTTPError):
                    (await asking).raise_for_status()

        asyncio.run(run())

    def test_one_by_one_under_load_no_request_is_lost(self, tmp_path: Path) -> None:
        """Clients keep their connections, as long as they are not told to close them."""

        async def run() -> tuple[list[int], list[dict[Any, float]]]:
            fleets = [Fleet() for _ in range(4)]
            for fleet in fleets:
                fleet.apply()
            port = free_port()
            statuses: list[int] = []
            done = asyncio.Event()

            async def client(url: str, keep: bool) -> None:
                limits = httpx.Limits(max_keepalive_connections=1 if keep else 0)
                async with httpx.AsyncClient(base_url=url, limits=limits) as session:
                    while not done.is_set():
                        answer = await session.post(INFER, content=BODY, headers=JSON)
                        statuses.append(answer.status_code)

            first, url = await open_express(fleets[0].app, tmp_path, "a", port=port)
            second, _ = await open_express(fleets[1].app, tmp_path, "b", port=port)
            clients = [asyncio.create_task(client(url, keep=n % 2 == 0)) for n in range(8)]
            await eventually("both answer", lambda: fleets[0].counted() and fleets[1].counted())
            await first.drain(5.0)
            third, _ = await open_express(fleets[2].app, tmp_path, "c", port=port)
            await eventually("the third answers", fleets[2].counted)
            await second.drain(5.0)
            fourth, _ = await open_express(fleets[3].app, tmp_path, "d", port=port)
            await eventually("the fourth answers", fleets[3].counted)
            done.set()
            await asyncio.gather(*clients)
            await third.drain(5.0)
            await fourth.drain(5.0)
            return statuses, [fleet.counted() for fleet in fleets]

        statuses, counted = asyncio.run(run())

        assert set(statuses) == {200}
        assert sum(sum(each.values()) for each in counted) == len(statuses)

    def test_a_gateway_that_leaves_says_so(self, tmp_path: Path) -> None:
        async def run() -> httpx.Response:
            server, url = await open_express(Fleet().app, tmp_path)
            async with httpx.AsyncClient(base_url=url) as client:
                await client.get("/-/healthz")
                leaving = asyncio.create_task(server.drain(5.0))
                await asyncio.sleep(0)
                answer = await client.get("/-/healthz")
                await leaving
                return answer

        response = asyncio.run(run())

        assert (response.status_code, response.text) == (503, "draining")

    def test_health_notices_that_nobody_listens(self, tmp_path: Path) -> None:
        async def run() -> None:
            server, _ = await open_express(Fleet().app, tmp_path)
            server.check()
            for listener in list(server._open):
                server._close(listener)
            with pytest.raises(RuntimeError, match="no longer listens"):
                server.check()
            await server.drain(1.0)

        asyncio.run(run())

"""The express port over real sockets: what Serve does for its own door, done here."""

import asyncio
import json
import ssl
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployments.errors import ConfigError
from deployments.gateway.connection import DISCARD_S
from deployments.haproxy import free_port
from deployments.telemetry import IN_FLIGHT
from tests.deployments.gateway.certificates import Certificates, make_certificates
from tests.deployments.gateway.hosted import INFER, JSON, ROW, Fleet, express_door, open_express

pytestmark = pytest.mark.ray  # starts servers

BODY = json.dumps(ROW).encode()
WITHIN_S = 10.0


def request(body: bytes = BODY, *, length: str | None = None, headers: str = "") -> bytes:
    said = length if length is not None else str(len(body))
    head = f"POST {INFER} HTTP/1.1\r\nHost: fleet\r\nContent-Length: {said}\r\n{headers}\r\n"
    return head.encode() + body


async def answer_of(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Read one answer; returns its status line and the id of its request."""
    head = (await reader.readuntil(b"\r\n\r\n")).splitlines()
    headers = dict(line.split(b": ", 1) for line in head[1:-1])
    await reader.readexactly(int(headers[b"content-length"]))
    return head[0], headers[b"x-request-id"]


async def eventually(what: str, condition: Callable[[], Any]) -> None:
    deadline_s = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline_s, what
        await asyncio.sleep(0.005)


def on_port(
    test: Callable[[asyncio.StreamReader, asyncio.StreamWriter, Fleet], Awaitable[None]],
    fleet: Fleet | None = None,
    **spec: Any,
) -> None:
    """Run a test on one connection to a fleet's express port."""

    async def run() -> None:
        hosted = fleet or Fleet()
        hosted.apply()
        async with express_door(hosted.app, **spec) as client:
            reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
            try:
                async with asyncio.timeout(WITHIN_S):
                    await test(reader, writer, hosted)
            finally:
                writer.close()
                with suppress(ConnectionError):
                    await writer.wait_closed()

    asyncio.run(run())


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

    @pytest.mark.parametrize(
        "part",
        [
            pytest.param(b"POST /v2/models/churn/inf", id="half-a-line"),
            pytest.param(request(b"{", length="100"), id="half-a-body"),
        ],
    )
    def test_half_a_request_is_given_up(self, part: bytes) -> None:
        async def dawdle(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: Fleet
        ) -> None:
            writer.write(part)
            answer = await reader.read()  # to the end: the connection is closed
            assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
            assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {
                "error": "the request did not arrive whole in time"
            }

        on_port(dawdle, read_timeout_s=0.2)

    def test_a_slow_request_that_arrives_is_answered(self) -> None:
        async def dawdle(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: Fleet
        ) -> None:
            for byte in request():
                writer.write(bytes([byte]))
                await writer.drain()
            assert (await reader.readline()) == b"HTTP/1.1 200 OK\r\n"

        on_port(dawdle, read_timeout_s=5.0)

    def test_a_client_that_says_nothing_is_let_go(self) -> None:
        async def wait(reader: asyncio.StreamReader, _: asyncio.StreamWriter, __: Fleet) -> None:
            assert await reader.read() == b""

        on_port(wait, keep_alive_timeout_s=1.0)

    def test_a_body_that_never_ends_is_refused_and_closed(self) -> None:
        async def pour(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: Fleet
        ) -> None:
            head = f"POST {INFER} HTTP/1.1\r\nHost: f\r\nTransfer-Encoding: chunked\r\n\r\n"
            writer.write(head.encode())
            answer = asyncio.create_task(reader.readline())
            with suppress(ConnectionError):
                while not writer.is_closing():
                    writer.write(b"400\r\n" + bytes(1024) + b"\r\n")
                    await writer.drain()
                    await asyncio.sleep(0)
            assert await answer == b"HTTP/1.1 413 Request Entity Too Large\r\n"

        on_port(pour)

    @pytest.mark.parametrize("length", ["-1", "1e3", "9" * 5000], ids=["negative", "float", "huge"])
    def test_an_absurd_content_length_is_refused(self, length: str) -> None:
        async def send(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: Fleet
        ) -> None:
            writer.write(request(length=length))
            assert (await reader.read()).startswith(b"HTTP/1.1 400 Bad Request\r\n")

        on_port(send)

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

    def test_a_request_behind_an_answered_one_may_take_its_time(self) -> None:
        async def send(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: Fleet
        ) -> None:
            second = request(headers="X-Request-Id: second\r\n")
            writer.write(request(headers="X-Request-Id: first\r\n") + second[:-20])
            assert await answer_of(reader) == (b"HTTP/1.1 200 OK", b"first")
            await asyncio.sleep(DISCARD_S + 0.1)
            writer.write(second[-20:])
            assert await answer_of(reader) == (b"HTTP/1.1 200 OK", b"second")

        on_port(send)

    def test_half_a_request_after_an_answer_is_given_up(self) -> None:
        async def dawdle(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: Fleet
        ) -> None:
            writer.write(request())
            assert (await answer_of(reader))[0] == b"HTTP/1.1 200 OK"
            writer.write(b"POST /v2/mod")
            assert (await reader.read()).startswith(b"HTTP/1.1 408 Request Timeout\r\n")

        on_port(dawdle, read_timeout_s=0.2)

    def test_an_endless_head_is_refused(self) -> None:
        async def pour(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fleet: Fleet
        ) -> None:
            writer.write(b"GET / HTTP/1.1\r\nX-Long: ")
            with suppress(ConnectionError):
                for _ in range(100):  # 400 KiB
                    writer.write(b"a" * 4096)
                    await writer.drain()
                    await asyncio.sleep(0)
            assert (await reader.readline()).startswith(b"HTTP/1.1 431 ")

        on_port(pour)

    def test_an_empty_line_is_no_request(self) -> None:
        async def wait(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: Fleet
        ) -> None:
            writer.write(b"\r\n")
            assert await reader.read() == b""

        on_port(wait, keep_alive_timeout_s=1.0)

    def test_a_client_that_does_not_read_is_let_go(self) -> None:
        async def stuff(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: Fleet) -> None:
            page = b"GET /metrics HTTP/1.1\r\nHost: f\r\n\r\n"

            async def ask_for_ever() -> None:
                while True:
                    writer.write(page * 100)
                    await writer.drain()

            with pytest.raises(ConnectionError):  # from the kernel, when the server hangs up
                await ask_for_ever()

        on_port(stuff, read_timeout_s=0.5)

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

"""The HTTP address of a config is one that this machine can give."""

import socket
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments import cli
from deployments.haproxy import free_port
from tests.deployments.validation.configs import PORT, config, listening, speaking_grpc

EXPRESS = "applications[0].args.express"


@pytest.mark.parametrize("as_text", [False, True], ids=["number", "text"])
def test_a_port_in_use_is_refused_unless_the_fleet_runs(validate: Any, as_text: bool) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        given: Any = str(port) if as_text else port
        content = listening(port=given)

        status, said = validate(content)

    reason = "Address already in use; free it or change it"
    assert (status, said) == (2, f"FILE: http_options.port: {port} on 127.0.0.1: {reason}")


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize("port", [70_000, 0, -1])
def test_a_port_that_cannot_be(validate: Any, port: int, running: bool) -> None:
    content = listening(port=port)

    assert validate(content, *["--running"] * running) == (
        2,
        f"FILE: http_options.port: {port}: should be 1 to 65535",
    )


@pytest.mark.parametrize("running", [False, True])
def test_a_host_that_cannot_be(validate: Any, running: bool) -> None:
    content = listening(host="999.1.1.1")

    line = "FILE: http_options.host: '999.1.1.1': no address of that name"
    assert validate(content, *["--running"] * running) == (2, line)


def test_a_host_of_another_machine(validate: Any) -> None:
    content = listening(host="192.0.2.1")

    line = "FILE: http_options.host: '192.0.2.1': not an address of this machine"
    assert validate(content) == (2, line)
    assert validate(content, "--running") == (0, "FILE: valid")


def test_a_running_fleet_s_port_may_be_in_use(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        path = tmp_path / "fleet.yaml"
        path.write_text(yaml.safe_dump(listening(port=taken.getsockname()[1])))

        assert cli.main(["validate", "--running", str(path)]) == 0


@pytest.mark.parametrize("host", ["localhost", "::1"])
def test_a_host_may_be_a_name_or_of_the_sixth_version(validate: Any, host: str) -> None:
    assert validate(listening(host=host)) == (0, "FILE: valid")


def test_an_express_port_in_use_is_refused_unless_the_fleet_runs(validate: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        content = config(args={"express": {"port": port}})

        refused, running = validate(content), validate(content, "--running")

    line = f"{EXPRESS}.port: {port} on 127.0.0.1: Address already in use; free it or change it"
    assert (refused, running) == ((2, f"FILE: {line}"), (0, "FILE: valid"))


def test_an_express_port_that_another_would_share_is_refused(validate: Any) -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as taken:
        port = taken.getsockname()[1]

        status, said = validate(config(args={"express": {"port": port}}))

    assert (status, said.startswith(f"FILE: {EXPRESS}.port: {port} on 127.0.0.1")) == (2, True)


@pytest.mark.parametrize("running", [False, True])
def test_the_two_doors_need_two_ports(validate: Any, running: bool) -> None:
    content = config(args={"express": {"port": PORT}})

    line = f"{EXPRESS}.port: {PORT}: is that of http_options.port; change one"
    assert validate(content, *["--running"] * running) == (2, f"FILE: {line}")


@pytest.mark.parametrize(
    ("port", "owner"),
    [
        pytest.param(PORT, "http_options.port", id="serve-s"),
        pytest.param(PORT + 1, f"{EXPRESS}.port", id="express"),
        pytest.param(PORT + 2, f"{EXPRESS}.grpc_port", id="express-grpc"),
    ],
)
def test_the_control_api_needs_a_port_of_its_own(validate: Any, port: int, owner: str) -> None:
    express = {"port": PORT + 1, "grpc_port": PORT + 2}
    content = config(args={"express": express, "control": {"port": port}})

    line = f"{EXPRESS.replace('express', 'control')}.port: {port}: is that of {owner}; change one"
    assert validate(content, "--running") == (2, f"FILE: {line}")


def test_a_control_port_in_use_is_refused(validate: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        status, said = validate(config(args={"control": {"port": port}}))

    where = EXPRESS.replace("express", "control")
    assert (status, said.startswith(f"FILE: {where}.port: {port} on 127.0.0.1")) == (2, True)


@pytest.mark.parametrize(
    ("express", "line"),
    [
        pytest.param({"port": 0}, ".port: 0: should be greater than 0", id="no-port"),
        pytest.param({"port": "80"}, ".port: '80': should be a whole number", id="text"),
        pytest.param(
            {"ssl_keyfile": "key.pem"},
            ": ssl_keyfile and ssl_certfile go together, or neither",
            id="half-a-certificate",
        ),
        pytest.param(
            {"ssl_ca_certs": "ca.pem"},
            ": ssl_ca_certs needs ssl_keyfile and ssl_certfile",
            id="authorities-alone",
        ),
        pytest.param(
            {"port": PORT + 1, "ssl_keyfile": "/no/key", "ssl_certfile": "/dev/null"},
            ".ssl_keyfile: '/no/key': no such file",
            id="missing-key",
        ),
        pytest.param(
            {"host": "no.such.host.invalid"},
            ".host: 'no.such.host.invalid': no address of that name",
            id="unknown-host",
        ),
    ],
)
def test_what_cannot_be_an_express_port(validate: Any, express: Any, line: str) -> None:
    status, said = validate(config(args={"express": express}))

    assert (status, said.splitlines()[0]) == (2, f"FILE: {EXPRESS}{line}")


@pytest.mark.parametrize("running", [False, True])
def test_the_two_express_ports_differ(validate: Any, running: bool) -> None:
    content = config(args={"express": {"port": PORT + 1, "grpc_port": PORT + 1}})

    line = f"FILE: {EXPRESS}: port and grpc_port are both {PORT + 1}, change one"
    assert validate(content, *["--running"] * running) == (2, line)


def test_an_express_grpc_port_in_use_is_refused_unless_the_fleet_runs(validate: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        content = config(args={"express": {"port": free_port(), "grpc_port": port}})

        refused, running = validate(content), validate(content, "--running")

    reason = "Address already in use; free it or change it"
    line = f"FILE: {EXPRESS}.grpc_port: {port} on 127.0.0.1: {reason}"
    assert (refused, running) == ((2, line), (0, "FILE: valid"))


def test_serve_s_grpc_port_is_checked_too(validate: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        refused, running = (
            validate(speaking_grpc(port=port), *options) for options in ((), ("--running",))
        )

    reason = "Address already in use; free it or change it"
    line = f"FILE: grpc_options.port: {port} on 127.0.0.1: {reason}"
    assert (refused, running) == ((2, line), (0, "FILE: valid"))


@pytest.mark.parametrize(
    ("options", "express", "line"),
    [
        pytest.param(
            {"port": PORT},
            None,
            f"grpc_options.port: {PORT}: is that of http_options.port; change one",
            id="serve-s-two",
        ),
        pytest.param(
            {"port": PORT + 1},
            {"port": PORT + 2, "grpc_port": PORT + 1},
            f"{EXPRESS}.grpc_port: {PORT + 1}: is that of grpc_options.port; change one",
            id="serve-s-and-ours",
        ),
        pytest.param({"port": 0}, None, "grpc_options.port: 0: should be 1 to 65535", id="no-port"),
        pytest.param(
            {"grpc_servicer_functions": ["deployments.nothing.here"]},
            None,
            "grpc_options.grpc_servicer_functions: 'deployments.nothing.here':"
            " cannot be imported: ",
            id="no-function",
        ),
    ],
)
def test_what_cannot_be_serve_s_grpc_port(
    validate: Any, options: Any, express: Any, line: str
) -> None:
    content = speaking_grpc(**options)
    content["applications"][0]["args"]["express"] = express

    status, said = validate(content, "--running")

    assert (status, said.startswith(f"FILE: {line}")) == (2, True), said


def test_a_grpc_port_without_methods_is_closed(validate: Any) -> None:
    content = speaking_grpc(port=PORT, grpc_servicer_functions=[])

    assert validate(content) == (0, "FILE: valid")

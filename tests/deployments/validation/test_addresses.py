"""The HTTP address of a config is one that this machine can give."""

import socket
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments import cli
from tests.deployments.validation.configs import listening


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

"""Dependencies that are not there are noticed at once, and secrets stay out of the message."""

import socket
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from deployments.haproxy import free_port
from tuning.errors import ConfigError
from tuning.probes import (
    first_line,
    is_missing_file,
    require_database,
    require_ray,
    require_server,
    without_password,
)


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("no\nmore", "no"),
        ("these failed:\n- model.pkl: 404\n- x", "these failed: - model.pkl: 404"),
        ("", "ValueError"),
    ],
)
def test_an_error_in_one_line(said: str, line: str) -> None:
    assert first_line(ValueError(said)) == line


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_ray_that_does_not_answer_is_refused(scheme: str) -> None:
    address = f"{scheme}127.0.0.1:{free_port()}"

    with pytest.raises(ConfigError) as refused:
        require_ray(address, "RAY_ADDRESS")

    assert str(refused.value) == f"RAY_ADDRESS: '{address}': no Ray there: Connection refused"


def test_a_port_beyond_all_ports_is_refused() -> None:
    with pytest.raises(ConfigError, match="no Ray there"):
        require_ray("127.0.0.1:99999", "RAY_ADDRESS")


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_ray_that_answers_is_let_pass(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        require_ray(f"{scheme}127.0.0.1:{server.getsockname()[1]}", "RAY_ADDRESS")


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1", "127.0.0.1:", "ray://head"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ConfigError) as refused:
        require_ray(address, "RAY_ADDRESS")

    assert str(refused.value) == (
        f"RAY_ADDRESS: '{address}': no address, allowed: HOST:PORT, ray://HOST:PORT, auto, local"
    )


@pytest.mark.parametrize("address", ["", "auto", "local", "plugin://anywhere"])
def test_what_names_no_machine_are_ray_s_affair(address: str) -> None:
    require_ray(address, "RAY_ADDRESS")


def test_a_database_that_does_not_answer_is_noticed() -> None:
    with pytest.raises(OperationalError, match="Connection refused"):
        require_database(f"postgresql://nobody@127.0.0.1:{free_port()}/mlflow")


def test_a_file_that_is_no_database_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(OperationalError, match="unable to open database file"):
        require_database(f"sqlite:///{tmp_path}")
    with pytest.raises(FileNotFoundError, match="there is no folder '/no/such'"):
        require_database("sqlite:////no/such/file.db")


def test_a_file_is_not_made(tmp_path: Path) -> None:
    require_database(f"sqlite:///{tmp_path}/new.db")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("uri", ["http://127.0.0.1:1", "databricks"])
def test_other_stores_are_mlflow_s_affair(uri: str) -> None:
    require_database(uri)


def test_only_a_file_can_be_missing(tmp_path: Path) -> None:
    there = tmp_path / "there.db"
    there.touch()

    assert is_missing_file(f"sqlite:///{tmp_path}/gone.db")
    assert not is_missing_file(f"sqlite:///{there}")
    assert not is_missing_file("http://127.0.0.1:1")


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        pytest.param("postgresql://u:secret@h:5432/d", "postgresql://u:***@h:5432/d", id="secret"),
        pytest.param("postgresql://u:s@c@h/d", "postgresql://u:***@h/d", id="secret-with-an-at"),
        pytest.param("pg://u:s/c:r@h/d", "pg://u:***@h/d", id="secret-with-a-slash"),
        pytest.param("pg://h/d?user=u&password=s", "pg://h/d?user=u&password=***", id="last"),
        pytest.param("pg://h/d?password=s&a=1", "pg://h/d?password=***&a=1", id="in-the-query"),
        pytest.param("bad: pg://u:s@h now", "bad: pg://u:***@h now", id="in-a-message"),
        pytest.param("postgresql://u@h/d", "postgresql://u@h/d", id="user-alone"),
        pytest.param("http://h:5000", "http://h:5000", id="port"),
        pytest.param("sqlite:////a/b.db", "sqlite:////a/b.db", id="file"),
    ],
)
def test_secrets_are_blanked_out(uri: str, shown: str) -> None:
    assert without_password(uri) == shown


def test_a_server_that_nothing_leads_to_is_noticed() -> None:
    port = free_port()

    with pytest.raises(ConnectionRefusedError):
        require_server(f"http://me:secret@127.0.0.1:{port}/mlflow")


@pytest.mark.parametrize("uri", ["sqlite:///mlflow.db", "postgresql://db/mlflow", "databricks", ""])
def test_only_servers_are_looked_for(uri: str) -> None:
    require_server(uri)


def test_a_server_that_listens_is_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        require_server(f"http://127.0.0.1:{listening.getsockname()[1]}")

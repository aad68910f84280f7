"""What is added to every line that a replica writes."""

import builtins
import json
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from ray import serve
from ray._common.formatters import JSONFormatter
from ray.serve._private.logging_utils import redirected_print

from deployments.logs import OURS, _Named, log_as_serve_does


def fail() -> None:
    raise ValueError("negative numbers are beyond me")


def line(formatter: logging.Formatter, **attributes: Any) -> str:
    """A line about an error, as a replica of `wine--v1` writes it."""
    try:
        fail()
    except ValueError as error:
        info = (ValueError, error, error.__traceback__)
    record = logging.LogRecord("ours", logging.WARNING, "file.py", 1, "it raised", (), info)
    vars(record).update(attributes)
    assert _Named("wine--v1").filter(record)
    return formatter.format(record)


@pytest.fixture
def _serve_s_print(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builtins, "print", redirected_print)


@pytest.mark.usefixtures("_serve_s_print")
class TestInAReplica:
    def test_json_has_the_application_and_the_traceback_as_python_writes_it(self) -> None:
        said = json.loads(line(JSONFormatter()))

        assert said["application"] == "wine--v1"
        first, *_, last = said["exc_text"].splitlines()
        assert first == "Traceback (most recent call last):"
        assert last == "ValueError: negative numbers are beyond me"

    @pytest.mark.parametrize(
        ("ids", "shown"),
        [
            pytest.param(b"a\nb", ["a", "b"], id="a-batch"),
            pytest.param(b"a", "a", id="one-request"),
            pytest.param(b"", "serve-s-own", id="of-no-request"),
        ],
    )
    def test_json_has_the_requests_that_a_line_is_about(self, ids: bytes, shown: Any) -> None:
        said = json.loads(line(JSONFormatter(), request_id="serve-s-own", request_ids=ids))

        assert said["request_id"] == shown
        assert "request_ids" not in said

    def test_text_has_the_traceback_as_python_writes_it(self) -> None:
        written, first, *_, last = line(logging.Formatter("%(message)s")).splitlines()

        assert written == "it raised"
        assert first == "Traceback (most recent call last):"
        assert last == "ValueError: negative numbers are beyond me"


@pytest.mark.parametrize("name", ["deployments.gateway.express", "tuning.spans"])
def test_our_packages_lines_go_where_serve_s_go(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[logging.LogRecord] = []
    handler = logging.Handler()
    monkeypatch.setattr(handler, "emit", written.append)
    monkeypatch.setattr(logging.getLogger("ray.serve"), "handlers", [handler])
    monkeypatch.setattr(serve, "get_replica_context", lambda: SimpleNamespace(app_name="fleet"))
    for package in OURS:
        for attribute in ("handlers", "propagate", "level"):
            logger = logging.getLogger(package)
            monkeypatch.setattr(logger, attribute, getattr(logger, attribute))

    log_as_serve_does()
    logging.getLogger(name).info("all is well")

    assert [line.getMessage() for line in written] == ["all is well"]

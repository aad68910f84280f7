import traceback

import pytest

from deployments.controller.applications import cause


def load() -> None:
    raise ValueError("not a zip file: model.skops")


def initialize() -> None:
    try:
        load()
    except ValueError:
        raise RuntimeError(traceback.format_exc()) from None


def nested() -> str:
    """What Serve 2.60 says: the replica's traceback inside an error of its own."""
    try:
        initialize()
    except RuntimeError:
        inner = traceback.format_exc()
    indented = "\n".join(f"  {line}" for line in inner.splitlines())
    return f"The deployment failed to start 2 times in a row. Error:\nray::Replica()\n{indented}\n"


@pytest.mark.parametrize(
    ("messages", "line"),
    [
        pytest.param([nested()], "ValueError: not a zip file: model.skops", id="nested"),
        pytest.param(["RuntimeError: no such file"], "RuntimeError: no such file", id="plain"),
        pytest.param(
            ["a.b.OddError: no\n  at length", "", "Waiting for 1 replica."],
            "a.b.OddError: no",
            id="the-error-before-the-rest",
        ),
        pytest.param(["", "Replica was killed.\n"], "Replica was killed.", id="no-error-named"),
        pytest.param(["", ""], "", id="nothing"),
    ],
)
def test_the_cause_is_the_innermost_error_s_own_line(messages: list[str], line: str) -> None:
    assert cause(messages) == line

"""docs/benchmarks.md names every option, case and target, and nothing else."""

import re

from benchmarks.serving.__main__ import parser
from benchmarks.serving.cases import CASES
from benchmarks.serving.targets import TARGETS
from tests.documents import REPOSITORY, options, rows, section

PAGE = REPOSITORY / "docs" / "benchmarks.md"


def first_cells(heading: str) -> list[str]:
    """What stands in backticks in the first column below a heading."""
    cells = [row[0] for row in rows(section(PAGE, heading))]
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def test_options_have_their_defaults() -> None:
    table = {row[0]: row[1] for row in rows(section(PAGE, "Benchmarks")) if row[0] != "option"}

    assert {name.strip("`") for name in table} == set(options(parser()))
    for name in ("rounds", "duration_s", "budget_s"):
        default = parser().get_default(name)
        assert table[f"`--{name.replace('_', '-')}`"] == f"`{default:g}`"


def test_every_case_has_its_connections() -> None:
    table = {row[0].strip("`"): row[3] for row in rows(section(PAGE, "Cases"))}

    assert list(table)[1:] == list(CASES)
    for name, case in CASES.items():
        assert [int(number) for number in re.findall(r"\d+", table[name])] == list(case.connections)
        assert ("constant arrivals" in table[name]) is (case.open_load is not None)


def test_every_target_is_there() -> None:
    assert first_cells("Targets") == list(TARGETS)

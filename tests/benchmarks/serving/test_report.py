import json
import re
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.serving import chart
from benchmarks.serving.bars import judge
from benchmarks.serving.readings import Reading
from benchmarks.serving.report import bar_table, ratio, tables, write_json
from benchmarks.serving.results import Measurement, Results
from benchmarks.serving.targets import Role

DIRECT = Measurement("linear", "direct", 32, (Reading(16_000, 1, 2, 0), Reading(18_000, 1, 2, 0)))
MLSERVER = Measurement("linear", "mlserver", 32, (Reading(1_700, 9, 90, 1),))
OPEN = Measurement("linear", "direct", None, (Reading(11_900, 1, 7, 0, offered_per_s=11_900),))
RESULTS = Results([MLSERVER, DIRECT, OPEN])


def test_ratio_is_to_the_fastest_of_a_role() -> None:
    assert ratio(RESULTS, DIRECT, Role.PEER) == 10.0
    assert ratio(RESULTS, MLSERVER, Role.PEER) == 1.0
    assert ratio(RESULTS, DIRECT, Role.LIMIT) is None
    assert ratio(RESULTS, OPEN, Role.PEER) is None, "its rate was given"


def test_loads_come_by_connections_and_constant_arrivals_last() -> None:
    one = Measurement("linear", "direct", 1, DIRECT.readings)

    assert list(Results([OPEN, DIRECT, one]).loads()) == [
        ("linear", 1),
        ("linear", 32),
        ("linear", None),
    ]


def test_tables_fit_eighty_columns() -> None:
    console = Console(width=80, record=True, file=StringIO())

    for table in (*tables(RESULTS), bar_table(judge(RESULTS))):
        console.print(table)

    text = console.export_text()
    assert re.search(r"^ direct +17,000 ", text, re.MULTILINE)
    assert "…" not in text


def test_json_has_every_round_and_every_bar(tmp_path: Path) -> None:
    path = tmp_path / "serving.json"

    write_json(path, RESULTS, judge(RESULTS), {"versions": {"ray": "1"}})

    document = json.loads(path.read_text())
    direct = document["measurements"][0]
    assert (direct["target"], len(direct["rounds"])) == ("direct", 2)
    assert direct["ratios"]["peer"] == 10.0
    verdicts = [bar["verdict"] for bar in document["bars"]]
    assert verdicts[0] == "met"
    assert "not measured" in verdicts
    assert document["versions"] == {"ray": "1"}


@pytest.mark.ray  # imports Matplotlib
@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_chart_is_written(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"serving.{suffix}"

    chart.draw(path, RESULTS, caption="two cores")

    assert path.stat().st_size > 10_000

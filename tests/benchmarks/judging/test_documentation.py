"""The tables of docs/judge.md are those of the simulation."""

from benchmarks.judge import BAR, CLEAN_RATES, EFFECTS, SCENARIOS, UNPROTECTED, WEIGHTS
from benchmarks.judging.measures import fixed_size
from deployments.rollout.analysis import ALPHA
from tests.documents import REPOSITORY, rows, section

JUDGE = REPOSITORY / "docs" / "judge.md"


def test_every_scenario_is_in_the_table() -> None:
    titles = [row[0] for row in rows(section(JUDGE, "Good versions aborted"))[1:]]

    assert titles == [
        *(scenario.title for scenario in SCENARIOS),
        "four signals, each as bad as allowed",
        UNPROTECTED.title,
    ]


def test_every_effect_is_in_the_table_with_its_bar_met() -> None:
    table = rows(section(JUDGE, "Bad versions aborted"))[1:]

    assert [row[:2] for row in table] == [
        [f"{100 * rate:g} %", f"{fixed_size(rate, 0.01, 19.0, ALPHA):,.0f}"] for rate in EFFECTS
    ]
    for row in table:
        fixed, judge, ratio = (float(cell.replace(",", "")) for cell in row[1:4])
        assert abs(judge / fixed - ratio) < 0.006
        assert ratio <= BAR


def test_every_clean_rate_is_in_the_table() -> None:
    head, *table = rows(section(JUDGE, "Good versions successful"))

    assert head[1:] == [f"at {weight} %" for weight in WEIGHTS]
    assert [row[0] for row in table] == [f"{100 * rate:g} %" for rate in CLEAN_RATES]

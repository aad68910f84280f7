"""docs/benchmarks.md names every option of the benchmark of rollouts, and its bars."""

from benchmarks.rollouts import BARS_S, parser
from tests.documents import REPOSITORY, options, rows, section

PAGE = REPOSITORY / "docs" / "benchmarks.md"


def test_options_have_their_defaults() -> None:
    table = {row[0].strip("`"): row[1].strip("`") for row in rows(section(PAGE, "Rollouts"))}
    table = {name: shown for name, shown in table.items() if name.startswith("--")}

    assert set(table) == set(options(parser()))
    for name in ("rounds", "simulated", "real", "rate_per_s"):
        default = parser().get_default(name)
        assert table[f"--{name.replace('_', '-')}"] == f"{default:g}"


def test_bars_are_named_and_said_to_be_met_or_missed() -> None:
    table = {row[0].strip("`"): row[1:] for row in rows(section(PAGE, "Rollouts"))}

    for name, bar_s in BARS_S.items():
        bar, _, most, said = table[name]
        assert float(bar) == bar_s
        assert said == ("met" if float(most) < bar_s else "missed")

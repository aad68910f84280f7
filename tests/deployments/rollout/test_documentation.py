"""What docs/judge.md shows is what the code does."""

import contextlib
import io

import pytest

from deployments.rollout.analysis import ALPHA, RISK
from deployments.rollout.evidence import MIN_BATCH, ODDS_RATIO
from deployments.rollout.sequences import FROM_THE_START
from deployments.rollout.signals import ALLOWED, Kind
from deployments.rollout.wealth import CENTERS, EXCESSES, STAKES
from tests.documents import REPOSITORY, blocks, rows, section

JUDGE = REPOSITORY / "docs" / "judge.md"
TEXT = " ".join(JUDGE.read_text().split())


def test_the_example_prints_what_is_shown() -> None:
    (example,) = blocks(JUDGE, "python")
    shown = next(block for block in blocks(JUDGE, "") if block.line > example.line)
    printed = io.StringIO()

    with contextlib.redirect_stdout(printed):
        exec(compile(example.text, example.place, "exec"), {})  # noqa: S102, our own document

    assert printed.getvalue().strip() == shown.text


def test_every_kind_of_signal_is_listed_with_what_is_allowed() -> None:
    table = {row[0]: row[3] for row in rows(section(JUDGE, "Signals"))[1:]}

    assert table == {
        f"`{kind}`": f"`{ALLOWED[kind]}`" if kind in ALLOWED else "in its own unit" for kind in Kind
    }


@pytest.mark.parametrize(
    "sentence",
    [
        pytest.param(
            f"with probability `alpha` at most ({100 * ALPHA:g} % unless set)", id="alpha"
        ),
        pytest.param(f"with probability `risk` at most ({100 * RISK:g} % unless set)", id="risk"),
        pytest.param(f"observations of both tracks and {MIN_BATCH} in all", id="batch"),
        pytest.param(f"differ by less than {100 * (ODDS_RATIO - 1):.0f} %", id="odds"),
        pytest.param("e from 1/16 to 32 by doublings", id="excesses"),
        pytest.param("Five centres and eight stakes", id="means"),
        pytest.param("Three quarters of the bets are on the whole rollout", id="start"),
    ],
)
def test_numbers_in_the_text_are_those_of_the_code(sentence: str) -> None:
    assert sentence in TEXT
    assert (EXCESSES[0], EXCESSES[-1], len(EXCESSES)) == (1 / 16, 32, 10)
    assert (len(CENTERS), len(STAKES), FROM_THE_START) == (5, 8, 0.75)

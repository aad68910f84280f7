import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace as changed

from tests.tuning.reporting.sweeps import NASTY, make_facts
from tests.tuning.trials import reports, trial
from tuning.ledger import Trial, TrialState
from tuning.reporting.facts import Facts, confusion_matrix, thin_predictions
from tuning.reporting.page import render
from tuning.reporting.pareto import _staircase, pareto_section, trade_off

VOID = {"meta", "!doctype"}


class Reader(HTMLParser):
    """Collects what a page shows, and what it would load."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.tips: list[str] = []
        self.loads: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "href", "srcset", "action", "data", "poster"):
                self.loads.append(f"{tag} {name}={value}")
            if name == "data-tip":
                self.tips.append(value or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["script"], ["style"]):
            self.words.append(data)


def test_a_page_shows_the_sweep_and_loads_nothing() -> None:
    page = render(make_facts())

    reader = Reader(page)
    words = " ".join(reader.words)
    assert reader.loads == []
    assert not re.search(r"url\(|@import|https?://", page)
    for expected in (
        "risks version 3 @challenger", "0.8750", "trial 1", "0.9000", "a" * 64, "4f2c+",
        "git checkout 4f2c\n", "python -m tuning risks.yaml",
        "python -m tuning reproduce trial-run", "stopped early", "low",
    ):  # fmt: skip
        assert expected in words
    assert "low taken for low: 14 of 15" in reader.tips


@pytest.mark.parametrize(
    "title",
    [
        "Optimization history", "Parallel coordinates", "Parameter importance",
        "Spread over the folds", "Learning curves", "Early stopping and resources", "Hold-out",
    ],
)  # fmt: skip
def test_every_part_of_a_page_has_its_chart(title: str) -> None:
    trials = [
        trial(number, *[0.5 + number / 50] * 3, 0.6, params={"x": number / 20, "y": number % 3})
        for number in range(20)
    ]

    page = render(make_facts(trials))

    (part,) = re.findall(f"<h2>{title}</h2>.*?</section>", page, re.DOTALL)
    assert part.count("<svg") == 1
    assert len(re.findall(r"<(?:path|rect|circle|line)", part)) >= 2


def test_a_regression_shows_its_residuals() -> None:
    facts = make_facts(data={"bundled": "diabetes"}, folds={"kind": "kfold", "n_splits": 4})
    assert facts.ending is not None
    pairs = [(101.0, 100.0), (148.5, 150.0)]
    ending = changed(facts.ending, classes=(), confusion=None, predictions=pairs)

    reader = Reader(render(replace(facts, ending=ending)))

    assert "predicted 150\nmeasured 148.5\noff by -1.5" in reader.tips
    assert any("measured less predicted" in word for word in reader.words)
    assert not any("taken for" in tip for tip in reader.tips)


def test_predictions_are_thinned_over_the_whole_range() -> None:
    measured = np.arange(5000.0)[::-1]

    pairs = thin_predictions(measured, measured + 1.0, most=11)

    assert [one for one, _ in pairs] == [
        0,
        500,
        1000,
        1500,
        2000,
        2500,
        2999,
        3499,
        3999,
        4499,
        4999,
    ]
    assert all(other == one + 1.0 for one, other in pairs)


def test_what_users_wrote_is_text() -> None:
    page = render(make_facts())

    assert NASTY not in page
    reader = Reader(page)
    assert any(NASTY in word for word in reader.words)
    assert f"ValueError: {NASTY}" in reader.tips


def test_a_refusal_is_said() -> None:
    facts = make_facts()
    assert facts.ending is not None
    refused = replace(
        facts,
        ending=changed(facts.ending, refused="not better than the champion, version 2"),
        manifest=replace(facts.manifest, outcome=None),
    )

    words = " ".join(Reader(render(refused)).words)

    assert "not registered" in words
    assert "not better than the champion, version 2" in words


def bounded(*constraints: str, **fields: Any) -> Facts:
    """A sweep whose best trial's model is too large; it has no version yet."""
    trials = [
        measured(0, 0.9, 2e6),
        measured(1, 0.8, 1e6),
        measured(2, 0.7, 5e5),
        trial(3, params={"x": 3}, state=TrialState.PRUNED, reports=reports(0.99, of=4)),
    ]
    return make_facts(trials, constraints=list(constraints), **fields)


def measured(number: int, score: float, model_bytes: float) -> Trial:
    *others, last = reports(score, score, score, score)
    made = (*others, replace(last, measured={"model_bytes": model_bytes}))
    return trial(number, params={"x": number}, reports=made)


def test_what_breaks_a_constraint_is_neither_the_winner_nor_the_best() -> None:
    facts = bounded("model_bytes <= 1 MB")

    page = render(facts)

    reader = Reader(page)
    assert facts.winner is not None
    assert facts.winner.number == 1
    assert [each.number for each in facts.complete] == [1, 2, 0]
    assert "trial 0: complete\naccuracy 0.9000\nbreaks model_bytes <= 1 MB\nx = 0" in reader.tips
    assert "complete, breaks model_bytes <= 1 MB" in reader.words
    assert page.count('class="dot broken"') == 1
    # The best so far begins where the first trial is that may win.
    (best,) = re.findall(r'<path d="M([\d.]+) [^"]*" fill="none" class="best"', page)
    (dot,) = re.findall(r'<circle cx="([\d.]+)"[^>]*class="dot won"', page)
    assert float(best) == pytest.approx(float(dot), abs=0.1)


def test_a_sweep_whose_trials_all_failed_says_so() -> None:
    failed = [trial(n, state=TrialState.FAILED, reports=(), error="ValueError: no") for n in (0, 1)]

    reader = Reader(render(make_facts(failed)))

    assert "None of 2 trials completed." in reader.words
    assert any("ValueError: no" in words for words in [*reader.words, *reader.tips])


def test_a_sweep_whose_trials_all_break_a_constraint_says_so() -> None:
    facts = bounded("model_bytes <= 1 kB", "accuracy >= 0.1")

    words = Reader(render(facts)).words

    assert facts.winner is None
    assert "None of 3 completed trials keeps to model_bytes <= 1 kB, accuracy >= 0.1." in words


def several(*trials: Trial, **fields: Any) -> Facts:
    """A sweep for accuracy and small models."""
    objectives = [{"metric": "model_bytes", "mode": "min"}]
    given = {"objectives": objectives, "scheduler": {"kind": "fifo"}, **fields}
    return make_facts(list(trials), **given)


def test_of_equals_the_winner_is_in_the_pareto_set() -> None:
    small = measured(1, 0.9, 1e6)

    assert several(measured(0, 0.9, 2e6), small).winner is small


def test_several_objectives_have_their_pareto_set() -> None:
    facts = several(
        measured(0, 0.9, 2e6),
        measured(1, 0.8, 1e6),
        measured(2, 0.7, 1.5e6),
        measured(3, 0.99, 9e6),
        constraints=["model_bytes <= 8 MB"],
    )

    page = render(facts)

    table = page[page.index("<h2>Pareto set</h2>") : page.index("<h2>Parallel coordinates</h2>")]
    cells = re.findall(r"<t[hd]>([^<]*)</t[hd]>", table)
    assert cells == [
        "trial", "accuracy (max)", "model_bytes (min)", "x",
        "0", "0.9", "2e+06", "0",
        "1", "0.8", "1e+06", "1",
    ]  # fmt: skip
    assert re.findall(r'class="(dot[^"]*)"', table) == [
        "dot broken",
        "dot beaten",
        "dot",
        "dot won",
    ]
    tips = Reader(page).tips
    assert "trial 2: complete\naccuracy 0.7000\nx = 2\naccuracy 0.7, model_bytes 1.5e+06" in tips


@pytest.mark.parametrize(
    ("mode", "steps"),
    [
        pytest.param("min", [(1.0, 1.0), (2.0, 1.0), (2.0, 2.0)], id="little-is-better"),
        pytest.param("max", [(1.0, 1.0), (1.0, 2.0), (2.0, 2.0)], id="much-is-better"),
    ],
)
def test_steps_bound_what_is_beaten(mode: str, steps: list[tuple[float, float]]) -> None:
    assert _staircase([(2.0, 2.0), (1.0, 1.0)], low_is_better=mode == "min") == steps


def test_three_objectives_have_a_table_alone() -> None:
    objectives = [{"metric": "model_bytes", "mode": "min"}, {"metric": "log_loss", "mode": "min"}]
    facts = several(measured(0, 0.9, 2e6), measured(1, 0.8, 1e6), objectives=objectives)

    assert trade_off(facts) == ""
    assert pareto_section(facts).count("<tr") == 3


@pytest.mark.parametrize(
    "facts",
    [
        pytest.param(make_facts([]), id="no-trials"),
        pytest.param(several(), id="no-trials-for-several-objectives"),
        pytest.param(several(measured(0, 0.9, 1e6)), id="one-trial-for-several-objectives"),
        pytest.param(several(trial(0, 0.9), trial(1, 0.8)), id="nothing-was-measured"),
        pytest.param(bounded("model_bytes <= 1 kB"), id="nobody-keeps-the-constraints"),
        pytest.param(replace(make_facts([]), ending=None), id="nothing-at-all"),
        pytest.param(
            make_facts([trial(0, state=TrialState.FAILED, reports=(), error="X")]), id="all-failed"
        ),
        pytest.param(
            make_facts([trial(0, state=TrialState.PRUNED, reports=reports(0.5, of=4))]),
            id="all-stopped",
        ),
        pytest.param(make_facts([trial(0, 0.5, 0.5, 0.5, 0.5)]), id="one-trial-no-parameters"),
        pytest.param(
            make_facts([trial(0, state=TrialState.RUNNING, reports=(), ended_at_s=None)]),
            id="running",
        ),
        pytest.param(
            make_facts([trial(n, 0.5, 0.5, 0.5, 0.5, params={"x": n}) for n in range(9)]),
            id="all-alike",
        ),
        pytest.param(
            make_facts([trial(n, 1e9, 1e9, -1e9, 2e9, params={"x": None}) for n in range(9)]),
            id="large-numbers",
        ),
    ],
)
def test_odd_sweeps_have_a_page_too(facts: Facts) -> None:
    page = render(facts)

    reader = Reader(page)
    assert not any("nan" in each.lower() for each in (*reader.words, *reader.tips))
    assert reader.loads == []


def test_confusion_counts_true_by_predicted() -> None:
    labels, predicted = np.array([0, 0, 1, 1, 1]), np.array([0, 1, 1, 1, 0])

    assert confusion_matrix(labels, predicted, 2) == [[1, 1], [1, 2]]

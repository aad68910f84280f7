from dataclasses import replace
from typing import Any

import pytest

from tuning.goals import parse_constraint
from tuning.selecting.ranking import Candidate, rank, standard_error
from tuning.selecting.rules import SelectionSpec


def candidate(trial: int, *scores: float, **fields: Any) -> Candidate:
    given: dict[str, Any] = {
        "state": "complete",
        "sweep_started_at_ms": 1,
        "params": {},
        "metrics": {"accuracy_mean": sum(scores) / len(scores)} if scores else {},
        "tags": {},
        "data_hash": "a" * 64,
        "folds": "five",
    }
    return Candidate(f"run-{trial}", "s", "sweep", trial, scores=scores, **(given | fields))


def rules(**fields: Any) -> SelectionSpec:
    return SelectionSpec.load({"name": "best", "model": "iris", **fields})


def order(ranked: list[Any]) -> list[int]:
    return [placed.candidate.trial for placed in ranked if placed.place is not None]


FAST, SLOW = {"duration_s": 1.0}, {"duration_s": 9.0}
SMALL, LARGE = {"n": "10", "kind": "tree"}, {"n": "200", "kind": "forest"}


@pytest.mark.parametrize(
    ("candidates", "fields", "expected"),
    [
        pytest.param([candidate(0, 0.8), candidate(1, 0.9)], {}, [1, 0], id="more-is-better"),
        pytest.param(
            [candidate(0, 0.8), candidate(1, 0.9)], {"mode": "min"}, [0, 1], id="less-is-better"
        ),
        pytest.param(
            [candidate(0, 0.9, metrics=SLOW), candidate(1, 0.9, metrics=FAST)],
            {"tie_breaks": ["metrics.duration_s ASC"]},
            [1, 0],
            id="tie-break",
        ),
        pytest.param(
            [candidate(0, 0.5, 0.9), candidate(1, 0.6, 0.8)], {}, [1, 0], id="tie-lower-std"
        ),
        pytest.param([candidate(1, 0.9), candidate(0, 0.9)], {}, [0, 1], id="tie-earlier"),
        pytest.param(
            [candidate(0, 0.9, params=SMALL), candidate(1, 0.8, params=LARGE)],
            {"filters": ["params.kind = 'forest'"]},
            [1],
            id="filter",
        ),
    ],
)
def test_order(candidates: list[Candidate], fields: dict[str, Any], expected: list[int]) -> None:
    assert order(rank(candidates, rules(**fields))) == expected


def test_one_standard_error_is_of_the_mean_over_the_folds() -> None:
    assert standard_error([0.8, 0.9, 1.0]) == pytest.approx(0.1 / 3**0.5)
    assert standard_error([0.8]) == 0.0


@pytest.mark.parametrize(
    ("prefer", "winner"),
    [
        pytest.param("params.n ASC", 1, id="a-number"),
        pytest.param({"params.kind": ["tree", "forest"]}, 1, id="the-simplest-first"),
        pytest.param({"params.kind": ["forest", "tree"]}, 0, id="the-other-way-round"),
    ],
)
def test_a_simpler_trial_wins_within_one_standard_error(prefer: Any, winner: int) -> None:
    best = candidate(0, 0.8, 0.9, 1.0, params=LARGE)
    near = candidate(1, 0.8, 0.86, 0.95, params=SMALL)
    far = candidate(2, 0.7, 0.7, 0.7, params=SMALL)

    ranked = rank([best, near, far], rules(parsimony={"prefer": [prefer]}))

    assert order(ranked)[0] == winner
    assert order(ranked)[-1] == 2


def test_parsimony_keeps_the_best_of_the_equally_simple() -> None:
    best = candidate(0, 0.8, 0.9, 1.0, params=SMALL)
    near = candidate(1, 0.8, 0.9, 0.99, params=SMALL)

    assert order(rank([near, best], rules(parsimony={"prefer": ["params.n"]}))) == [0, 1]


def test_no_standard_error_leaves_only_ties_to_parsimony() -> None:
    best = candidate(0, 0.8, 1.0, params=LARGE)
    near = candidate(1, 0.8, 0.99, params=SMALL)
    spec = rules(parsimony={"standard_errors": 0, "prefer": ["params.n"]})

    assert order(rank([best, near], spec)) == [0, 1]


def test_everybody_hears_why() -> None:
    winner = candidate(0, 0.9, 0.9, params=SMALL, metrics=FAST)
    candidates = [
        winner,
        candidate(1, 0.9, 0.9, params=SMALL, metrics=SLOW),
        candidate(2, 0.85, 0.85, params=SMALL, metrics=FAST),
        candidate(3, state="pruned"),
        candidate(4, state="failed"),
        candidate(5, 0.99, 0.99, params=LARGE, metrics=FAST),
        candidate(6, 0.99, 0.99, params=SMALL, metrics={"duration_s": 20.0}),
        candidate(7, 0.99, 0.99, data_hash="b" * 64, params=SMALL, sweep_started_at_ms=0),
        candidate(8, 0.99, 0.99, folds="three", params=SMALL, sweep_started_at_ms=0),
        candidate(9, 0.9, 0.9, params=SMALL, metrics=FAST),
    ]
    spec = rules(
        filters=["params.kind = 'tree'"],
        constraints=["metrics.duration_s <= 10"],
        tie_breaks=["metrics.duration_s ASC"],
    )

    reasons = {placed.candidate.trial: placed.reason for placed in rank(candidates, spec)}

    assert reasons == {
        0: "best accuracy_mean 0.9",
        1: "tie on accuracy_mean; metrics.duration_s 9 against 1",
        2: "accuracy_mean 0.85, 0.05 below the winner's",
        3: "was stopped early",
        4: "failed",
        5: "filter params.kind = 'tree': is 'forest'",
        6: "constraint metrics.duration_s <= 10: is 20",
        7: "saw data bbbbbbbb, the newest sweep s saw aaaaaaaa",
        8: "had other folds than the newest sweep s",
        9: "tie on accuracy_mean; the winner came first",
    }


def test_a_simpler_winner_says_whom_it_beat_and_how() -> None:
    best = candidate(0, 0.8, 0.9, 1.0, params=LARGE)
    near = candidate(1, 0.8, 0.86, 0.95, params=SMALL)

    won, lost = rank([best, near], rules(parsimony={"prefer": ["params.n ASC"]}))

    assert won.reason == (
        "accuracy_mean 0.87 is within 0.0577 (1 standard errors) of the best, s trial 0 with 0.9, "
        "and simpler: params.n 10 against 200"
    )
    assert lost.reason == "about as good, but the winner is simpler: params.n 10 against 200"


@pytest.mark.parametrize(
    ("comparable_by", "expected"), [("folds", [0]), ("data", [1, 0]), ("nothing", [2, 1, 0])]
)
def test_what_is_comparable(comparable_by: str, expected: list[int]) -> None:
    newest = candidate(0, 0.7, sweep_started_at_ms=9)
    candidates = [
        newest,
        replace(candidate(1, 0.8), folds="three"),
        replace(candidate(2, 0.9), data_hash="b" * 64),
    ]

    assert order(rank(candidates, rules(comparable_by=comparable_by))) == expected


def test_the_bounds_of_its_own_sweep_hold_for_a_trial() -> None:
    limits = (parse_constraint("model_bytes <= 1 MB"), parse_constraint("log_loss <= 0.5"))
    known = {"accuracy_mean": 0.9, "model_bytes": 1e6, "log_loss_mean": 0.5}
    candidates = [
        candidate(0, 0.9, metrics=known, limits=limits),
        candidate(1, 0.91, metrics={**known, "model_bytes": 2e6}, limits=limits),
        candidate(2, 0.92, metrics={**known, "log_loss_mean": 0.6}, limits=limits),
        candidate(3, 0.93, limits=limits),
        candidate(4, 0.8, metrics={"accuracy_mean": 0.8}),
    ]

    ranked = rank(candidates, rules())

    assert order(ranked) == [0, 4]
    assert [placed.reason for placed in ranked[2:]] == [
        "constraint of its sweep, model_bytes <= 1 MB: is 2e+06",
        "constraint of its sweep, log_loss <= 0.5: is 0.6",
        "constraint of its sweep, model_bytes <= 1 MB: has none",
    ]


def test_nothing_is_ranked_of_nothing() -> None:
    assert rank([], rules()) == []

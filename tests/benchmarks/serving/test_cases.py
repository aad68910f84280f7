"""The tables of cases, targets, hosts and bars name each other rightly."""

from itertools import groupby

import pytest

from benchmarks.serving.__main__ import parser, read_plan
from benchmarks.serving.bars import judge
from benchmarks.serving.budget import Budget
from benchmarks.serving.cases import CASES, Case, Wire
from benchmarks.serving.environment import LOCKS
from benchmarks.serving.hosts import HOSTS
from benchmarks.serving.models import MODELS
from benchmarks.serving.readings import Reading
from benchmarks.serving.results import Measurement, Results
from benchmarks.serving.targets import TARGETS


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_case_names_what_there_is(case: Case) -> None:
    assert case.model in MODELS
    assert set(case.targets) <= set(TARGETS)


def test_models_are_grouped_so_that_cases_share_starts() -> None:
    models = [case.model for case in CASES.values()]

    assert [model for model, _ in groupby(models)] == list(dict.fromkeys(models))


def test_targets_and_hosts_name_what_there_is() -> None:
    assert {target.host for target in TARGETS.values()} <= set(HOSTS)
    assert {host.environment for host in HOSTS.values()} - {None} <= set(LOCKS)
    assert all(lock.is_file() for lock in LOCKS.values())


def test_a_full_run_can_judge_every_bar() -> None:
    plan = read_plan(parser().parse_args([]))
    results = Results(
        [
            Measurement(name, target, connections, (Reading(1.0, 1.0, 1.0, 0),))
            for name in plan.cases
            for target in plan.targets_of(CASES[name])
            for connections in (*plan.connections_of(CASES[name]), None)
        ]
    )

    unjudged = [finding.bar.text for finding in judge(results) if finding.is_met is None]

    assert unjudged == []


def test_targets_that_do_not_speak_a_wire_are_left_out() -> None:
    plan = read_plan(parser().parse_args(["--targets", "mlflow", "mlserver", "uvicorn-batched"]))

    assert plan.targets_of(CASES["tensor"]) == ("mlserver", "uvicorn-batched")
    assert TARGETS["mlserver"].wire_of(CASES["tensor"]) is Wire.GRPC


def test_one_start_serves_all_cases_of_its_model_and_both_doors() -> None:
    plan = read_plan(
        parser().parse_args(["--cases", "batch32", "linear", "--targets", "rayfleet", "express"])
    )

    assert list(plan.visits("iris")) == [
        (
            "rayfleet",
            {"linear": ["rayfleet", "express"], "batch32": ["rayfleet", "express"]},
        )
    ]


@pytest.mark.parametrize(
    ("now_s", "expected_s", "allowed"),
    [
        pytest.param(100.0, 0.0, True, id="nothing-is-known-yet"),
        pytest.param(150.0, 50.0, True, id="ends-just-in-time"),
        pytest.param(150.0, 51.0, False, id="ends-too-late"),
        pytest.param(201.0, 0.0, False, id="it-is-over"),
    ],
)
def test_budget(now_s: float, expected_s: float, allowed: bool) -> None:
    assert Budget(total_s=100.0, began_s=100.0).allows(now_s, expected_s) is allowed

"""GPU budgets and PyTorch settings, as `rayfleet validate` and the controller refuse them."""

from typing import Any

import pytest

from deployments.controller.facts import RegistryView, VersionFacts
from deployments.controller.faults import model_faults, pool_faults, rollout_faults
from deployments.schema import ModelSpec
from deployments.userconfig import ModelsSpec
from tests.fakes import SIGNATURE

TORCH = VersionFacts("torch", SIGNATURE, native="torch")
PYFUNC = VersionFacts("pyfunc", SIGNATURE, native="torch")
NAMES = ("a", "b", "c", "d")


def faults(facts: VersionFacts = TORCH, hosted: tuple[str, ...] = (), **spec: Any) -> list[str]:
    """What is wrong with four models of this spec."""
    view = RegistryView(
        {name: {"champion": "1"} for name in NAMES}, {(name, "1"): facts for name in NAMES}
    )
    specs = {name: ModelSpec.model_validate(spec) for name in NAMES}
    return list(model_faults(specs, view, "http://registry", hosted=hosted))


def quarter(budget_mib: int) -> dict[str, Any]:
    """A quarter of an L4 each."""
    options = {"num_gpus": 0.25, "accelerator_type": "L4"}
    return {"gpu_memory_mib": budget_mib, "ray_actor_options": options}


@pytest.mark.parametrize("hosted", [(), NAMES], ids=["new", "hosted"])
def test_four_quarters_that_together_exceed_the_device_are_each_refused_by_name(
    hosted: tuple[str, ...],
) -> None:
    found = faults(hosted=hosted, **quarter(6_145))

    assert found == [
        f"models.{name}: gpu_memory_mib 6145: above the share of num_gpus 0.25 in L4, 24576 MiB,"
        " which is 6144 MiB; lower it, or raise num_gpus"
        for name in NAMES
    ]
    assert faults(hosted=hosted, **quarter(6_144)) == []


@pytest.mark.parametrize(
    ("facts", "n_faults"),
    [pytest.param(TORCH, 0, id="native"), pytest.param(PYFUNC, len(NAMES), id="by-pyfunc")],
)
def test_torch_settings_are_for_versions_that_the_torch_runtime_runs(
    facts: VersionFacts, n_faults: int
) -> None:
    assert len(faults(facts, torch={"compile": True})) == n_faults


def test_conditions_of_rollouts_that_cannot_be_read() -> None:
    rule = {"name": "p99", "query": "up", "successCondition": "result[0] <"}
    settings = {"analysis": {"rules": [rule]}}
    spec = ModelsSpec.load({"models": {"m": {"rollout": settings}}, "rollouts": {"t": settings}})

    assert [line.partition(": ")[0] for line in rollout_faults(spec.models, spec.rollouts)] == [
        "rollouts.t.analysis.rules[0].successCondition",
        "models.m.rollout.analysis.rules[0].successCondition",
    ]


def test_settings_of_rollouts_that_do_nothing() -> None:
    idle = {"strategy": "canary", "duration_s": 5}
    spec = ModelsSpec.load({
        "models": {"m": {"rollout": idle}},
        "rollouts": {"t": idle},
        "pools": {"p": {"settings": {"rollout": idle}}},
    })  # fmt: skip

    found = [*rollout_faults(spec.models, spec.rollouts), *pool_faults(spec.pools)]

    assert [line.partition(": ")[0] for line in found] == [
        "rollouts.t.duration_s", "models.m.rollout.duration_s",
        "pools.p.settings.rollout.duration_s",
    ]  # fmt: skip

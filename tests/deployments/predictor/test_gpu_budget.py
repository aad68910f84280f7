"""What is admitted fits, whatever Ray places beside whatever; what is not is one line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.errors import ConfigError
from deployments.predictor.gpu_budget import (
    MEMORY_MIB,
    UNITS,
    Claim,
    Device,
    admit,
    budget_fault,
    claim_fault,
)
from deployments.resourcespec import RayActorOptionsSpec
from deployments.schema import CONTEXT_MIB, ModelSpec

L4 = Device("NVIDIA L4", 23_034, "GPU 1 of node-7", free_mib=9_000)
DEVICES = st.builds(Device, st.just("GPU"), st.integers(CONTEXT_MIB, 300_000))
UNIT_COUNTS = st.integers(1, UNITS)
BUDGETS = st.none() | st.integers(CONTEXT_MIB + 1, 300_000)


@st.composite
def packings(draw: st.DrawFn) -> tuple[Device, list[Claim]]:
    """A device, and replicas that Ray would place on it: their fractions sum to 1 at most."""
    device, left, claims = draw(DEVICES), UNITS, []
    while left and draw(st.booleans()):
        units = draw(st.integers(1, left))
        left -= units
        # A share's neighbourhood, where a budget is just admitted or just not.
        share_mib = device.total_mib * units // UNITS
        near = st.integers(max(share_mib - 2, CONTEXT_MIB + 1), max(share_mib, CONTEXT_MIB) + 2)
        claims.append(Claim(units / UNITS, draw(BUDGETS | near)))
    return device, claims


@given(packings())
def test_admitted_budgets_fit_onto_a_device_together(packing: tuple[Device, list[Claim]]) -> None:
    device, claims = packing

    admitted = [claim for claim in claims if claim_fault(claim, device) is None]

    assert sum(claim.budget_mib(device) for claim in admitted) <= device.total_mib


@given(DEVICES, st.sampled_from([1, 2, 4, 5, 8, 10, 16]), st.integers(1, 1_000))
def test_a_budget_above_its_share_would_not_fit_as_often_as_ray_places_it(
    device: Device, parts: int, excess_mib: int
) -> None:
    share_mib = Claim(1 / parts).share_mib(device)
    claim = Claim(1 / parts, max(share_mib, CONTEXT_MIB) + excess_mib)

    assert claim_fault(claim, device) is not None
    assert parts * claim.budget_mib(device) > device.total_mib


@given(DEVICES, UNIT_COUNTS, BUDGETS, st.none() | st.integers(0, 300_000))
def test_what_is_granted_leaves_room_for_the_context_and_is_there(
    device: Device, units: int, budget_mib: int | None, free_mib: int | None
) -> None:
    asked = Device(device.name, device.total_mib, free_mib=free_mib)
    claim = Claim(units / UNITS, budget_mib)

    if claim_fault(claim, asked) is not None:
        with pytest.raises(ConfigError):
            admit(claim, asked)
        return
    grant = admit(claim, asked)

    assert 0 < grant.allocator_mib == grant.budget_mib - CONTEXT_MIB
    assert grant.budget_mib == (claim.share_mib(asked) if budget_mib is None else budget_mib)
    assert budget_mib is None or free_mib is None or grant.allocator_mib <= free_mib


@given(DEVICES, UNIT_COUNTS, BUDGETS, st.integers(0, 10_000))
def test_a_larger_device_never_refuses_what_a_smaller_one_takes(
    device: Device, units: int, budget_mib: int | None, more_mib: int
) -> None:
    claim = Claim(units / UNITS, budget_mib)
    larger = Device(device.name, device.total_mib + more_mib)

    assert claim_fault(claim, larger) is None or claim_fault(claim, device) is not None


@pytest.mark.parametrize("num_gpus", [1.0, 2.0, 8.0])
def test_a_replica_with_whole_gpus_may_take_all_of_each(num_gpus: float) -> None:
    assert admit(Claim(num_gpus), L4).budget_mib == L4.total_mib


@pytest.mark.parametrize(
    ("claim", "line"),
    [
        pytest.param(
            Claim(1.0, 30_000),
            "gpu_memory_mib 30000: more than all of NVIDIA L4, GPU 1 of node-7, 23034 MiB",
            id="beyond-the-device",
        ),
        pytest.param(
            Claim(0.25, 6_000),
            "gpu_memory_mib 6000: above the share of num_gpus 0.25 in NVIDIA L4, GPU 1 of node-7,"
            " 23034 MiB, which is 5758 MiB; lower it, or raise num_gpus",
            id="beyond-its-share",
        ),
        pytest.param(
            Claim(1.0, 20_000),
            "gpu_memory_mib 20000: does not fit beside what is taken of NVIDIA L4, GPU 1 of"
            " node-7, 23034 MiB, free are 9000 MiB",
            id="beside-what-is-taken",
        ),
        pytest.param(
            Claim(0.02),
            "num_gpus 0.02: 460 MiB of NVIDIA L4, GPU 1 of node-7, 23034 MiB, and a process takes"
            " 512 MiB before its framework takes any; raise it",
            id="a-share-too-small-for-anything",
        ),
    ],
)
def test_a_refusal_names_budget_and_device(claim: Claim, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        admit(claim, L4)

    assert str(caught.value) == line


def test_a_budget_that_just_fits_what_is_free_is_granted() -> None:
    # The process that asks has taken its context already.
    grant = admit(Claim(1.0, 9_000 + CONTEXT_MIB), L4)

    assert grant.allocator_mib == 9_000
    with pytest.raises(ConfigError, match="does not fit beside"):
        admit(Claim(1.0, 9_001 + CONTEXT_MIB), L4)


def spec(num_gpus: float, budget_mib: int | None, accelerator: str | None) -> ModelSpec:
    options = RayActorOptionsSpec(num_gpus=num_gpus, accelerator_type=accelerator)
    return ModelSpec(ray_actor_options=options, gpu_memory_mib=budget_mib)


@pytest.mark.parametrize(
    ("asked", "refused"),
    [
        pytest.param(spec(0.25, 20_480, "A100-80G"), False, id="a-quarter-of-it"),
        pytest.param(spec(0.25, 20_481, "A100-80G"), True, id="more-than-a-quarter"),
        pytest.param(spec(0.25, 20_481, None), False, id="whatever-gpu-comes"),
        pytest.param(spec(0.25, 20_481, "AMD-Instinct-MI100"), False, id="a-size-not-known"),
        pytest.param(spec(0.01, None, "T4"), True, id="a-share-too-small"),
        pytest.param(spec(0.0, None, "T4"), False, id="no-gpu"),
    ],
)
def test_a_config_is_refused_as_far_as_its_accelerator_type_tells(
    asked: ModelSpec, refused: bool
) -> None:
    assert (budget_fault(asked) is not None) is refused


def test_the_known_types_are_ray_s_own() -> None:
    from ray.util.accelerators import accelerators  # noqa: PLC0415, only this test needs it

    named = {value for name, value in vars(accelerators).items() if name.isupper()}

    assert named >= MEMORY_MIB.keys()

"""What a fleet config may say about the resources of a replica."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field, field_validator

from tuning.configfile import Spec
from tuning.resources import UNIT

MOST = 1_000_000
"""Of anything that is counted; beyond it a number is a slip, and larger ones fit no wire."""

NAMED_RESOURCES = {"CPU": "num_cpus", "GPU": "num_gpus"}
"""Resources that Ray 2.60 refuses as custom ones, and the option that each is called by."""


def _countable(amount: float) -> float:
    # Ray refuses it, too, but only when it starts a replica.
    if 0 < amount < 1 / UNIT:
        raise ValueError(f"{amount:g}: should be 0, or {1 / UNIT:g} and more")
    return amount


Amount = Annotated[float, Field(ge=0, le=MOST), AfterValidator(_countable)]


class RayActorOptionsSpec(Spec):
    """What one replica of a version takes from the cluster, in Ray's words."""

    num_cpus: Amount = 0.1
    """CPUs that Ray's scheduler sets aside; a share to place by, not a limit."""

    num_gpus: Amount = 0.0
    """GPUs, fractions allowed."""

    memory: Annotated[float, Field(ge=0, le=2**60)] | None = None
    """Memory that the scheduler sets aside, bytes; None sets none aside."""

    resources: dict[str, Amount] = Field(default={})
    """Custom resources by name."""

    accelerator_type: str | None = None
    """Such as `L4`; None takes any."""

    runtime_env: dict[str, Any] = Field(default={})
    """Ray runtime environment of this model's replicas."""

    @field_validator("num_gpus")
    @classmethod
    def _only_one_gpu_can_be_shared(cls, value: float) -> float:
        if value > 1 and value != int(value):
            raise ValueError(f"{value}: should be a fraction up to 1, or whole")
        return value

    @field_validator("resources")
    @classmethod
    def _named_resources_have_keys_of_their_own(cls, value: dict[str, float]) -> dict[str, float]:
        for name, key in NAMED_RESOURCES.items():
            if name in value:
                raise ValueError(f"resource {name!r} cannot stand here, use {key!r} beside it")
        return value

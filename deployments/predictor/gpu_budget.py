"""How much of a GPU a replica may take, and whether that can be had: pure.

`num_gpus: 0.25` only tells Ray where to place a replica. Ray never gives out more than the
whole of a device, so replicas whose budgets stay within their fractions' shares fit onto
it together, whatever Ray places beside whatever. Hence the one rule of admission: no
budget is above its share. What holds a framework to its budget are `runtimes.*_memory`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from deployments.errors import ConfigError
from deployments.schema import CONTEXT_MIB, ModelSpec

UNITS = 10_000
"""Ray counts resources in units of 1/10000, and rounds to them."""

GIB = 1024

MEMORY_MIB: Mapping[str, int] = {
    "A10G": 24 * GIB,
    "A100": 80 * GIB,
    "A100-40G": 40 * GIB,
    "A100-80G": 80 * GIB,
    "B200": 192 * GIB,
    "B300": 288 * GIB,
    "GB200": 192 * GIB,
    "GB300": 288 * GIB,
    "H20": 141 * GIB,
    "H100": 94 * GIB,
    "H200": 141 * GIB,
    "K80": 12 * GIB,
    "L4": 24 * GIB,
    "L40S": 48 * GIB,
    "P4": 8 * GIB,
    "P100": 16 * GIB,
    "RTX-PRO-6000": 96 * GIB,
    "T4": 16 * GIB,
    "V100": 32 * GIB,
}
"""Memory of the largest device sold under each of Ray 2.60's names for NVIDIA's, nominal.

A budget that fits none of them is refused before anything starts; the replica then asks
its device, which always has somewhat less.
"""


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU as its driver describes it, or as its type promises."""

    name: str
    total_mib: int

    place: str = ""
    """Which one it is, such as `GPU 0 of node-7`; empty for a type."""

    free_mib: int | None = None
    """What nobody has taken; None when it was not asked."""

    def __str__(self) -> str:
        return ", ".join(filter(None, [self.name, self.place, f"{self.total_mib} MiB"]))


@dataclass(frozen=True, slots=True)
class Claim:
    """What one replica of a version wants of each of its GPUs."""

    num_gpus: float
    """As Ray counts them; above 1 the replica has whole ones."""

    gpu_memory_mib: int | None = None
    """Declared budget for each GPU; None wants the share."""

    def share_mib(self, device: Device) -> int:
        """The fraction of the device that Ray sets aside, MiB."""
        units = min(round(self.num_gpus * UNITS), UNITS)
        return device.total_mib * units // UNITS

    def budget_mib(self, device: Device) -> int:
        """The declared budget, else the share, MiB."""
        return self.share_mib(device) if self.gpu_memory_mib is None else self.gpu_memory_mib


@dataclass(frozen=True, slots=True)
class Grant:
    """A budget that was admitted on a device."""

    budget_mib: int
    device: Device

    @property
    def allocator_mib(self) -> int:
        """What the framework's allocator may take: all but the process's context."""
        return self.budget_mib - CONTEXT_MIB

    def __str__(self) -> str:
        return f"the budget of {self.budget_mib} MiB on {self.device}"


def admit(claim: Claim, device: Device) -> Grant:
    """Grant a replica its budget on the device that it was placed on.

    Raises:
        ConfigError: It cannot have it; one line with the budget and the device.
    """
    fault = claim_fault(claim, device)
    if fault is not None:
        raise ConfigError(fault)
    return Grant(claim.budget_mib(device), device)


def claim_fault(claim: Claim, device: Device) -> str | None:
    """Say why a claim cannot be met on a device, in one line; None when it can.

    A share is not compared with what is free: Ray's own bookkeeping says that it is there,
    while a declared budget is a promise that must hold.
    """
    declared, share_mib = claim.gpu_memory_mib, claim.share_mib(device)
    if declared is None:
        if share_mib > CONTEXT_MIB:
            return None
        return (
            f"num_gpus {claim.num_gpus:g}: {share_mib} MiB of {device}, and a process takes"
            f" {CONTEXT_MIB} MiB before its framework takes any; raise it"
        )
    if declared > device.total_mib:
        return f"gpu_memory_mib {declared}: more than all of {device}"
    if declared > share_mib:
        return (
            f"gpu_memory_mib {declared}: above the share of num_gpus {claim.num_gpus:g} in"
            f" {device}, which is {share_mib} MiB; lower it, or raise num_gpus"
        )
    # The process that asks has its context already.
    if device.free_mib is not None and device.free_mib < declared - CONTEXT_MIB:
        return (
            f"gpu_memory_mib {declared}: does not fit beside what is taken of {device},"
            f" free are {device.free_mib} MiB"
        )
    return None


def budget_fault(spec: ModelSpec) -> str | None:
    """Say what is wrong with a model's budget as far as its `accelerator_type` tells."""
    options = spec.ray_actor_options
    total_mib = MEMORY_MIB.get(options.accelerator_type or "")
    if total_mib is None or options.num_gpus == 0:
        return None
    claim = Claim(options.num_gpus, spec.gpu_memory_mib)
    return claim_fault(claim, Device(str(options.accelerator_type), total_mib))

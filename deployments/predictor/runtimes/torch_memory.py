"""Hold PyTorch to a budget of GPU memory."""

from typing import Any

import torch

from deployments.predictor.gpu_budget import Claim, Device, admit
from deployments.predictor.runtimes.capped import Cap
from deployments.predictor.runtimes.nvidia import place

MIB = 2**20


def cap_torch(claim: Claim, cuda: Any = torch.cuda) -> Cap | None:
    """Cap what PyTorch may take of each GPU that the process sees; None when it sees none.

    Args:
        claim: What the replica may take.
        cuda: PyTorch's side of the GPUs.

    Raises:
        ConfigError: A device cannot give it.
    """
    if not cuda.is_available():
        return None
    grants = []
    for index in range(cuda.device_count()):
        free_bytes, total_bytes = cuda.mem_get_info(index)
        name = cuda.get_device_properties(index).name
        device = Device(name, total_bytes // MIB, place(index), free_bytes // MIB)
        grant = admit(claim, device)
        cuda.set_per_process_memory_fraction(grant.allocator_mib * MIB / total_bytes, index)
        grants.append(grant)
    indices = range(len(grants))
    return Cap(
        grants[0],
        torch.OutOfMemoryError,
        lambda: max(cuda.memory_reserved(index) for index in indices),
    )

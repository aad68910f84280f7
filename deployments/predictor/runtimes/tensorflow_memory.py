"""Hold TensorFlow to a budget of GPU memory."""

import os
from collections.abc import Callable, Sequence
from typing import Any

# Without a GPU it logs several errors about that at import; real ones raise.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# TensorFlow counts GPUs as the driver's tool does then, which tells us their size.
os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")

import tensorflow as tf

from deployments.predictor.gpu_budget import Claim, Device, admit
from deployments.predictor.runtimes.capped import Cap
from deployments.predictor.runtimes.nvidia import read_devices


def cap_tensorflow(
    claim: Claim,
    config: Any = tf.config,
    read: Callable[[], Sequence[Device]] = read_devices,
) -> Cap | None:
    """Cap what TensorFlow may take of each GPU that the process sees; None when it sees none.

    TensorFlow takes all of it at its first operation.

    Args:
        claim: What the replica may take.
        config: TensorFlow's side of the GPUs.
        read: The driver's.

    Raises:
        ConfigError: A device cannot give it, or the driver does not tell its size.
    """
    gpus = config.list_physical_devices("GPU")
    if not gpus:
        return None
    grants = [admit(claim, device) for device in read()]
    for gpu, grant in zip(gpus, grants, strict=True):
        limit = config.LogicalDeviceConfiguration(memory_limit=grant.allocator_mib)
        config.set_logical_device_configuration(gpu, [limit])
    names = [f"GPU:{index}" for index in range(len(grants))]
    return Cap(
        grants[0],
        tf.errors.ResourceExhaustedError,
        lambda: max(config.experimental.get_memory_info(name)["current"] for name in names),
    )

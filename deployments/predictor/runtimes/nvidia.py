"""What NVIDIA's driver tells of the GPUs that Ray assigned to this process."""

import os
import platform
import subprocess
from collections.abc import Sequence

from deployments.errors import ConfigError
from deployments.predictor.gpu_budget import Device

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""Indices or UUIDs of the GPUs that the process sees, as Ray sets it."""

QUERY = ("nvidia-smi", "--query-gpu=name,memory.total,memory.free", "--format=csv,noheader,nounits")

TIMEOUT_S = 60.0
"""A driver without persistence mode needs seconds to wake its devices."""


def visible() -> Sequence[str]:
    """Names of the GPUs that the process sees; empty when it sees all."""
    return [name for name in os.environ.get(VISIBLE, "").split(",") if name]


def place(index: int) -> str:
    """Which GPU of which node the process's own `index` is."""
    names = visible()
    return f"GPU {names[index] if index < len(names) else index} of {platform.node()}"


def read_devices() -> Sequence[Device]:
    """Ask the driver for name, size and what is free of each visible GPU, in their order.

    Raises:
        ConfigError: It does not tell.
    """
    # One at a time: asked for several, the tool answers in an order of its own.
    answers = [_ask("-i", name) for name in visible()] or [_ask()]
    lines = [line for answer in answers for line in answer.splitlines()]
    return [_parse(line, place(index)) for index, line in enumerate(lines)]


def hide_gpus() -> None:
    """Keep every framework from the node's GPUs, none of which is this process's.

    Ray 2.60 leaves all of them visible to an actor that asked for none.
    """
    os.environ[VISIBLE] = ""


def _ask(*arguments: str) -> str:
    try:
        return subprocess.run(
            [*QUERY, *arguments], capture_output=True, text=True, timeout=TIMEOUT_S, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigError(f"nvidia-smi does not tell the GPU's memory: {error}") from None


def _parse(line: str, where: str) -> Device:
    """Read `NVIDIA L4, 23034, 22474`: MiB."""
    name, *sizes = line.split(",")
    try:
        total_mib, free_mib = map(int, sizes)
    except ValueError:
        raise ConfigError(f"nvidia-smi does not tell the GPU's memory: {line.strip()!r}") from None
    return Device(name.strip(), total_mib, where, free_mib)

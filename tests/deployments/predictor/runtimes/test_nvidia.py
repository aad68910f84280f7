"""What the driver's tool tells, through a real process that answers in its format."""

import os
import platform
from collections.abc import Callable
from pathlib import Path

import pytest

from deployments.errors import ConfigError
from deployments.predictor.gpu_budget import Device
from deployments.predictor.runtimes import nvidia
from deployments.predictor.runtimes.nvidia import hide_gpus, place, read_devices

Install = Callable[[str], None]

TWO_CARDS = """
[[ "$1 $2" == "--query-gpu=name,memory.total,memory.free --format=csv,noheader,nounits" ]] || exit 2
case "$4" in
  1) echo "NVIDIA L4, 23034, 22474" ;;
  GPU-5f) echo "NVIDIA H100 80GB HBM3, 81559, 81079" ;;
  "") printf 'NVIDIA L4, 23034, 22474\\nNVIDIA L4, 23034, 0\\n' ;;
  *) echo "No devices were found"; exit 6 ;;
esac
"""


@pytest.fixture(autouse=True)
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a program of this text in the tool's place; there is none until then."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(nvidia.VISIBLE, raising=False)
    monkeypatch.setattr(platform, "node", lambda: "node-7")

    def put(text: str) -> None:
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/bash\n{text}")
        program.chmod(0o755)

    return put


def test_the_visible_gpus_are_told_in_their_order(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(TWO_CARDS)
    monkeypatch.setenv(nvidia.VISIBLE, "GPU-5f,1")

    assert read_devices() == [
        Device("NVIDIA H100 80GB HBM3", 81_559, "GPU GPU-5f of node-7", 81_079),
        Device("NVIDIA L4", 23_034, "GPU 1 of node-7", 22_474),
    ]


def test_all_are_told_where_none_is_hidden(install: Install) -> None:
    install(TWO_CARDS)

    assert [(device.place, device.free_mib) for device in read_devices()] == [
        ("GPU 0 of node-7", 22_474),
        ("GPU 1 of node-7", 0),
    ]


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(None, id="no-such-program"),
        pytest.param("exit 9", id="no-driver"),
        pytest.param("echo 'Unable to determine the device handle'", id="another-answer"),
        pytest.param("echo 'NVIDIA GB10, [N/A], [N/A]'", id="size-not-told"),
    ],
)
def test_a_size_that_is_not_told_is_one_line(install: Install, program: str | None) -> None:
    if program is not None:
        install(program)

    with pytest.raises(ConfigError, match=r"^nvidia-smi does not tell the GPU's memory: .+$"):
        read_devices()


def test_hidden_gpus_are_hidden_from_every_framework(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(nvidia.VISIBLE, "0,1")

    hide_gpus()

    assert os.environ[nvidia.VISIBLE] == ""


def test_a_gpu_is_named_by_its_place_on_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(nvidia.VISIBLE, "3")

    assert place(0) == "GPU 3 of node-7"

"""Each framework is told its cap before it takes anything, in its own words.

Beside stand-ins for the frameworks' GPUs; `tests/integration/test_gpu.py` has real ones.
"""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from deployments.errors import ConfigError
from deployments.predictor.gpu_budget import Claim, Device
from deployments.schema import CONTEXT_MIB

pytestmark = pytest.mark.ray

MIB = 2**20


@dataclass
class FakeCuda:
    """PyTorch's side of GPUs of 1000 to 1 MiB."""

    sizes_mib: list[int]
    free_mib: int = 100_000
    fractions: dict[int, float] = field(default_factory=dict)

    def is_available(self) -> bool:
        return bool(self.sizes_mib)

    def device_count(self) -> int:
        return len(self.sizes_mib)

    def mem_get_info(self, index: int) -> tuple[int, int]:
        return self.free_mib * MIB, self.sizes_mib[index] * MIB

    def get_device_properties(self, index: int) -> Any:
        return SimpleNamespace(name=f"Card {index}")

    def set_per_process_memory_fraction(self, fraction: float, index: int) -> None:
        self.fractions[index] = fraction

    def memory_reserved(self, index: int) -> int:
        return (index + 1) * MIB


class TestTorch:
    def cap(self, claim: Claim, cuda: FakeCuda) -> Any:
        from deployments.predictor.runtimes.torch_memory import cap_torch  # noqa: PLC0415, slow

        return cap_torch(claim, cuda)

    def test_a_quarter_is_the_share_less_the_process_s_context(self) -> None:
        cuda = FakeCuda([40_000])

        cap = self.cap(Claim(0.25), cuda)

        assert cuda.fractions == {0: pytest.approx((10_000 - CONTEXT_MIB) / 40_000)}
        assert cap.grant.budget_mib == 10_000

    def test_a_declared_budget_holds_on_each_gpu(self) -> None:
        cuda = FakeCuda([40_000, 20_000])

        self.cap(Claim(2.0, 8_000), cuda)

        assert cuda.fractions == {
            0: pytest.approx((8_000 - CONTEXT_MIB) / 40_000),
            1: pytest.approx((8_000 - CONTEXT_MIB) / 20_000),
        }

    def test_the_fullest_gpu_tells_what_is_held(self) -> None:
        cap = self.cap(Claim(2.0, 8_000), FakeCuda([40_000, 20_000]))

        assert cap.held_bytes() == 2 * MIB

    def test_what_is_taken_already_is_seen(self) -> None:
        cuda = FakeCuda([40_000], free_mib=5_000)

        with pytest.raises(ConfigError, match="beside what is taken of Card 0"):
            self.cap(Claim(0.25, 8_000), cuda)
        assert cuda.fractions == {}

    def test_without_a_gpu_there_is_no_cap(self) -> None:
        assert self.cap(Claim(0.25), FakeCuda([])) is None

    def test_its_own_error_is_recognized(self) -> None:
        import torch  # noqa: PLC0415, slow

        cap = self.cap(Claim(1.0), FakeCuda([40_000]))

        assert cap.out_of_memory is torch.OutOfMemoryError


@dataclass
class FakeConfig:
    """TensorFlow's side of its GPUs."""

    gpus: list[str]
    limits: dict[str, list[float]] = field(default_factory=dict)

    def list_physical_devices(self, kind: str) -> list[str]:
        return self.gpus if kind == "GPU" else ["cpu"]

    @staticmethod
    def LogicalDeviceConfiguration(memory_limit: float) -> float:  # noqa: N802, its name there
        return memory_limit

    def set_logical_device_configuration(self, device: str, logical: list[float]) -> None:
        self.limits[device] = logical


class TestTensorflow:
    def cap(self, claim: Claim, config: FakeConfig, devices: list[Device]) -> Any:
        from deployments.predictor.runtimes.tensorflow_memory import (  # noqa: PLC0415, slow
            cap_tensorflow,
        )

        return cap_tensorflow(claim, config, lambda: devices)

    def test_a_quarter_is_the_share_less_the_process_s_context(self) -> None:
        config = FakeConfig(["gpu:0"])

        cap = self.cap(Claim(0.25), config, [Device("Card", 40_000)])

        assert config.limits == {"gpu:0": [10_000 - CONTEXT_MIB]}
        assert cap.grant.budget_mib == 10_000

    def test_a_budget_beyond_the_share_is_refused(self) -> None:
        config = FakeConfig(["gpu:0"])

        with pytest.raises(ConfigError, match="gpu_memory_mib 10001: above the share"):
            self.cap(Claim(0.25, 10_001), config, [Device("Card", 40_000)])
        assert config.limits == {}

    def test_without_a_gpu_there_is_no_cap(self) -> None:
        assert self.cap(Claim(0.25), FakeConfig([]), []) is None

    def test_its_own_configuration_takes_a_limit(self) -> None:
        import tensorflow as tf  # noqa: PLC0415, slow

        # The one part of TensorFlow's own interface that needs no GPU.
        limit = tf.config.LogicalDeviceConfiguration(memory_limit=9_488)

        assert limit.memory_limit == 9_488

"""A model whose framework is held to a budget of GPU memory, and says so when it meets it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deployments.predictor.gpu_budget import Grant
from deployments.predictor.runtimes.budget_gauges import BudgetGauges, Gauge, serve_gauge
from deployments.protocols.tensors import Batch, Outputs

if TYPE_CHECKING:
    from deployments.predictor.runtimes.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Cap:
    """What a framework was held to."""

    grant: Grant
    """Of the first GPU; a replica's others are of the same kind."""

    out_of_memory: type[Exception]
    """What the framework raises when there is no more."""

    held_bytes: Callable[[], int]
    """What the framework holds of the GPU where it holds most."""


class CappedRuntime:
    """Turns the framework's own error into one that names the budget and the device."""

    def __init__(
        self,
        load: Callable[[], "Runtime"],
        cap: Cap,
        make_gauge: Callable[[str], Gauge] = serve_gauge,
    ) -> None:
        self._cap = cap
        self._gauges = BudgetGauges(cap.grant.allocator_mib, cap.held_bytes, make_gauge)
        with self._named():
            self._runtime = load()
        self._gauges.keep_looking()

    def predict(self, batch: Batch) -> Outputs:
        """See `Runtime.predict`.

        Raises:
            MemoryError: The batch needs more than is left of the budget.
        """
        with self._named():
            return self._runtime.predict(batch)

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except self._cap.out_of_memory as error:
            said = str(error).strip().partition("\n")[0]
            raise MemoryError(f"out of {self._cap.grant}: {said}") from None
        finally:
            self._gauges.look()

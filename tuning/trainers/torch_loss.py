"""The loss of one batch: in one process, or in several that each take a part of it.

Several workers compute what one would, but for the order in which floats are added: layers
that look at a whole batch see all of it. Batch normalization sums over the workers (PyTorch's
own `SyncBatchNorm` knows GPUs only), and dropout draws the whole batch's mask everywhere, from
generators that stay equal, of which a worker uses its rows. So one generator's state resumes
all of them, and a trial may go on with another number of workers.
"""

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, cast

from tuning.trainers.trainer import Workers

if TYPE_CHECKING:
    from torch import Tensor, nn


class BatchLoss(Protocol):
    """Mean cross entropy of a batch, whose `backward` gives the gradients of the whole batch."""

    def __call__(self, inputs: "Tensor", targets: "Tensor", chosen: "Tensor") -> "Tensor":
        """Compute the loss of the chosen rows."""
        ...

    def summed(self, loss_sum: float) -> float:
        """Put together what workers added up, each for itself."""
        ...


def make_loss(network: "nn.Module", workers: Workers) -> BatchLoss:
    """Build the loss for as many workers as there are."""
    return _Alone(network) if workers.size == 1 else _Together(network, workers)


class _Alone:
    def __init__(self, network: "nn.Module") -> None:
        self._network = network

    def __call__(self, inputs: "Tensor", targets: "Tensor", chosen: "Tensor") -> "Tensor":
        from torch.nn import functional  # noqa: PLC0415, costs seconds

        return functional.cross_entropy(self._network(inputs[chosen]), targets[chosen])

    def summed(self, loss_sum: float) -> float:
        return loss_sum


class _Together:
    def __init__(self, network: "nn.Module", workers: Workers) -> None:
        from torch.nn.parallel import DistributedDataParallel  # noqa: PLC0415, as above

        self._workers = workers
        # Buffers are equal already: they come from sums over all workers.
        self._parallel = DistributedDataParallel(_shared(network), forward_sync_buffers=False)

    def __call__(self, inputs: "Tensor", targets: "Tensor", chosen: "Tensor") -> "Tensor":
        from torch.nn import functional  # noqa: PLC0415, as above

        share = self._workers.share(len(chosen))
        mine = chosen[share]
        scores = self._parallel(inputs[mine], share, len(chosen))
        loss = functional.cross_entropy(scores, targets[mine], reduction="sum")
        # Gradients are averaged over workers, whose shares of a batch need not be equal.
        return loss * (self._workers.size / len(chosen))

    def summed(self, loss_sum: float) -> float:
        import torch  # noqa: PLC0415, as above
        from torch import distributed  # noqa: PLC0415, as above

        device = next(self._parallel.parameters()).device
        total = torch.tensor(loss_sum, dtype=torch.float64, device=device)
        distributed.all_reduce(total)
        return float(total) / self._workers.size


def _shared(network: "nn.Module") -> "nn.Module":
    """Wrap a sequence of layers such that each may know where its rows lie in the batch."""
    from torch import nn  # noqa: PLC0415, as above
    from torch.nn.modules.batchnorm import _BatchNorm  # noqa: PLC0415, as above

    class Shared(nn.Module):
        def __init__(self, layers: nn.Module) -> None:
            super().__init__()
            self.layers = layers

        def forward(self, rows: "Tensor", share: slice, n_rows: int) -> "Tensor":
            for layer in cast("nn.Sequential", self.layers):
                if isinstance(layer, _BatchNorm):
                    rows = _normalized(layer, rows, n_rows)
                elif isinstance(layer, nn.Dropout):
                    rows = rows * _mask(layer, rows, n_rows)[share]
                else:
                    rows = layer(rows)
            return rows

    return Shared(network)


@cache
def _differentiable_sum() -> Callable[["Tensor"], "Tensor"]:
    """Return a sum over workers through which gradients go back to all of them."""
    import torch  # noqa: PLC0415, as above
    from torch import distributed  # noqa: PLC0415, as above

    class Sum(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, values: "Tensor") -> "Tensor":
            total = values.clone()
            distributed.all_reduce(total)
            return total

        @staticmethod
        def backward(context: Any, gradient: "Tensor") -> "Tensor":
            total = gradient.clone()
            distributed.all_reduce(total)
            return total

    return cast("Callable[[Tensor], Tensor]", Sum.apply)


def _mask(layer: Any, rows: "Tensor", n_rows: int) -> "Tensor":
    """Draw what the layer would multiply the whole batch with."""
    mask: Tensor = layer(rows.new_ones((n_rows, *rows.shape[1:])))
    return mask


def _normalized(layer: Any, rows: "Tensor", n_rows: int) -> "Tensor":
    """Normalize by the whole batch, and remember its mean and variance as the layer does."""
    import torch  # noqa: PLC0415, as above

    summed = _differentiable_sum()
    over = [0, *range(2, rows.dim())]
    count = n_rows * rows.shape[2:].numel()
    shape = (1, -1, *([1] * (rows.dim() - 2)))
    mean = summed(rows.sum(over)) / count
    centered = rows - mean.view(shape)
    variance = summed(centered.square().sum(over)) / count
    with torch.no_grad():
        layer.num_batches_tracked += 1
        unbiased = variance * (count / (count - 1))
        layer.running_mean.lerp_(mean, layer.momentum)
        layer.running_var.lerp_(unbiased, layer.momentum)
    scale = layer.weight / torch.sqrt(variance + layer.eps)
    normalized: Tensor = centered * scale.view(shape) + layer.bias.view(shape)
    return normalized

"""The optimizer of the PyTorch trainer is AdamW, without PyTorch's compiler."""

import copy
import subprocess
import sys
from typing import Any

import pytest

pytestmark = pytest.mark.ray  # imports PyTorch

TRAINING = """
import sys
import numpy as np
from tuning.trainers.torch import make_torch_trainer
from tuning.trainers.trainer import Fold, Problem

trainer = make_torch_trainer(Problem(("a", "b"), (), False, 2, 2, 0, 1, False), {})
rows, labels = np.random.default_rng(0).normal(size=(8, 2)), np.arange(8) % 2
reports = list(trainer.train({}, Fold(rows, labels, rows, labels)))
assert len(reports) == 2
trainer.state()
print("torch._dynamo" in sys.modules)
"""


def _trained(optimizer_class: Any, state: Any = None) -> tuple[Any, Any]:
    """Take steps with a schedule, from a state or from nothing; return weights and state."""
    import torch  # noqa: PLC0415, costs seconds

    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2))
    optimizer = optimizer_class(net.parameters(), lr=0.01, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=20)
    if state is not None:
        optimizer.load_state_dict(copy.deepcopy(state))  # which it would go on with
    for _ in range(20):
        optimizer.zero_grad()
        net(torch.randn(7, 3)).square().sum().backward()
        optimizer.step()
        schedule.step()
    return [each.detach() for each in net.parameters()], optimizer.state_dict()


def test_its_steps_are_those_of_adamw_from_nothing_and_from_adamws_state() -> None:
    import torch  # noqa: PLC0415, costs seconds

    from tuning.trainers.torch_optimizer import EagerAdamW  # noqa: PLC0415, imports PyTorch

    theirs, state = _trained(torch.optim.AdamW)
    ours, _ = _trained(EagerAdamW)
    theirs_again, _ = _trained(torch.optim.AdamW, state)
    ours_again, _ = _trained(EagerAdamW, state)

    assert not torch.equal(theirs[0], theirs_again[0])
    for expected, found in zip([*theirs, *theirs_again], [*ours, *ours_again], strict=True):
        assert torch.equal(expected, found)


def test_training_does_not_import_the_compiler() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TRAINING], capture_output=True, text=True, timeout=120, check=False
    )

    assert done.stdout == "False\n", done.stderr

"""AdamW without what serves `torch.compile`.

PyTorch 2.13 wraps an optimizer's methods so that its compiler leaves them alone, and the first call
of one imports the compiler: 3 CPU seconds on top of PyTorch's own 2, in every process that trains.
Nothing is compiled here.
"""

import inspect

import torch
from torch.optim import AdamW


class EagerAdamW(AdamW):
    """AdamW's own methods, unwrapped; its steps and its state are the same."""

    add_param_group = inspect.unwrap(AdamW.add_param_group)
    zero_grad = inspect.unwrap(AdamW.zero_grad)
    state_dict = inspect.unwrap(AdamW.state_dict)
    load_state_dict = inspect.unwrap(AdamW.load_state_dict)
    step = torch.no_grad()(inspect.unwrap(AdamW.step))

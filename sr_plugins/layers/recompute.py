"""Trade a little computation for memory in training."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def recompute(function: Callable[..., Any], *inputs: Tensor) -> Any:
    """`function(*inputs)`, of which the backward pass makes what it needs again.

    Only `inputs` are kept. Work after the last tensor that is needed is not repeated,
    so that an activation before a convolution costs no convolution. `function` must
    not draw random numbers.
    """
    if not torch.is_grad_enabled():
        return function(*inputs)
    return checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False)

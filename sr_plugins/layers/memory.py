"""What both attentions need to work on a matrix of scores part by part."""

import torch
from torch import Tensor

_DEFAULT_MB = {'cpu': 64.0, 'cuda': 1024.0}
"""On a CPU little is fast: the matrix is made, used and dropped within the cache."""


def rows_within(
    budget_mb: float | None,
    target: torch.device,
    row_bytes: int,
    buffers: int,
    extra_rows: int = 0,
) -> int:
    """How many rows of a matrix can be worked on at once; at least 1.

    Args:
        budget_mb: MiB for all buffers together; None takes 64 on a CPU and 1024
            elsewhere.
        target: where the matrix is.
        row_bytes: size of one row.
        buffers: how many buffers of that many rows are held at the same time.
        extra_rows: rows that are held besides.

    Raises:
        ValueError: when the budget is not positive.
    """
    if budget_mb is None:
        budget_mb = _DEFAULT_MB.get(target.type, _DEFAULT_MB['cuda'])
    check_budget(budget_mb)
    rows = budget_mb * 2**20 / max(row_bytes, 1) - extra_rows
    return max(1, int(min(rows / buffers, 2**31)))


def check_budget(budget_mb: float | None) -> None:
    """Raise ValueError unless `budget_mb` is None or positive."""
    if budget_mb is not None and not budget_mb > 0:
        raise ValueError(
            f'Expected `memory_budget_mb` to be positive or None, but got {budget_mb}.'
        )


def product(a: Tensor, b: Tensor, out: Tensor) -> None:
    """Batched matrix product in the type of `b`."""
    if a.dtype == b.dtype == out.dtype:
        torch.bmm(a, b, out=out)
    else:
        out.copy_(torch.bmm(a.to(b.dtype), b))

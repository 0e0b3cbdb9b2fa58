"""Measures of a flow itself: the likelihood of test rows, and the transport along its paths."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


def nll(log_prob: Tensor, groups: Tensor | None = None) -> dict[str, Any]:
    r"""Average the log-densities of test rows, `(n,)`, in nats.

    The standard error is that of a mean of independent rows, sd / sqrt(n), sd with n - 1. Rows of
    one group (the patches of one photograph) are alike, so that n of them tell less than n
    independent ones; with the residuals $r_i$ and G groups it is then the cluster-robust

    $$se^2 = \frac{G}{G - 1} \frac{1}{n^2} \sum_g \Big(\sum_{i \in g} r_i\Big)^2,$$

    which takes groups for independent and nothing else. (Liang & Zeger 1986, Biometrika 73, of a
    mean.) All sums are in float64.

    >>> nll(torch.tensor([-1.0, -3.0]))
    {'nll': 2.0, 'nll_se': 1.0, 'nll_se_rows': 1.0, 'nll_rows': 2, 'nll_groups': None}

    Args:
        log_prob: `(n,)`.
        groups: the group of each row, `(n,)` integers; None where the rows are independent.

    Returns:
        The columns `nll`, the mean in nats per row; `nll_se`, its standard error; `nll_se_rows`,
        that if all rows were independent; and the numbers `nll_rows` and `nll_groups`.

    Raises:
        ValueError: not a vector of at least 2 rows, fewer than 2 groups, or rows whose log-density
            is not finite. Such rows are never left out: the mean of the others would flatter the
            method.
    """
    if log_prob.ndim != 1 or len(log_prob) < 2:
        raise ValueError(
            f"Log-densities must be a vector of at least 2 rows, not {tuple(log_prob.shape)}."
        )
    broken = int((~torch.isfinite(log_prob)).sum())
    if broken:
        raise ValueError(f"The log-density of {broken} of {len(log_prob)} rows is not finite.")
    values = log_prob.double()
    n = len(values)
    mean, se = float(values.mean()), float(values.std()) / math.sqrt(n)
    found = {"nll": -mean, "nll_se": se, "nll_se_rows": se, "nll_rows": n, "nll_groups": None}
    if groups is None:
        return found
    if groups.shape != log_prob.shape:
        raise ValueError(f"{len(log_prob)} rows have {tuple(groups.shape)} groups.")
    names, index = torch.unique(groups.to(values.device), return_inverse=True)
    count = len(names)
    if count < 2:
        raise ValueError("The rows are all of one group: nothing tells how much groups differ.")
    sums = values.new_zeros(count).index_add_(0, index, values - mean)
    clustered = math.sqrt(count / (count - 1) * float(sums.square().sum())) / n
    return found | {"nll_se": clustered, "nll_groups": count}


@dataclass(frozen=True)
class Transport:
    """Transport of a flow, in squared units of the data, averaged over paths.

    Attributes:
        cost: W2 movement, E|x1 - x0|^2; an upper bound of the squared Wasserstein-2 distance
            between the distributions of x0 and x1.
        straightness: E of the integral over unit time of |v - (x1 - x0)|^2; 0 if and only if all
            paths are straight and of constant speed. The measure S(Z) of Liu et al. 2022, "Flow
            straight and fast".
    """

    cost: float
    straightness: float


def transport(x0: Tensor, x1: Tensor, kinetic: Tensor, duration: float = 1.0) -> Transport:
    r"""Measure transport from the ends of paths, in either direction, and their kinetic integral.

    With time rescaled to unit length the velocity is $T v$, and as
    $\int_0^1 T v \, ds = x_1 - x_0$ the mixed term of the square drops out:
    straightness $= E[T \int_0^T |v|^2 dt] - E|x_1 - x_0|^2$. The difference is not clamped: a value
    below 0 shows the error of the solver.

    A path of length 5, straight and of even speed, costs its square:

    >>> transport(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]]), kinetic=torch.tensor([25.0]))
    Transport(cost=25.0, straightness=0.0)

    Args:
        x0: where the paths start, `(n, d)`.
        x1: where they end, `(n, d)`.
        kinetic: integral of |v|^2 over the path's own time, `(n,)`.
        duration: T, the length of that time.

    Raises:
        ValueError: shapes that do not fit, no path, values that are not finite, or a duration
            that is not positive.
    """
    if x0.ndim != 2 or x0.shape != x1.shape or kinetic.shape != x0.shape[:1] or not len(x0):
        raise ValueError(
            "Transport needs ends (n, d), (n, d) and integrals (n,); their shapes are "
            f"{tuple(x0.shape)}, {tuple(x1.shape)}, {tuple(kinetic.shape)}."
        )
    if not duration > 0:
        raise ValueError(f"The duration of the paths must be positive, not {duration}.")
    moved = (x1.double() - x0.double()).square().sum(1)
    action = duration * kinetic.double()
    broken = int((~torch.isfinite(moved + action)).sum())
    if broken:
        raise ValueError(f"{broken} of {len(x0)} paths are not finite.")
    return Transport(float(moved.mean()), float((action - moved).mean()))

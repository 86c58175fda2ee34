"""Muon (Jordan et al. 2024): momentum whose matrices are made orthogonal before they move weights.

A convolution's weight [out, in, k, k] counts as the matrix [out, in * k * k]. Its momentum G is replaced by
the nearest matrix with orthogonal rows or columns, so that all directions of a layer learn at one speed::

    gradient --momentum--> G --Newton-Schulz--> U V^T, where G = U S V^T --x 0.2 sqrt(longer side)--> update

What is no matrix moves by Adam. The factor gives updates the root mean square that Adam's have (Liu et al.
2025), so both kinds of parameter share one learning rate.
"""

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic whose iteration takes singular values in 0..1 to about 1, Jordan's choice for five steps."""
ITERATIONS = 5
ADAM_RMS = 0.2
LEAST_SIDE = 8
"""A matrix with fewer rows or columns has too few directions to balance; Adam moves it."""


def is_matrix(parameter: Tensor) -> bool:
    """Whether Muon moves this parameter, rather than Adam."""
    return parameter.dim() >= 2 and min(parameter.shape[0], parameter[0].numel()) >= LEAST_SIDE


def orthogonalised(matrix: Tensor) -> Tensor:
    """The matrix [m, n] with its singular values brought to about 1.

    The iteration X <- (a + b XX^T + c (XX^T)^2) X runs on the small Gram matrix: its polynomials commute.
    """
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonalised(matrix.T).T
    x = matrix / (matrix.norm() + 1e-12)
    a, b, c = COEFFICIENTS
    gram = x @ x.T
    identity = torch.eye(len(gram), dtype=x.dtype, device=x.device)
    product = identity
    for _ in range(ITERATIONS):
        factor = a * identity + b * gram + c * (gram @ gram)
        product = factor @ product
        gram = factor @ gram @ factor
    made: Tensor = product @ x
    return made


def balanced(direction: Tensor) -> Tensor:
    """The direction of a matrix's move, of any shape [m, ...], with all singular values alike: the update."""
    matrix = direction.flatten(1)
    made: Tensor = ADAM_RMS * max(matrix.shape) ** 0.5 * orthogonalised(matrix).view_as(direction)
    return made


class Muon(torch.optim.Optimizer):
    """Muon for matrices (``is_matrix``), Adam for gains, biases, priors and thin layers."""

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "betas": betas, "eps": eps})

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Move every parameter that has a gradient. Raises ValueError for a closure: none is called."""
        if closure is not None:
            raise ValueError("Muon takes no closure: call backward() before step()")
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    move = self._muon if is_matrix(parameter) else self._adam
                    parameter.sub_(group["lr"] * move(parameter.grad, self.state[parameter], group))
        return None

    @staticmethod
    def _muon(gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        if not state:
            state["momentum"] = torch.zeros_like(gradient)
        state["momentum"].lerp_(gradient, 1.0 - group["momentum"])
        return balanced(gradient.lerp(state["momentum"], group["momentum"]))

    @staticmethod
    def _adam(gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        if not state:
            state.update(step=0, mean=torch.zeros_like(gradient), square=torch.zeros_like(gradient))
        state["step"] += 1
        first, second = group["betas"]
        state["mean"].lerp_(gradient, 1.0 - first)
        state["square"].lerp_(gradient.square(), 1.0 - second)
        mean = state["mean"] / (1.0 - first ** state["step"])
        square = state["square"] / (1.0 - second ** state["step"])
        move: Tensor = mean / (square.sqrt() + group["eps"])
        return move

"""Muon (Jordan et al. 2024): momentum whose matrices are made orthogonal before they move weights.

A convolution's weight [out, in, k, k] counts as the matrix [out, in * k * k]. Its momentum G is replaced by
the nearest matrix with orthogonal rows or columns, so that all directions of a layer learn at one speed:

    gradient --momentum--> G --Newton-Schulz--> U V^T, where G = U S V^T --x 0.2 sqrt(longer side)--> update

What is no matrix moves by Adam. The factor gives updates the root mean square that Adam's have (Liu et al.
2025), so both kinds of parameter share one learning rate.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim.adam import adam

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic whose iteration takes singular values in 0..1 to about 1, Jordan's choice for five steps."""
ITERATIONS = 5
ADAM_RMS = 0.2
LEAST_SIDE = 8
"""A matrix with fewer rows or columns has too few directions to balance; Adam moves it."""


def is_matrix(parameter: Tensor) -> bool:
    """Whether Muon moves this parameter, rather than Adam: the weight of a linear layer or a convolution.

    The factorised prior keeps a stack [C, m, n] of small matrices, one for each channel: what is the same
    speed in all directions of one layer would mix channels that have nothing to do with each other.
    """
    return parameter.dim() in (2, 4) and min(parameter.shape[0], parameter[0].numel()) >= LEAST_SIDE


def orthogonalised(matrices: Sequence[Tensor]) -> list[Tensor]:
    """The matrices [m, n] with their singular values brought to about 1.

    The iteration X <- (a + b XX^T + c (XX^T)^2) X runs on the small Gram matrices, as their polynomials
    commute, and on all of one size at once: one by one they are too small to keep a processor busy.
    """
    wide = [matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T for matrix in matrices]
    alike = defaultdict(list)
    for number, matrix in enumerate(wide):
        alike[len(matrix)].append(number)
    made = list(matrices)
    for numbers in alike.values():
        factors = _factors(torch.stack([wide[number] @ wide[number].T for number in numbers]))
        for number, factor in zip(numbers, factors, strict=True):
            moved = factor @ wide[number]
            made[number] = moved if wide[number] is matrices[number] else moved.T
    return made


def _factors(grams: Tensor) -> Tensor:
    """What matrices are to be multiplied by, from their Gram matrices [count, m, m]."""
    scale = 1.0 / (grams.diagonal(dim1=1, dim2=2).sum(dim=1).sqrt() + 1e-12)[:, None, None]
    grams = grams * scale.square()
    factor = _polynomial(grams)
    product = scale * factor
    for _ in range(ITERATIONS - 1):
        grams = factor @ grams @ factor
        factor = _polynomial(grams)
        product = factor @ product
    return product


def _polynomial(grams: Tensor) -> Tensor:
    a, b, c = COEFFICIENTS
    found = torch.baddbmm(grams, grams, grams, beta=b, alpha=c)
    found.diagonal(dim1=1, dim2=2).add_(a)
    return found


def balanced(directions: Sequence[Tensor]) -> list[Tensor]:
    """The directions in which matrices move, each of any shape [m, ...], with all singular values of each
    alike: the updates.
    """
    # The inputs last, as they are in memory where channels are: then this copies nothing.
    inner = [direction.movedim(1, -1) for direction in directions]
    made = orthogonalised([each.flatten(1) for each in inner])
    return [
        (ADAM_RMS * max(matrix.shape) ** 0.5 * matrix).view(each.shape).movedim(-1, 1)
        for matrix, each in zip(made, inner, strict=True)
    ]


class Muon(torch.optim.Optimizer):
    """Muon for matrices (`is_matrix`), Adam for gains, biases, priors and thin layers."""

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "betas": betas, "eps": eps})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a saved state. Raises ValueError for one of other parameters or of another optimiser."""
        super().load_state_dict(state_dict)
        known = all("momentum" in group for group in self.param_groups)
        if not known or any(kept.keys() != _kept(parameter) for parameter, kept in self.state.items()):
            raise ValueError("the state is not one of Muon, or not of these parameters")

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
            moved = [parameter for parameter in group["params"] if parameter.grad is not None]
            self._muon([parameter for parameter in moved if is_matrix(parameter)], group)
            self._adam([parameter for parameter in moved if not is_matrix(parameter)], group)
        return None

    def _muon(self, matrices: list[Tensor], group: dict[str, Any]) -> None:
        directions = []
        for matrix in matrices:
            state, gradient = self.state[matrix], matrix.grad
            assert gradient is not None
            if not state:
                state["momentum"] = torch.zeros_like(gradient)
            state["momentum"].lerp_(gradient, 1.0 - group["momentum"])
            directions.append(gradient.lerp(state["momentum"], group["momentum"]))
        for matrix, update in zip(matrices, balanced(directions), strict=True):
            matrix.sub_(update, alpha=group["lr"])

    def _adam(self, others: list[Tensor], group: dict[str, Any]) -> None:
        for parameter in others:
            if not self.state[parameter]:
                zeros = torch.zeros_like(parameter)
                self.state[parameter].update(step=0, mean=zeros, square=zeros.clone())
        states = [self.state[parameter] for parameter in others]
        first, second = group["betas"]
        adam(
            others,
            [parameter.grad for parameter in others if parameter.grad is not None],
            [state["mean"] for state in states],
            [state["square"] for state in states],
            max_exp_avg_sqs=[],
            state_steps=[torch.tensor(float(state["step"])) for state in states],
            foreach=True,
            amsgrad=False,
            beta1=first,
            beta2=second,
            lr=group["lr"],
            weight_decay=0.0,
            eps=group["eps"],
            maximize=False,
        )
        for state in states:
            state["step"] += 1


def _kept(parameter: Tensor) -> set[str]:
    """The names of what is remembered of a parameter that has moved."""
    return {"momentum"} if is_matrix(parameter) else {"step", "mean", "square"}

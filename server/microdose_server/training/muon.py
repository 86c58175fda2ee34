"""Muon (Jordan et al. 2024): momentum whose matrices are made orthogonal before they move weights.

A convolution's weight [out, in, k, k] counts as the matrix [out, in * k * k]. Its momentum G is replaced by
the nearest matrix with orthogonal rows or columns, so that all directions of a layer learn at one speed:

    gradient --momentum--> G --Newton-Schulz--> U V^T, where G = U S V^T --x 0.2 sqrt(longer side)--> update

What is no matrix moves by Adam. The factor gives updates the root mean square that Adam's have (Liu et al.
2025), so both kinds of parameter share one learning rate.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
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
    """The matrices [m, n], all on one device, with their singular values brought to about 1.

    That is X <- (a + b XX^T + c (XX^T)^2) X, a few times, from X of norm 1.
    """
    wide = [matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T for matrix in matrices]
    made = in_bfloat16(wide) if any(matrix.is_cuda for matrix in wide) else by_gram_matrices(wide)
    return [
        each if broad is matrix else each.T for each, broad, matrix in zip(made, wide, matrices, strict=True)
    ]


def in_bfloat16(wide: Sequence[Tensor]) -> list[Tensor]:
    """`orthogonalised` for a GPU and matrices [m, n], m <= n: as it is written, in bfloat16.

    A GPU multiplies many times faster in bfloat16, of eight bits, than in single precision. This form
    forgives that: each round starts from what the last one has left. Not so that of Gram matrices, where what
    is rounded off a small eigenvalue grows by a^2 each round.
    """
    made = list(wide)
    for numbers in _alike(matrix.shape for matrix in wide):
        x = torch.stack([wide[number] for number in numbers])
        x = (x / (torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True) + 1e-12)).bfloat16()
        a, b, c = COEFFICIENTS
        for _ in range(ITERATIONS):
            grams = x @ x.mT
            x = torch.baddbmm(x, torch.baddbmm(grams, grams, grams, beta=b, alpha=c), x, beta=a)
        for number, each in zip(numbers, x, strict=True):
            made[number] = each.to(wide[number].dtype)
    return made


def by_gram_matrices(wide: Sequence[Tensor]) -> list[Tensor]:
    """`orthogonalised` for a CPU and matrices [m, n], m <= n: as polynomials of one matrix commute, all
    rounds run on the small XX^T, in the matrices' own precision.
    """
    made = list(wide)
    for numbers in _alike(len(matrix) for matrix in wide):
        factors = _factors(torch.stack([wide[number] @ wide[number].T for number in numbers]))
        for number, factor in zip(numbers, factors, strict=True):
            made[number] = factor @ wide[number]
    return made


def _alike(sizes: Iterable[Hashable]) -> Collection[list[int]]:
    """Which matrices are of one size: one by one they are too small to keep a processor busy."""
    alike = defaultdict(list)
    for number, size in enumerate(sizes):
        alike[size].append(number)
    return alike.values()


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

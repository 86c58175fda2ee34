"""Muon: what it makes of a matrix, what it leaves to Adam, and that it learns and resumes."""

import copy
from collections.abc import Callable, Sequence
from typing import TypeAlias

import pytest
import torch
from torch import Tensor, nn

from microdose_server.codec.presets import PRESETS
from microdose_server.codec.teacher import Teacher
from microdose_server.training.muon import (
    Muon,
    balanced,
    by_gram_matrices,
    in_bfloat16,
    is_matrix,
    orthogonalised,
)

Form: TypeAlias = Callable[[Sequence[Tensor]], list[Tensor]]


@pytest.mark.parametrize("shape", [(16, 40), (40, 16), (24, 24)])
def test_singular_values_come_near_one(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    (made,) = orthogonalised([matrix])
    values = torch.linalg.svdvals(made)
    assert values.min() > 0.5
    assert values.max() < 1.5


def test_directions_are_kept() -> None:
    matrix = torch.randn(12, 30, generator=torch.Generator().manual_seed(1))
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    nearest = u @ v
    (made,) = orthogonalised([matrix])
    assert torch.nn.functional.cosine_similarity(made.flatten(), nearest.flatten(), dim=0) > 0.97


def test_a_gradient_of_zero_moves_nothing() -> None:
    (made,) = orthogonalised([torch.zeros(8, 9)])
    assert torch.equal(made, torch.zeros(8, 9))


def test_matrices_of_one_size_do_not_meet() -> None:
    generator = torch.Generator().manual_seed(2)
    matrices = [torch.randn(shape, generator=generator) for shape in [(8, 20), (30, 8), (9, 9), (8, 8)]]
    for together, matrix in zip(orthogonalised(matrices), matrices, strict=True):
        (alone,) = orthogonalised([matrix])
        torch.testing.assert_close(together, alone)


@pytest.mark.parametrize("shape", [(16, 144), (24, 24), (96, 400)])
def test_a_gpu_and_a_cpu_agree(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(4)
    matrices = [torch.randn(shape, generator=generator) * 10.0**scale for scale in (-6, 0, 6)]
    for made, expected in zip(in_bfloat16(matrices), by_gram_matrices(matrices), strict=True):
        assert made.dtype == torch.float32
        assert (made - expected).norm() < 0.03 * expected.norm()


def test_a_cpu_does_not_round_to_bfloat16() -> None:
    matrix = torch.randn(16, 40, generator=torch.Generator().manual_seed(6))
    (rounded,), (made,) = in_bfloat16([matrix]), orthogonalised([matrix])
    assert torch.equal(rounded, rounded.bfloat16().float())
    assert not torch.equal(made, made.bfloat16().float())


@pytest.mark.parametrize("form", [in_bfloat16, by_gram_matrices])
@pytest.mark.parametrize("rank", [1, 8, 20])
def test_rounding_does_not_grow_in_directions_that_no_gradient_has(form: Form, rank: int) -> None:
    generator = torch.Generator().manual_seed(5)
    matrix = torch.randn(48, rank, generator=generator) @ torch.randn(rank, 200, generator=generator)
    (made,) = form([matrix])
    values = torch.linalg.svdvals(made)
    assert values[:rank].min() > 0.65
    assert values[:rank].max() < 1.25
    assert values[rank:].max() < 0.4


def test_a_gradient_of_zero_moves_nothing_on_a_gpu_either() -> None:
    (made,) = in_bfloat16([torch.zeros(8, 9)])
    assert torch.equal(made, torch.zeros(8, 9))


def test_an_update_does_not_depend_on_how_its_weight_lies_in_memory() -> None:
    direction = torch.randn(16, 12, 3, 3, generator=torch.Generator().manual_seed(3))
    (expected,) = balanced([direction])
    (made,) = balanced([direction.contiguous(memory_format=torch.channels_last)])
    torch.testing.assert_close(made, expected)
    assert made.is_contiguous(memory_format=torch.channels_last)


def test_convolutions_are_matrices_but_thin_layers_gains_and_biases_are_not() -> None:
    layer = nn.Conv2d(16, 32, 3)
    assert is_matrix(layer.weight)
    assert layer.bias is not None
    assert not is_matrix(layer.bias)
    assert not is_matrix(nn.Conv2d(24, 3, 7).weight)
    assert not is_matrix(nn.Conv2d(16, 16, 1, groups=16).weight)


def test_the_densities_of_the_factorised_prior_are_not() -> None:
    teacher = Teacher(PRESETS["tiny"])
    prior = [name for name, parameter in teacher.named_parameters() if parameter.dim() == 3]
    assert prior
    assert all("z_prior" in name for name in prior)
    assert not any(is_matrix(teacher.get_parameter(name)) for name in prior)


def test_it_fits_a_regression_and_goes_on_from_its_state() -> None:
    torch.manual_seed(0)
    x, mapping = torch.randn(256, 16), torch.randn(16, 16)
    model = nn.Linear(16, 16)
    optimizer = Muon(model.parameters(), lr=0.1)

    def step(model: nn.Module, optimizer: Muon) -> float:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), x @ mapping)
        loss.backward()
        optimizer.step()
        return loss.item()

    losses = [step(model, optimizer) for _ in range(100)]
    assert losses[-1] < 0.1 * losses[0]
    twin = copy.deepcopy(model)
    resumed = Muon(twin.parameters(), lr=0.1)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert [step(twin, resumed) for _ in range(5)] == [step(model, optimizer) for _ in range(5)]


@pytest.mark.parametrize("steps", [0, 1])
def test_the_state_of_another_optimiser_is_refused(steps: int) -> None:
    layer = nn.Linear(16, 16)
    adam = torch.optim.Adam(layer.parameters())
    for _ in range(steps):
        layer(torch.ones(1, 16)).sum().backward()
        adam.step()
    with pytest.raises(ValueError, match="not one of Muon"):
        Muon(layer.parameters(), lr=0.1).load_state_dict(adam.state_dict())


def test_the_state_of_a_layer_that_moved_otherwise_is_refused() -> None:
    layers = nn.Linear(16, 16, bias=False), nn.Linear(4, 4, bias=False)
    first, second = (Muon(layer.parameters(), lr=0.1) for layer in layers)
    layers[0](torch.ones(1, 16)).sum().backward()
    first.step()
    with pytest.raises(ValueError, match="not of these parameters"):
        second.load_state_dict(first.state_dict())


def test_a_closure_is_refused() -> None:
    optimizer = Muon(nn.Linear(2, 2).parameters(), lr=0.1)
    with pytest.raises(ValueError, match="closure"):
        optimizer.step(lambda: 0.0)

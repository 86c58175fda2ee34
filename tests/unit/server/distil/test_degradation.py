import pytest
import torch
from torch.func import functional_call

from microdose_server.codec.micro import DegradationAwareConv, is_micro
from microdose_server.codec.student import STUDENTS
from microdose_server.distil.degradation import Degradation
from tests.students import fresh


@pytest.mark.parametrize("name", sorted(STUDENTS))
def test_folding_equals_calling_with_what_v_decides(name: str) -> None:
    torch.manual_seed(0)
    student = fresh(name)
    degradation = Degradation(student)
    y_hat = torch.randn(1, 16, 4, 5)
    with torch.no_grad():
        for parameter in student.micro.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))  # no layer at zero hides another
        expected = functional_call(student, degradation(), (y_hat,))
        assert not torch.allclose(student(y_hat), expected)
        degradation.fold_into(student)
        assert torch.equal(student(y_hat), expected)


@pytest.mark.parametrize("name", sorted(STUDENTS))
def test_can_begin_with_what_was_folded(name: str) -> None:
    torch.manual_seed(0)
    student = fresh(name)
    Degradation(student).fold_into(student)
    other = Degradation(student)
    other.reproduce(student)
    parameters = dict(student.named_parameters())
    for each, value in other().items():
        assert torch.allclose(value, parameters[each], atol=1e-5)


def test_decides_the_kernels_and_gains_of_every_degradation_aware_convolution() -> None:
    torch.manual_seed(0)
    student = fresh("standard")
    with torch.no_grad():
        decided = Degradation(student)()
    names = [name for name, module in student.named_modules() if isinstance(module, DegradationAwareConv)]
    assert len(names) == 2 * 3
    assert set(decided) == {f"{name}.{part}" for name in names for part in ("depthwise.weight", "skip.gain")}
    parameters = dict(student.named_parameters())
    for name, value in decided.items():
        assert value.shape == parameters[name].shape
        assert is_micro(name)
    gains = torch.cat([value.flatten() for name, value in decided.items() if name.endswith("gain")])
    assert 0.0 < float(gains.min()) <= float(gains.max()) < 1.0


def test_v_learns() -> None:
    torch.manual_seed(0)
    degradation = Degradation(fresh())
    sum(value.square().sum() for value in degradation().values()).backward()
    assert degradation.v.grad is not None
    assert bool(degradation.v.grad.any())


def test_kernels_start_neither_dead_nor_exploding() -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        decided = Degradation(fresh("standard"))()
    kernels = torch.cat([value.flatten() for name, value in decided.items() if name.endswith("weight")])
    assert 0.1 < float(kernels.square().mean().sqrt()) < 1.0

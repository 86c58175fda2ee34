import numpy as np
import pytest
import torch
from torch.func import functional_call

from microdose.base import LoadedBase
from microdose.decoder import Decoder, to_pixels
from microdose.dose import DoseKind, apply_dose, parse_dose
from microdose_server.codec.encode import Encoder
from microdose_server.codec.student import student_from_onnx
from microdose_server.distil.overfit import Overfit
from microdose_server.distil.rate import bits_per_pixel, dose_blob, weigh_dose, weigh_nothing
from microdose_server.training.data import Pixels

GRIDS = (0.02, 0.16)


@pytest.mark.parametrize("grid", GRIDS)
def test_a_dose_holds_the_weights_that_were_trained(
    disturbed: Overfit, tiny_teacher_base: LoadedBase, grid: float
) -> None:
    blob = dose_blob(disturbed, tiny_teacher_base, grid, epoch=2)
    dose = parse_dose(blob, tiny_teacher_base)
    assert (dose.kind, dose.epoch) == (DoseKind.FULL, 2)
    dosed = student_from_onnx(apply_dose(tiny_teacher_base.student, tiny_teacher_base, dose)).state_dict()
    generic = student_from_onnx(tiny_teacher_base.student).state_dict()
    trained = disturbed.weights(grid)
    for name, value in dosed.items():
        expected = trained[name].detach() if name in trained else generic[name]
        torch.testing.assert_close(value, expected, atol=1e-6, rtol=1e-6)
    assert any(not torch.equal(dosed[name], generic[name]) for name in trained)


@pytest.mark.parametrize("grid", GRIDS)
def test_a_client_paints_what_was_trained(
    disturbed: Overfit, tiny_encoder: Encoder, photographs: list[Pixels], grid: float
) -> None:
    encoded = tiny_encoder.encode(photographs[0][:90, :110])
    with torch.no_grad():
        x_hat = functional_call(
            disturbed.student, disturbed.weights(grid), (torch.from_numpy(encoded.y_hat)[None],)
        )
    expected = to_pixels(x_hat[0, :, :90, :110].numpy())
    blob = dose_blob(disturbed, tiny_encoder.base, grid, epoch=0)
    made = Decoder(tiny_encoder.base, blob, threads=1).decode(encoded.segment).pixels
    generic = Decoder(tiny_encoder.base, threads=1).decode(encoded.segment).pixels
    assert np.abs(made.astype(int) - expected.astype(int)).max() <= 1
    assert np.abs(made.astype(int) - generic.astype(int)).max() > 1


def test_no_change_gives_a_dose_that_changes_no_byte(run: Overfit, tiny_teacher_base: LoadedBase) -> None:
    blob = dose_blob(run, tiny_teacher_base, 0.02, epoch=0)
    assert len(blob) < 100
    dose = parse_dose(blob, tiny_teacher_base)
    assert dose.changes == ()
    assert apply_dose(tiny_teacher_base.student, tiny_teacher_base, dose) == tiny_teacher_base.student


def test_the_cost_is_distortion_and_measured_bits(disturbed: Overfit, tiny_teacher_base: LoadedBase) -> None:
    dosed = weigh_dose(disturbed, tiny_teacher_base, 0.08, 0, lmbda=2.0, tiles=8)
    assert dosed.blob == dose_blob(disturbed, tiny_teacher_base, 0.08, 0)
    assert dosed.distortion == disturbed.score(disturbed.weights(0.08), disturbed.tiles)
    bpp = 8 * len(dosed.blob) / (130 * 170 + 100 * 90)
    assert bits_per_pixel(disturbed, dosed.blob) == pytest.approx(bpp)
    assert dosed.cost == pytest.approx(dosed.distortion + 2.0 * bpp)


def test_the_generic_student_costs_no_byte(disturbed: Overfit) -> None:
    nothing = weigh_nothing(disturbed, tiles=8)
    assert (nothing.kind, nothing.grid, nothing.blob) == (DoseKind.NONE, None, None)
    assert nothing.cost == nothing.distortion == disturbed.score(disturbed.generic, disturbed.tiles)


def test_coarser_grids_cost_fewer_bytes(disturbed: Overfit, tiny_teacher_base: LoadedBase) -> None:
    sizes = [len(dose_blob(disturbed, tiny_teacher_base, grid, 0)) for grid in (0.02, 0.04, 0.08, 0.16)]
    assert sizes == sorted(sizes, reverse=True)

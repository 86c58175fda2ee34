import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from microdose.engine import Graph, hyper_from
from microdose.latents import decode_picture
from microdose.segment import parse_segment
from microdose_server.codec.coder import Coder
from microdose_server.codec.encode import Encoder, to_tensor
from microdose_server.codec.student import student_from_onnx
from microdose_server.distil import refine as module
from microdose_server.distil.distance import DISTANCE, distortion, reference_of
from microdose_server.distil.refine import (
    MARGIN,
    WINDOW,
    Coding,
    Mover,
    Refinement,
    Refiner,
    Window,
    gaussian_bits,
    refine,
    windows,
)
from microdose_server.training.data import Pixels
from microdose_server.training.lpips import LPIPS

Distance = Callable[[np.ndarray], float]  # type: ignore[type-arg]


@pytest.fixture(scope="module")
def student(shipped_encoder: Encoder) -> nn.Module:
    return student_from_onnx(shipped_encoder.base.student).requires_grad_(False)


@pytest.fixture(scope="module")
def pixels(photographs: list[Pixels]) -> Pixels:
    """No side is a multiple of 16."""
    return np.ascontiguousarray(photographs[0][120:290, 200:400])


@pytest.fixture
def distance(student: nn.Module, pixels: Pixels, lpips: LPIPS) -> Distance:
    """The distortion of what the student shows of y_hat, where LPIPS sees it five pixels off."""

    def measure(y_hat: np.ndarray) -> float:  # type: ignore[type-arg]
        reference = reference_of(to_tensor(pixels), lpips, (5, 5))
        with torch.no_grad():
            x_hat = student(torch.from_numpy(y_hat)[None])[:, :, :170, :200]
            return float(distortion(x_hat, reference, lpips, DISTANCE))

    return measure


def coding_of(encoder: Encoder, pixels: Pixels) -> Coding:
    latents = encoder.latents(pixels)
    arrays = (latents.y, *Coder(encoder.base).prior(latents))
    return Coding(*(torch.tensor(array)[None] for array in arrays))


def test_viewers_see_more_for_no_more_bytes(
    shipped_encoder: Encoder, student: nn.Module, pixels: Pixels, distance: Distance
) -> None:
    base = shipped_encoder.base
    plain, plain_y_hat = shipped_encoder.analyse(pixels)
    refiner = Refiner(base, Refinement(12))
    segment, y_hat = refiner.code(shipped_encoder.latents(pixels), pixels, student, epoch=2)
    assert len(segment) < 1.03 * len(plain)
    assert distance(y_hat) < 0.93 * distance(plain_y_hat)
    assert parse_segment(segment).header.epoch == 2
    assert np.array_equal(decode_picture(parse_segment(segment), base, hyper_from(Graph(base.hyper))), y_hat)


def test_is_the_same_twice(shipped_encoder: Encoder, student: nn.Module, pixels: Pixels) -> None:
    latents = shipped_encoder.latents(pixels)
    torch.manual_seed(1)
    first, _ = Refiner(shipped_encoder.base, Refinement(2)).code(latents, pixels, student)
    torch.manual_seed(2)
    assert Refiner(shipped_encoder.base, Refinement(2)).code(latents, pixels, student)[0] == first


@pytest.mark.parametrize("cheap", [0.1, 0.5])
def test_dearer_bits_are_fewer(
    shipped_encoder: Encoder, student: nn.Module, pixels: Pixels, cheap: float
) -> None:
    latents = shipped_encoder.latents(pixels)
    sizes = [
        len(Refiner(shipped_encoder.base, Refinement(6, lmbda=lmbda)).code(latents, pixels, student)[0])
        for lmbda in (cheap, 10.0)
    ]
    assert sizes[1] < 0.95 * sizes[0]


def test_what_does_not_pay_is_left(
    shipped_encoder: Encoder, student: nn.Module, pixels: Pixels, lpips: LPIPS
) -> None:
    coding = coding_of(shipped_encoder, pixels)
    wild = Refinement(2, learning_rate=30.0)
    assert torch.equal(refine(student, lpips, coding, to_tensor(pixels), wild), coding.y)


def test_what_comes_out_broken_is_left(shipped_encoder: Encoder, pixels: Pixels, lpips: LPIPS) -> None:
    class Broken(nn.Module):
        """Paints noughts, and nothing that can be compared once a latent has moved."""

        def forward(self, y_hat: Tensor) -> Tensor:
            same = torch.equal(y_hat, rounded)
            return F.interpolate(y_hat[:, :3], scale_factor=16) * (0.0 if same else math.nan)

    coding = coding_of(shipped_encoder, pixels)
    rounded = (coding.y - coding.mu).round() + coding.mu
    assert torch.equal(refine(Broken(), lpips, coding, to_tensor(pixels), Refinement(2)), coding.y)


def test_only_latents_of_the_window_move(
    shipped_encoder: Encoder, student: nn.Module, pixels: Pixels, lpips: LPIPS
) -> None:
    coding = coding_of(shipped_encoder, pixels)
    window = Window((slice(0, 11), slice(0, 13)), (slice(2, 9), slice(0, 5)))
    mover = Mover(student, lpips, coding, to_tensor(pixels), lmbda=0.5)
    told: list[int] = []
    y = mover.move(window, Refinement(3), Generator().manual_seed(0), lambda: told.append(1))
    moved = y != coding.y
    assert len(told) == 3
    assert moved[:, :, 2:9, :5].any()
    moved[:, :, 2:9, :5] = False
    assert not moved.any()


def test_a_picture_of_many_windows_gains_as_well(
    shipped_encoder: Encoder,
    student: nn.Module,
    pixels: Pixels,
    distance: Distance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "WINDOW", 6)
    assert len(list(windows(11, 13))) == 6
    latents = shipped_encoder.latents(pixels)
    _, before = shipped_encoder.analyse(pixels)
    _, after = Refiner(shipped_encoder.base, Refinement(8)).code(latents, pixels, student)
    assert distance(after) < 0.95 * distance(before)


def test_a_picture_too_small_for_lpips_is_refined_by_its_mse(
    shipped_encoder: Encoder, student: nn.Module, pixels: Pixels
) -> None:
    small = np.ascontiguousarray(pixels[:40, :30])
    coding, x = coding_of(shipped_encoder, small), to_tensor(small)
    y = refine(student, LPIPS(), coding, x, Refinement(8, lmbda=1e-6))
    y_hats = [(each - coding.mu).round() + coding.mu for each in (coding.y, y)]
    before, after = (float(((student(y_hat)[..., :40, :30] - x) ** 2).mean()) for y_hat in y_hats)
    assert after < 0.95 * before


def test_bits_are_those_that_are_coded(shipped_encoder: Encoder, photographs: list[Pixels]) -> None:
    pixels = photographs[1]
    coding = coding_of(shipped_encoder, pixels)
    coded = len(parse_segment(shipped_encoder.analyse(pixels)[0]).latents)
    bits = gaussian_bits((coding.y - coding.mu).round(), coding.sigma)
    assert float(bits) / 8 == pytest.approx(coded, rel=0.02)


@given(rows=st.integers(1, 400), columns=st.integers(1, 200))
def test_windows_move_each_latent_once(rows: int, columns: int) -> None:
    moved = np.zeros((rows, columns), int)
    for painted, moving in windows(rows, columns):
        assert all(
            0 <= part.start < part.stop <= side for part, side in zip(painted, (rows, columns), strict=True)
        )
        part = moved[painted]
        part[moving] += 1
        assert max(part[moving].shape) <= WINDOW
        assert max(part.shape) <= WINDOW + 2 * MARGIN
        for side, inner, length in zip(painted, moving, (rows, columns), strict=True):
            assert inner.start == min(MARGIN, side.start + inner.start)
            assert side.stop == min(length, side.start + inner.stop + MARGIN)
    assert (moved == 1).all()

import json

import numpy as np
import pytest

from microdose.decoder import Timings
from microdose.manifest import ByteCounts
from microdose_server.evaluate.metrics import psnr
from microdose_server.evaluate.report import PictureReport, judge, report
from microdose_server.training.data import Pixels


def noisy(seed: int) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (64, 96, 3), np.uint8)


def judged(seed: int, synthesis_ms: float) -> PictureReport:
    names = ("teacher", "generic", "dosed", "webp")
    variants = {name: noisy(seed + 1 + k) for k, name in enumerate(names)}
    timings = {name: Timings(1.0, 2.0, synthesis_ms) for name in ("teacher", "student")}
    return judge(f"{seed}.png", noisy(seed), variants, ByteCounts(latents=100, dose=5, headers=20), timings)


@pytest.fixture(scope="module")
def pictures() -> list[PictureReport]:
    return [judged(10, 4), judged(20, 6), judged(30, 100)]


def test_a_picture_is_held_against_its_original_and_the_teacher(pictures: list[PictureReport]) -> None:
    first = pictures[0]
    assert first.psnr["dosed"] == psnr(noisy(10), noisy(13))
    assert first.psnr_to_teacher == {
        "generic": psnr(noisy(11), noisy(12)),
        "dosed": psnr(noisy(11), noisy(13)),
    }
    assert set(first.lpips) == {"teacher", "generic", "dosed", "webp"}
    assert set(first.lpips_to_teacher) == {"generic", "dosed"}
    assert first.decode_ms["student"] == {"entropy": 1, "hyper": 2, "synthesis": 4, "total": 7}


def test_the_sums(pictures: list[PictureReport]) -> None:
    counts = ByteCounts(latents=300, dose=17, headers=60, base=10**6)
    found = report(pictures, counts, {"student": 7}, {"push": 1.5})
    assert found["pictures"] == 3
    assert found["pixels"] == 3 * 64 * 96
    assert found["bpp_total"] == 8 * (300 + 17 + 60) / (3 * 64 * 96)
    assert found["psnr"]["webp"] == pytest.approx(np.mean([picture.psnr["webp"] for picture in pictures]))
    assert found["decode_ms"]["teacher"]["total"] == 9  # a median: one slow run does not count
    assert found["params"] == {"student": 7}
    assert found["seconds"] == {"push": 1.5}


def test_json_has_every_picture(pictures: list[PictureReport]) -> None:
    found = json.loads(json.dumps(report(pictures, ByteCounts(latents=300), {}, {}), allow_nan=False))
    assert [row["name"] for row in found["per_picture"]] == ["10.png", "20.png", "30.png"]
    assert found["per_picture"][0]["bytes"] == {"latents": 100, "dose": 5, "headers": 20}
    assert found["per_picture"][0]["bpp"] == 8 * 125 / (64 * 96)

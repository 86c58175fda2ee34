import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.dose import (
    ALPHAS,
    FINER,
    FINER_FOR_ORIGINALS,
    GENERIC,
    ON_ORIGINALS,
    RUNGS,
    figures,
    finer,
    main,
    parser,
    table,
)
from microdose.dose import DoseKind
from microdose_server.codec.discriminator import Discriminator
from microdose_server.codec.encode import load_encoder
from microdose_server.codec.folder import load_base
from microdose_server.codec.presets import PRESETS
from microdose_server.codec.shipped import save_discriminator
from microdose_server.evaluate.finer import analyse
from microdose_server.evaluate.quality import Quality
from microdose_server.evaluate.study import Study, Variant
from tests.photos import encode, photo

SHORT = ["--pictures", "2", "--steps", "2", "--dists", "0", "--rungs", "full"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A transfer set of two pictures."""
    found = tmp_path_factory.mktemp("photos")
    for n in range(2):
        (found / f"{n}.png").write_bytes(encode(photo(30 * n, 288, 288)))
    return found


def test_a_beta_asks_for_a_discriminator(
    folder: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = shutil.copytree(weights, tmp_path / "weights")
    command = [str(folder), "--weights", str(own), *SHORT, "--beta", "0.1", "--json"]
    assert main(command) == 1
    assert "no discriminator at" in capsys.readouterr().err
    critic = Discriminator(PRESETS["tiny"].latent_channels)
    save_discriminator("tiny", critic.state_dict(), own)
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["figures"][folder.name]["dose_bytes"] > 0


def test_a_sequence_is_measured_with_all_controls(
    folder: Path, weights: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    controls = ["--controls", str(photos), "--control-steps", "1", "--shape", "tiny"]
    output = ["--output", str(tmp_path / "out"), "--json"]
    assert main([str(folder), "--weights", str(weights), *SHORT, *controls, *output]) == 0
    found = json.loads(capsys.readouterr().out)
    numbers, variants = found["figures"][folder.name], found["sequences"][folder.name]["variants"]
    assert set(numbers) >= {
        "rung",
        "dose_bytes",
        "gap_closed",
        "bpp_total",
        "lpips_total_bytes_gain",
        "seconds",
    }
    assert numbers["rung"] == "full"
    assert variants.keys() == {
        "teacher",
        GENERIC,
        "full",
        FINER,
        ON_ORIGINALS,
        FINER_FOR_ORIGINALS,
        *(f"student-alpha-{alpha:g}" for alpha in ALPHAS),
    }
    aimed = numbers["originals"]
    assert aimed.keys() >= {"dose_bytes", "bpp_total", "lpips", "lpips_teacher", "lpips_total_bytes_gain"}
    assert aimed["dose_bytes"] == variants[ON_ORIGINALS]["dose_bytes"] > 0
    assert aimed["lpips"] == variants[ON_ORIGINALS]["to_original"]["lpips"]
    assert aimed["lpips_teacher"] == variants["teacher"]["to_original"]["lpips"]
    bpp = {title: row["bpp_total"] for title, row in variants.items()}
    assert bpp[GENERIC] < bpp[FINER] <= bpp["full"]
    assert bpp[GENERIC] < bpp[FINER_FOR_ORIGINALS] <= bpp[ON_ORIGINALS]
    assert variants["full"]["dose_bytes"] == numbers["dose_bytes"] > 0
    assert json.loads((tmp_path / "out" / "dose.json").read_text()) == found
    with Image.open(tmp_path / "out" / "dose.png") as plot:
        assert plot.size[0] > 1000
    lines = table(found).splitlines()
    assert lines[0] == f"{folder.name}: 2 pictures"
    assert [line.split()[0] for line in lines[2:5]] == ["teacher", GENERIC, "full"]


def test_without_controls_no_student_is_trained(
    folder: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(folder), "--weights", str(weights), *SHORT, "--json"]) == 0
    variants = json.loads(capsys.readouterr().out)["sequences"][folder.name]["variants"]
    assert variants.keys() == {"teacher", GENERIC, "full", FINER, ON_ORIGINALS, FINER_FOR_ORIGINALS}


def variant(name: str, size: int, near: float, true: float) -> Variant:
    """One of `size` bytes of dose on a million pixels, of these LPIPS to the teacher and to the originals."""
    to_teacher, to_original = (Quality(math.inf, lpips, lpips, None) for lpips in (near, true))
    return Variant(name, size, 0.1 + 8e-6 * size, 1.0, to_teacher, to_original, None)


def test_figures_are_of_the_best_rung(weights: Path) -> None:
    made = (
        ("teacher", 0, 0.0, 0.2),
        (GENERIC, 0, 0.10, 0.30),
        ("gains", 1000, 0.08, 0.28),
        ("low-rank", 4000, 0.06, 0.26),
        ("full", 40_000, 0.05, 0.25),
        (FINER, 4000, 0.2, 0.29),
        (ON_ORIGINALS, 8000, 0.3, 0.15),
        (FINER_FOR_ORIGINALS, 8000, 0.3, 0.27),
    )
    base, pictures = load_base(weights), [np.zeros((500, 1000, 3), np.uint8)] * 2
    study = Study(base, pictures, [], [], 0, lmbda=1.0)
    found = figures(study, {each[0]: variant(*each) for each in made}, "low-rank")
    assert (found["rung"], found["dose_bytes"], found["worth_it"]) == ("low-rank", 4000, True)
    changeable = sum(math.prod(slot.shape) for slot in base.document.tensors)
    assert found["bits_per_weight"] == pytest.approx(32_000 / changeable)
    closed = {"gains": 0.2, "low-rank": 0.4, "full": 0.5}
    assert found["gap_closed_per_rung"] == pytest.approx(closed)
    assert found["gap_closed"] == pytest.approx(0.4)
    assert found["lpips_total_bytes_gain"] == pytest.approx(0.03)
    assert found["latents_worth"] == pytest.approx(0.01 / 0.032)
    # 8 bits a byte over half a million pixels a picture, against what the rung saves of the distortion.
    assert found["break_even_pictures"] == {"gains": 1, "low-rank": 2, "full": 13}
    assert found["originals"]["lpips_total_bytes_gain"] == pytest.approx(0.12)


def test_finer_latents_have_all_that_a_dose_adds_to_a_sequence(weights: Path) -> None:
    encoder = load_encoder(folder=weights)
    study = Study.of(encoder, [photo(0, 130, 70), photo(9, 96, 64)], dists_of=0)
    analysed = analyse(encoder.teacher, study.base, study.originals, study.segments)
    before = study.total_bytes(None, DoseKind.NONE)
    after = study.total_bytes(b"d" * 300, DoseKind.FULL)
    assert after > before + 300  # its entry in the manifest
    made = finer(study, analysed, FINER, after)
    assert before + 300 < made.total_bytes <= after
    assert finer(study, analysed, FINER, before).total_bytes == before
    for shown, generic in zip(made.pictures, study.generic().pictures, strict=True):
        assert shown.shape == generic.shape
        assert not np.array_equal(shown, generic)


def test_what_is_wrong_is_one_line(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), "--weights", str(weights)]) == 1
    assert "holds no picture" in capsys.readouterr().err
    assert main([str(tmp_path), "--weights", str(weights), "--profile", "huge"]) == 1
    assert "no base of a student 'huge'" in capsys.readouterr().err


def test_weights_that_are_needed_at_the_end_are_missed_at_the_beginning(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MICRODOSE_CACHE", str(tmp_path))
    assert main([str(folder), "--weights", str(tmp_path)]) == 1
    assert "no DISTS weights at" in capsys.readouterr().err


def test_every_rung_can_be_asked_for() -> None:
    assert "full" in RUNGS
    assert not {"auto", "none"} & set(RUNGS)
    assert "example:" in parser().format_help()

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.dose import ALPHAS, FINER, GENERIC, ON_ORIGINALS, RUNGS, main, parser, table
from microdose_server.codec.discriminator import Discriminator
from microdose_server.codec.presets import PRESETS
from microdose_server.codec.shipped import save_discriminator
from tests.photos import encode, photo

SHORT = ["--pictures", "2", "--steps", "2", "--dists", "0", "--rungs", "full"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A transfer set of two pictures."""
    found = tmp_path_factory.mktemp("photos")
    for n in range(2):
        (found / f"{n}.png").write_bytes(encode(photo(30 * n, 160, 160)))
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
        *(f"student-alpha-{alpha:g}" for alpha in ALPHAS),
    }
    aimed = numbers["originals"]
    assert aimed.keys() == {"dose_bytes", "bpp_total", "lpips", "lpips_teacher"}
    assert aimed["dose_bytes"] == variants[ON_ORIGINALS]["dose_bytes"] > 0
    assert aimed["lpips"] == variants[ON_ORIGINALS]["to_original"]["lpips"]
    assert aimed["lpips_teacher"] == variants["teacher"]["to_original"]["lpips"]
    assert variants[FINER]["bpp_total"] <= variants["full"]["bpp_total"]
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
    assert variants.keys() == {"teacher", GENERIC, "full", FINER, ON_ORIGINALS}


def test_what_is_wrong_is_one_line(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), "--weights", str(weights)]) == 1
    assert "holds no picture" in capsys.readouterr().err
    assert main([str(tmp_path), "--weights", str(weights), "--profile", "huge"]) == 1
    assert "no base of a student 'huge'" in capsys.readouterr().err


def test_every_rung_can_be_asked_for() -> None:
    assert "full" in RUNGS
    assert not {"auto", "none"} & set(RUNGS)
    assert "example:" in parser().format_help()

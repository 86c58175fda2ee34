import json
import math
import shutil
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.parts.comparison import Measured, Quality, Rival, report, table
from benchmarks.teacher import absent, code, judge, keep, main, measure, parser
from microdose_server.codec.encode import load_encoder
from microdose_server.codec.presets import PRESETS
from microdose_server.codec.shipped import save_teacher
from microdose_server.codec.teacher import Teacher
from microdose_server.evaluate import metrics
from microdose_server.evaluate.codecs import Codec, search
from microdose_server.training import lpips_weights
from tests.photos import encode, photo
from tests.zoo import keep as keep_model
from tests.zoo import untrained

JPEG, TWICE = Rival("jpeg"), Rival("jpeg", 2.0)


def test_a_picture_is_judged_by_its_bytes_and_its_distances() -> None:
    original, shown = photo(0, 200, 170), photo(1, 200, 170)
    found = judge(original, shown, size=3400, allowed=1700)
    assert (found.bpp, found.bytes_ratio) == (0.8, 2.0)
    names = [field.name for field in fields(Quality)][2:]
    assert names == ["psnr", "ms_ssim", "lpips", "lpips_moved", "dists"]
    for name in names:
        assert getattr(found, name) == getattr(metrics, name)(original, shown)
    assert judge(original, shown, 3400, 1700, with_dists=False) == replace(found, dists=None)


def test_every_byte_is_counted(weights: Path) -> None:
    encoder, pixels = load_encoder("cpu", weights), photo(0, 200, 168)
    segment, _ = code(encoder, pixels)
    jpeg = {"jpeg": partial(search, codec=Codec.JPEG)}
    found = measure(encoder, pixels, jpeg, [1.0, 2.0], with_dists=False)
    assert list(found.rivals) == [JPEG, TWICE]
    assert found.teacher.bpp == 8 * len(segment) / (168 * 200)
    assert found.teacher.bytes_ratio == 1.0
    for rival, each in found.rivals.items():
        assert each.bytes_ratio >= 1.0
        assert each.bytes_ratio * rival.rate == pytest.approx(each.bpp / found.teacher.bpp)


def test_a_folder_is_measured(
    folder: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plot = tmp_path / "plot.png"
    options = ["--weights", str(weights), "--rates", "2", "--plot", str(plot), "--json"]
    assert main([str(folder), *options]) == 0
    found = json.loads(capsys.readouterr().out)
    numbers = found["figures"]
    assert set(numbers["lpips_at_equal_bytes"]) == {"jpeg", "webp", "avif", "jxl", "x265"}
    assert all(ratio >= 1 for ratio in numbers["bytes_ratio"].values())
    assert found["name"] == "microdose-tiny"
    assert found["results"]["bpp"] == [numbers["bpp"]]
    assert len(found["per_picture"]) == 2
    assert math.isclose(numbers["bpp"], sum(row["bpp"] for row in found["per_picture"]) / 2)
    assert list(found["absent"]) == ["compressai zoo"]
    assert found["machine"]["torch"]
    assert len(table(found).splitlines()) > 6
    with Image.open(plot) as image:
        assert image.width > 1000


def test_without_the_weights_of_dists_the_rest_is_measured(
    folder: Path,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MICRODOSE_LPIPS", str(lpips_weights.WEIGHTS.find()))
    monkeypatch.setenv("MICRODOSE_CACHE", str(tmp_path))
    plot = tmp_path / "plot.png"
    assert main([str(folder), "--weights", str(weights), "--limit", "1", "--plot", str(plot), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["figures"]["dists"] is None
    assert set(found["figures"]["dists_at_equal_bytes"].values()) == {None}
    (row,) = found["per_picture"]
    assert [each["dists"] for each in (row, *row["rivals"])] == [None] * 6
    assert str(tmp_path) in found["absent"]["dists"]
    assert "python -m microdose_server.evaluate.dists_weights" in found["absent"]["dists"]
    lines = table(found).splitlines()
    assert [line[-9:] for line in lines[1:7]] == ["        -"] * 6
    assert any(line.startswith("dists          absent: no DISTS weights") for line in lines)
    assert plot.is_file()


@pytest.mark.parametrize("damaged", ["lpips", "dists"])
def test_weights_are_looked_for_before_anything_is_measured(
    damaged: str,
    folder: Path,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = lpips_weights.WEIGHTS.find()
    monkeypatch.setenv("MICRODOSE_CACHE", str(tmp_path))
    monkeypatch.setenv("MICRODOSE_LPIPS", str(tmp_path / "missing" if damaged == "lpips" else found))
    (tmp_path / "dists_vgg16.safetensors").write_bytes(b"not weights")
    assert main([str(folder), "--weights", str(weights)]) == 1
    (told,) = capsys.readouterr().err.splitlines()
    assert "no LPIPS weights at" in told if damaged == "lpips" else "known DISTS weights: fetch" in told


def test_models_of_the_zoo_are_rivals(
    folder: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    zoo = {"bmshj2018-factorized": "prior-1-446d5c7f", "mbt2018-mean-ms-ssim": "1-5bf9c0b6"}
    for family, rest in zoo.items():
        keep_model(untrained(family), tmp_path, f"{family}-{rest}.pth.tar")
    options = ["--weights", str(weights), "--limit", "1", "--rates", "0.5", "--zoo", str(tmp_path), "--json"]
    assert main([str(folder), *options]) == 0
    found = json.loads(capsys.readouterr().out)
    numbers = found["figures"]
    assert set(zoo) < set(numbers["lpips_at_equal_bytes"]) == set(numbers["bytes_ratio"])
    (row,) = found["per_picture"]
    for family in zoo:
        half, equal = (each for each in row["rivals"] if each["codec"] == family)
        assert (half["rate"], equal["rate"]) == (0.5, 1.0)
        assert half["bpp"] == equal["bpp"] == numbers["bpp_at_equal_bytes"][family]  # there is one quality
        assert half["bytes_ratio"] == pytest.approx(2 * equal["bytes_ratio"], rel=0.01)
        assert any(line.startswith(f"{family}  ") for line in table(found).splitlines())
    assert found["absent"] == {}


def test_without_models_the_zoo_is_absent(tmp_path: Path) -> None:
    assert "give --zoo" in absent(None)["compressai zoo"]
    assert "compressai zoo" not in absent(tmp_path)


def test_the_limit_is_kept(folder: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(folder), "--weights", str(weights), "--limit", "1"]) == 0
    assert "mean over 1 pictures" in capsys.readouterr().out


def test_what_is_wrong_is_one_line(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 1
    assert "holds no picture" in capsys.readouterr().err
    (tmp_path / "large.png").write_bytes(encode(photo(0, 200, 168)))
    command = [str(tmp_path), "--weights", str(weights)]
    assert main([*command, "--curves", str(tmp_path / "missing.json")]) == 1
    assert "missing.json is not a result" in capsys.readouterr().err
    assert main([*command, "--zoo", str(tmp_path)]) == 1
    (told,) = capsys.readouterr().err.splitlines()
    assert "large.png is not named as a model of CompressAI's zoo" in told
    (tmp_path / "small.png").write_bytes(encode(photo(0, 200, 100)))
    assert main(command) == 1
    told = capsys.readouterr().err
    assert "small.png: 200x100 is too small here: each side needs at least 161 pixels" in told
    assert "measuring" not in told


def test_a_base_of_another_teacher_is_refused(
    folder: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = shutil.copytree(weights, tmp_path / "weights")
    save_teacher("tiny", Teacher(PRESETS["tiny"]).state_dict(), own)
    assert main([str(folder), "--weights", str(own)]) == 1
    assert "distil its student again" in capsys.readouterr().err


def test_a_plot_that_cannot_be_written_costs_no_measurement(
    folder: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit):
        main([str(folder), "--weights", str(weights), "--plot", str(tmp_path / "file" / "plot.png")])
    assert "file cannot be made" in capsys.readouterr().err
    plot = tmp_path / "new" / "plot.png"
    args = parser().parse_args([str(folder), "--plot", str(plot)])
    some = Quality(*(0.5 for _ in fields(Quality)))
    keep(args, report(["0.png"], [Measured(some, {JPEG: some})], {}, "tiny", "kodak"))
    assert plot.is_file()


def test_help_has_an_example() -> None:
    assert "example:" in parser().format_help()

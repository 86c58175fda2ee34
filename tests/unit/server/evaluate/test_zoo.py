import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from microdose.errors import BadUpload
from microdose_server.evaluate.metrics import tensor_of
from microdose_server.evaluate.zoo import Family, read_zoo
from microdose_server.evaluate.zoo_models import ARCHITECTURES
from microdose_server.training.data import Pixels
from tests.photos import photo
from tests.zoo import NAMES, keep, untrained

WIDTH, HEIGHT = 150, 70
PADDED = (21, 21, 29, 29)  # left, right, top, bottom: to 192 x 128
HYPERPRIOR = "bmshj2018-hyperprior-{}-7eb97409.pth.tar"


@pytest.fixture(scope="module")
def picture() -> Pixels:
    return photo(0, WIDTH, HEIGHT)


def sizes(family: Family, picture: Pixels) -> list[int]:
    """What each quality takes, by CompressAI itself."""
    padded = F.pad(tensor_of(picture), PADDED)
    with torch.inference_mode():
        coded = [model.compress(padded)["strings"] for model in family.models]
    return [sum(len(string) for of_batch in strings for string in of_batch) for strings in coded]


@pytest.fixture
def family(tmp_path: Path) -> Family:
    """Three qualities, each of more bytes than the one before it."""
    for quality, gain in ((1, 1.0), (2, 20.0), (4, 400.0)):
        keep(untrained("bmshj2018-hyperprior", gain), tmp_path, HYPERPRIOR.format(quality))
    (found,) = read_zoo(tmp_path)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_architecture_codes_to_bytes_and_back(name: str, tmp_path: Path, picture: Pixels) -> None:
    keep(untrained(NAMES[name]), tmp_path, name)
    (family,) = read_zoo(tmp_path)
    assert family.name == NAMES[name]
    coded = family.search(picture)(1)
    assert len(coded.data) == sizes(family, picture)[0] > 0
    assert coded.pixels.shape == picture.shape
    assert coded.pixels.dtype == np.uint8
    assert coded.pixels.std() > 0


@pytest.mark.parametrize("architecture", ["bmshj2018-factorized", "bmshj2018-hyperprior", "mbt2018-mean"])
def test_what_is_decoded_is_what_the_model_sees(architecture: str, picture: Pixels) -> None:
    model = untrained(architecture, 20.0)
    coded = Family(architecture, (model,)).search(picture)(1)
    with torch.inference_mode():
        seen = model(F.pad(tensor_of(picture), PADDED))["x_hat"][0].clamp(0, 1)
    inside = seen[:, 29 : 29 + HEIGHT, 21 : 21 + WIDTH].permute(1, 2, 0).numpy() * 255
    assert np.abs(coded.pixels - inside).max() <= 0.51


def test_of_a_family_the_fewest_bytes_are_taken_that_are_enough(family: Family, picture: Pixels) -> None:
    small, middle, large = sizes(family, picture)
    assert small < middle < large
    search = family.search(picture)
    for target, size in ((1, small), (small, small), (small + 1, middle), (middle, middle), (large, large)):
        assert len(search(target).data) == size


def test_where_no_quality_has_enough_bytes_the_finest_is_taken(family: Family, picture: Pixels) -> None:
    assert len(family.search(picture)(10**9).data) == sizes(family, picture)[-1]
    turned = Family(family.name, family.models[::-1])
    assert len(turned.search(picture)(10**9).data) == sizes(family, picture)[0]
    assert len(turned.search(picture)(1).data) == sizes(family, picture)[0]


def test_each_metric_is_a_family_of_its_own(tmp_path: Path) -> None:
    for name in NAMES:
        keep(untrained(NAMES[name]), tmp_path, name)
    (tmp_path / ".DS_Store").touch()
    assert [family.name for family in read_zoo(tmp_path)] == sorted(NAMES.values())


@pytest.mark.parametrize("prefix", ["", "module."])
def test_tables_that_a_checkpoint_lacks_are_made(prefix: str, tmp_path: Path, picture: Pixels) -> None:
    torch.manual_seed(0)
    fresh = ARCHITECTURES["bmshj2018-hyperprior"](8, 12).state_dict()
    torch.save({prefix + name: tensor for name, tensor in fresh.items()}, tmp_path / HYPERPRIOR.format(1))
    (family,) = read_zoo(tmp_path)
    ready = Family(family.name, (untrained(family.name),))
    assert family.search(picture)(1).data == ready.search(picture)(1).data


def test_a_folder_of_nothing_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(BadUpload, match=rf"^{folder} holds no checkpoint: give the folder"):
            read_zoo(folder)


@pytest.mark.parametrize(
    "name",
    [
        "notes.txt",
        "hyperprior.pth.tar",
        "bmshj2018-hyperprior-1.pth.tar",
        "bmshj2018-hyperprior-9-7eb97409.pth.tar",
        "bmshj2018-factorized-relu-1-446d5c7f.pth.tar",
        "ssf2020-mse-1-c1ac1a47.pth.tar",
    ],
)
def test_what_the_zoo_does_not_have_is_refused(name: str, tmp_path: Path) -> None:
    keep(untrained("mbt2018-mean"), tmp_path, "mbt2018-mean-3-723404a8.pth.tar")
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(BadUpload, match=rf"{name} is not named as a model of CompressAI's zoo"):
        read_zoo(tmp_path)


def damaged(folder: Path, kind: str) -> Path:
    """A file of the right name that holds something else."""
    file = keep(untrained("bmshj2018-factorized"), folder, HYPERPRIOR.format(1))
    if kind == "short":
        file.write_bytes(file.read_bytes()[:5000])
    elif kind == "empty":
        file.write_bytes(b"")
    elif kind == "text":
        file.write_text("404: not found")
    elif kind == "numbers":
        torch.save([1, 2, 3], file)
    return file


@pytest.mark.parametrize("kind", ["of another architecture", "short", "empty", "text", "numbers"])
def test_a_damaged_checkpoint_is_named(kind: str, tmp_path: Path) -> None:
    file = damaged(tmp_path, kind)
    with pytest.raises(BadUpload, match=rf"^{file} does not hold the bmshj2018-hyperprior of") as refused:
        read_zoo(tmp_path)
    assert len(str(refused.value).splitlines()) == 1


class Program:
    """Pickled, it makes a folder where it is loaded."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.file),)


def test_no_checkpoint_runs_a_program(tmp_path: Path) -> None:
    zoo, made = tmp_path / "zoo", tmp_path / "made"
    zoo.mkdir()
    torch.save({"g_a.0.weight": Program(made)}, zoo / HYPERPRIOR.format(1))
    with pytest.raises(BadUpload, match="does not hold"):
        read_zoo(zoo)
    assert not made.exists()

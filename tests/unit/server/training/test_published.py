"""Weights of others in the cache: made once, and refused where they are not the known ones."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from microdose.errors import DigestMismatch, NotFound
from microdose_server.evaluate import dists_weights
from microdose_server.training import lpips_weights
from microdose_server.training.packages import Tensors, fingerprint
from microdose_server.training.published import Published

TENSORS: Tensors = {"a": np.arange(6, dtype=np.float32).reshape(2, 3)}


@pytest.fixture
def made() -> list[int]:
    return []


@pytest.fixture
def weights(made: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Published:
    def make() -> Tensors:
        made.append(1)
        return TENSORS

    monkeypatch.setenv("MICRODOSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CHOSEN", raising=False)
    return Published("known", "known.safetensors", "fetch.them", fingerprint(TENSORS), make, "CHOSEN")


def test_they_are_made_once_and_again_where_they_were_damaged(weights: Published, made: list[int]) -> None:
    path = weights.fetch()
    assert weights.fetch() == path == weights.find()
    assert np.array_equal(weights.load(path)["a"], TENSORS["a"])
    assert len(made) == 1
    save_file({"a": TENSORS["a"] + 1}, path)
    weights.load(weights.fetch())
    assert len(made) == 2
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DigestMismatch, match="fetch them with"):
        weights.load(path)
    weights.load(weights.fetch())
    assert len(made) == 3
    assert list(path.parent.iterdir()) == [path]


def test_those_of_an_installed_package_are_looked_for_first(weights: Published, made: list[int]) -> None:
    at_hand = replace(weights, installed=lambda: TENSORS)
    path = at_hand.find()
    assert np.array_equal(weights.load(path)["a"], TENSORS["a"])
    path.unlink()
    assert at_hand.fetch() == path == weights.find()
    assert not made


def test_those_of_an_installed_package_must_be_the_known_ones(weights: Published) -> None:
    with pytest.raises(DigestMismatch):
        replace(weights, installed=lambda: {"a": TENSORS["a"] + 1}).find()


def test_what_was_made_wrong_leaves_nothing(weights: Published, tmp_path: Path) -> None:
    with pytest.raises(DigestMismatch):
        replace(weights, fingerprint="another").fetch()
    assert list((tmp_path / "cache").iterdir()) == []


def test_another_file_may_be_chosen(
    weights: Published, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    save_file(TENSORS, tmp_path / "own.safetensors")
    monkeypatch.setenv("CHOSEN", str(tmp_path / "own.safetensors"))
    assert weights.find() == tmp_path / "own.safetensors"


def test_who_has_chosen_a_file_is_told_of_it(
    weights: Published, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """To fetch them alone would not put them there."""
    own = tmp_path / "own.safetensors"
    monkeypatch.setenv("CHOSEN", str(own))
    with pytest.raises(NotFound, match=r"own.* let CHOSEN name another file, or unset it and fetch"):
        weights.find()
    save_file({"a": TENSORS["a"] + 1}, own)
    with pytest.raises(DigestMismatch, match=r"own.* let CHOSEN name another file, or unset it and fetch"):
        weights.load(weights.find())


@pytest.mark.parametrize("module", [dists_weights, lpips_weights])
def test_who_misses_them_is_told_the_command(
    module: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("MICRODOSE_LPIPS", raising=False)
    monkeypatch.setenv("MICRODOSE_CACHE", str(tmp_path))
    with pytest.raises(NotFound, match=f"`python -m {module.__name__}`"):
        module.WEIGHTS.find()


@pytest.mark.parametrize(("module", "name"), [(dists_weights, "alpha"), (lpips_weights, "lin0.weight")])
def test_others_are_refused(module: Any, name: str, tmp_path: Path) -> None:
    tensors = module.WEIGHTS.load(module.WEIGHTS.find())
    tensors[name] = tensors[name] * 2
    save_file(tensors, tmp_path / "other.safetensors")
    with pytest.raises(DigestMismatch, match=module.__name__):
        module.WEIGHTS.load(tmp_path / "other.safetensors")

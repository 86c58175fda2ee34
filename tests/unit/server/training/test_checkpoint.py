from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from microdose.errors import NoSpace, NotFound, UnsupportedVersion
from microdose_server.training.checkpoint import RunState, load_state, save_state
from microdose_server.training.recipe import ENCODER, Recipe


@pytest.fixture
def state() -> RunState:
    weights = {"w": torch.arange(4.0)}
    rng = np.random.default_rng(3).bit_generator.state
    noise = torch.get_rng_state()
    recipe = asdict(Recipe(frozen=ENCODER))
    return RunState("tiny", weights, dict(weights), {"state": {}}, 7, 1.5, noise, dict(rng), recipe=recipe)


def test_everything_comes_back(tmp_path: Path, state: RunState) -> None:
    save_state(state, tmp_path / "run.pt")
    loaded = load_state(tmp_path / "run.pt", "tiny")
    assert (loaded.preset, loaded.step, loaded.seconds, loaded.data_rng) == ("tiny", 7, 1.5, state.data_rng)
    assert torch.equal(loaded.model["w"], state.model["w"])
    assert torch.equal(loaded.torch_rng, state.torch_rng)
    assert loaded.recipe == state.recipe
    assert [path.name for path in tmp_path.iterdir()] == ["run.pt"]


def test_another_preset_is_refused(tmp_path: Path, state: RunState) -> None:
    save_state(state, tmp_path / "run.pt")
    with pytest.raises(UnsupportedVersion, match="use it with --preset tiny"):
        load_state(tmp_path / "run.pt", "medium")


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="without --resume"):
        load_state(tmp_path / "run.pt", "tiny")


@pytest.mark.parametrize("data", [b"", b"no checkpoint", "cut off", "something else"])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, state: RunState, data: bytes | str) -> None:
    path = tmp_path / "checkpoint.pt"
    if data == "cut off":
        save_state(state, path)
        data = path.read_bytes()[:-100]
    if isinstance(data, bytes):
        path.write_bytes(data)
    else:
        torch.save({"weights": torch.zeros(1)}, path)
    with pytest.raises(UnsupportedVersion, match=r"checkpoint\.pt (cannot be read|holds something else)"):
        load_state(path, "tiny")


def test_a_failed_save_leaves_the_last_checkpoint(tmp_path: Path, state: RunState) -> None:
    path = tmp_path / "run.pt"
    save_state(state, path)
    kept = path.read_bytes()
    state.optimizer = {"not storable": lambda: None}
    with pytest.raises(Exception, match=r"pickle|lambda"):
        save_state(state, path)
    assert path.read_bytes() == kept
    assert [each.name for each in tmp_path.iterdir()] == ["run.pt"]


def test_a_full_disk_leaves_the_last_checkpoint_alone(tmp_path: Path, state: RunState) -> None:
    path = tmp_path / "run.pt"
    save_state(state, path)
    kept = path.read_bytes()
    (tmp_path / "run.writing").symlink_to("/dev/full")
    with pytest.raises(NoSpace, match=r"No space left on device\): make room there, .* --resume"):
        save_state(state, path)
    assert [each.name for each in tmp_path.iterdir()] == ["run.pt"]
    assert path.read_bytes() == kept


def test_another_stage_is_refused(tmp_path: Path, state: RunState) -> None:
    save_state(state, tmp_path / "run.pt")
    assert load_state(tmp_path / "run.pt", "tiny", 1).stage == 1
    with pytest.raises(UnsupportedVersion, match=r"of stage 1; .* stage 2 in another folder with --from"):
        load_state(tmp_path / "run.pt", "tiny", 2)


def test_the_first_format_is_still_read(tmp_path: Path, state: RunState) -> None:
    first = ("preset", "model", "ema", "optimizer", "step", "seconds", "torch_rng", "data_rng")
    torch.save({name: getattr(state, name) for name in first}, tmp_path / "run.pt")
    loaded = load_state(tmp_path / "run.pt", "tiny", 1)
    assert (loaded.step, loaded.stage, loaded.discriminator, loaded.noise_rng) == (7, 1, {}, [])
    assert (loaded.recipe, loaded.photos) == ({}, {})

"""Real processes, joined as torchrun joins them."""

import csv
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, distributed

from microdose.errors import BadUpload, Diverged, Unavailable
from microdose_server.codec.presets import PRESETS
from microdose_server.codec.teacher import Teacher
from microdose_server.evaluate.ports import free_port
from microdose_server.training.adversarial import AdversarialRun
from microdose_server.training.checkpoint import load_state
from microdose_server.training.loop import Budget, Run, StepReport, train
from microdose_server.training.lpips import LPIPS
from microdose_server.training.peers import ALONE, Peers, joined, must_be_here
from microdose_server.training.recipe import Recipe, StageTwo
from tests.photos import photo

COUNT, STEPS = 2, 6
PHOTOS = [photo(n, 160, 128) for n in range(3)]
# With LPIPS in one phase and of all crops, and latents without noise, no step has anything random in it, and
# steps can be compared number by number.
CERTAIN = Recipe(batch=4, crop=64, perceptual_phases=1, warm_up=0.0, rate_from_zero_until=0.1)
PLAIN = replace(CERTAIN, perceptual_from=0.4)
ADVERSARIAL = StageTwo(**(asdict(CERTAIN) | {"perceptual_crops": 4, "perceptual_from": 0.0}))


def run_of(peers: Peers, recipe: Recipe) -> Run:
    # Each process begins with other weights: the first one's count.
    torch.manual_seed(7 + peers.rank)
    teacher = Teacher(PRESETS["tiny"])
    if isinstance(recipe, StageTwo):
        return AdversarialRun(teacher, recipe, "cpu", peers=peers)
    return Run(teacher, recipe, "cpu", peers=peers)


def without_noise(run: Run) -> Run:
    """The run, its rates those of latents as they are."""
    for prior in (run.teacher.hyperprior.y_prior, run.teacher.hyperprior.z_prior):
        prior.quantize = partial(quietly, prior.quantize)
    return run


def quietly(quantize: Callable[..., Tensor], y: Tensor, mode: str, means: Tensor | None = None) -> Tensor:
    """What a prior does with latents, but that noise is none."""
    return y if mode == "noise" else quantize(y, mode, means)


def trained(peers: Peers, recipe: Recipe, path: Path) -> None:
    """Six steps, their checkpoint and, beside it, their reports and what each process has learnt."""
    reports, run = list[StepReport](), without_noise(run_of(peers, recipe))
    train(run, PHOTOS, LPIPS(), Budget(steps=STEPS), path, reports.append)
    learnt = [run.teacher, *([run.discriminator] if isinstance(run, AdversarialRun) else [])]
    torch.save([network.state_dict() for network in learnt], path.with_suffix(f".{peers.rank}"))
    if peers.first:
        np.save(path.with_suffix(".npy"), np.array(reports))


class Enough(Exception):
    """What ends a run half-way."""


def stop(report: StepReport) -> None:
    if report.step == STEPS - 2:
        raise Enough


def resumed(peers: Peers, recipe: Recipe, folder: Path) -> None:
    """Six steps at once, and six in two halves."""
    path, lpips, budget = folder / "halves.pt", LPIPS(), Budget(steps=STEPS)
    train(run_of(peers, recipe), PHOTOS, lpips, budget, folder / "straight.pt", lambda report: None)
    with pytest.raises(Enough):
        train(run_of(peers, recipe), PHOTOS, lpips, budget, path, stop, save_every_s=-1.0)
    distributed.barrier()  # the first process may still be writing
    second = run_of(peers, recipe)
    second.restore(load_state(path, "tiny"))
    assert second.step == STEPS - 3
    train(second, PHOTOS, lpips, budget, path, lambda report: None)


def unclipped(peers: Peers, path: Path) -> None:
    """The gradient of a step, each process with its share of a batch."""
    run = without_noise(run_of(peers, replace(PLAIN, clip_norm=math.inf)))
    x = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    run.advance(x[peers.rank :: peers.count], LPIPS(), 0.5)
    gradients = {name: each.grad for name, each in run.teacher.named_parameters() if each.requires_grad}
    torch.save(gradients, path / f"{peers.count}_{peers.rank}.pt")


def exchange(peers: Peers, path: Path) -> None:
    layer = torch.nn.Linear(2, 1)
    layer.weight.grad = torch.full((1, 2), float(peers.rank))
    peers.average_gradients(layer.parameters())
    peers.agree([layer.weight.data])
    gathered = peers.gather(torch.tensor([peers.rank]))
    means = peers.means([1.0, float(peers.rank)])
    torch.save([layer.weight.grad, layer.weight.data, gathered, means], path / f"{peers.rank}.pt")


def diverging(peers: Peers) -> None:
    """A step in which only the last process has a loss that is no number."""
    x = torch.rand(2, 3, 64, 64) * (math.nan if peers.rank == COUNT - 1 else 1.0)
    with pytest.raises(Diverged, match="loss is nan at step 0"):
        run_of(peers, PLAIN).advance(x, LPIPS(), 0.5)
    assert peers.mean(float(peers.rank)) == 0.5  # all are here


def _member(rank: int, port: int, work: Callable[..., None], arguments: tuple[object, ...]) -> None:
    torch.set_num_threads(1)
    os.environ |= {
        "TORCHELASTIC_RUN_ID": "test",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(COUNT),
        "LOCAL_WORLD_SIZE": str(COUNT),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
    }
    with joined("cpu") as peers:
        work(peers, *arguments)


def together(work: Callable[..., None], *arguments: object) -> None:
    """Do the work in COUNT processes."""
    port = free_port()
    context = get_context("spawn")
    members = [context.Process(target=_member, args=(rank, port, work, arguments)) for rank in range(COUNT)]
    try:
        for member in members:
            member.start()
        for member in members:
            member.join(120)
    finally:
        for member in members:
            if member.is_alive():
                member.terminate()
    assert [member.exitcode for member in members] == [0] * COUNT


def curve(path: Path) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """The reports without clocks: step, then progress to the discriminator's loss."""
    columns = [n for n, name in enumerate(StepReport._fields) if name not in ("seconds", "waiting")]
    reports: np.ndarray[tuple[int, int], np.dtype[np.float64]] = np.load(path.with_suffix(".npy"))[:, columns]
    return reports


@pytest.mark.parametrize("recipe", [PLAIN, ADVERSARIAL], ids=["stage 1", "stage 2"])
def test_two_processes_take_the_steps_of_one(tmp_path: Path, recipe: Recipe) -> None:
    trained(ALONE, recipe, tmp_path / "one.pt")
    together(trained, recipe, tmp_path / "two.pt")
    one, two = curve(tmp_path / "one.pt"), curve(tmp_path / "two.pt")
    assert len(one) == STEPS
    np.testing.assert_allclose(two, one, rtol=2e-3, atol=1e-6)
    ema, other = load_state(tmp_path / "one.pt", "tiny").ema, load_state(tmp_path / "two.pt", "tiny").ema
    for name, value in ema.items():
        torch.testing.assert_close(other[name], value, rtol=1e-2, atol=1e-3)
    ours, theirs = (torch.load(tmp_path / f"two.{rank}") for rank in range(COUNT))
    for mine, yours in zip(ours, theirs, strict=True):
        for name, value in mine.items():
            assert torch.equal(yours[name], value), name


def test_the_gradient_is_the_mean_over_processes(tmp_path: Path) -> None:
    """Which clipping and Muon would not tell from the sum."""
    unclipped(ALONE, tmp_path)
    together(unclipped, tmp_path)
    alone, *shared = (torch.load(tmp_path / f"{name}.pt") for name in ("1_0", "2_0", "2_1"))
    for gradients in shared:
        for name, expected in alone.items():
            assert (gradients[name] - expected).norm() < 1e-3 * expected.norm() + 1e-7, name


def test_they_resume_each_with_its_own_noise(tmp_path: Path) -> None:
    together(resumed, PLAIN, tmp_path)
    straight, halves = (load_state(tmp_path / f"{name}.pt", "tiny") for name in ("straight", "halves"))
    assert halves.step == STEPS
    assert not torch.equal(*halves.noise_rng)
    for own, expected in zip(halves.noise_rng, straight.noise_rng, strict=True):
        assert torch.equal(own, expected)
    for name, value in straight.model.items():
        assert torch.equal(halves.model[name], value), name


def test_what_they_exchange(tmp_path: Path) -> None:
    together(exchange, tmp_path)
    (gradient, weights, gathered, means), other = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert gradient.tolist() == [[0.5, 0.5]] == other[0].tolist()
    assert torch.equal(weights, other[1])
    assert [int(value) for value in gathered] == [0, 1]
    assert means == other[3] == [1.0, 0.5]


def test_all_stop_where_one_diverges() -> None:
    together(diverging)


@pytest.mark.parametrize(
    ("device", "count", "told"),
    [
        ("cuda", 0, "no GPU"),
        ("cuda:7", 1, r"no cuda:7 here: .* 1 of them, from cuda:0"),
        ("cuda:2", 2, "2 of"),
    ],
)
def test_a_gpu_that_is_not_here_is_refused(
    device: str, count: int, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with pytest.raises(Unavailable, match=told):
        must_be_here(device)
    with pytest.raises(Unavailable, match=told), joined(device):
        pass
    must_be_here(f"cuda:{count - 1}" if count else "cpu")


def test_alone_nothing_is_exchanged() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    weight.grad = torch.tensor([1.0, 2.0])
    ALONE.average_gradients([weight])
    ALONE.agree([weight.data])
    assert weight.grad.tolist() == [1.0, 2.0]
    assert ALONE.means([3.0]) == [3.0]
    assert ALONE.share(7) == 7
    with pytest.raises(BadUpload, match="choose a multiple"):
        Peers(0, 2).share(7)


def torchrun(photos: Path, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(COUNT)]
    train_it = ["-m", "microdose_server", "train", str(photos), "-o", str(out), "--preset", "tiny"]
    command += [*train_it, "--crop", "64", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def test_a_batch_that_cannot_be_shared_is_told_before_photographs_are_read(tmp_path: Path) -> None:
    done = torchrun(tmp_path / "nowhere", tmp_path / "run", "--steps", "1", "--batch", "3")
    assert done.returncode != 0
    assert "3 crops cannot be shared by 2 processes" in done.stderr


def test_torchrun_trains_one_teacher(photo_folder: Path, tmp_path: Path) -> None:
    done = torchrun(photo_folder, tmp_path / "run", "--steps", "50", "--batch", "2", "--json")
    assert done.returncode == 0, done.stderr
    opening, line = (json.loads(told) for told in done.stdout.splitlines())
    assert (opening["processes"], line["step"]) == (2, 50)
    with (tmp_path / "run" / "curve.csv").open(newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["50"]
    state = load_state(tmp_path / "run" / "checkpoint.pt", "tiny", 1)
    assert (state.step, len(state.noise_rng)) == (50, COUNT)


def test_processes_that_nothing_has_joined_are_told_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    with pytest.raises(Unavailable, match="start them with torchrun"), joined("cpu"):
        pass

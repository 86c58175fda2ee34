"""Latents refined in a job: once, for the student that viewers will have."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
import torch
from numpy.typing import NDArray
from torch import nn

from microdose.decoder import Decoder, to_pixels
from microdose.manifest import parse_manifest
from microdose.resources import DoseAim, DoseChoice
from microdose_server.codec.coder import Latents
from microdose_server.codec.encode import Encoder, to_tensor
from microdose_server.distil.distance import DISTANCE, distortion, reference_of
from microdose_server.distil.refine import Refinement, Refiner
from microdose_server.jobs import distillation
from microdose_server.jobs.attempt import Assignment
from microdose_server.jobs.refining import purpose_of
from microdose_server.jobs.work import process
from microdose_server.settings import Settings
from microdose_server.store.blobs import public_blobs
from microdose_server.store.bus import read_manifest
from microdose_server.store.drafts import read_drafts
from microdose_server.store.named import named_by_drafts
from microdose_server.store.sequences import Sequences
from microdose_server.training.lpips import LPIPS
from tests.assigned import again, begin
from tests.photos import Pixels, photo, two_shots
from tests.streams import job_events

Coding = tuple[bytes, NDArray[np.float32]]


def decoded(given: Assignment, encoder: Encoder, tmp_path: Path) -> list[Pixels]:
    """What viewers see of the published sequence."""
    manifest = parse_manifest(read_manifest(given.client, given.attempt.sequence) or b"")
    blobs = public_blobs(tmp_path)
    doses = [[blobs.get(dose.digest) for dose in manifest.doses(each.epoch)] for each in manifest.segments]
    return [
        Decoder(encoder.base, *chain, threads=1).decode(blobs.get(each.blob.digest)).pixels
        for each, chain in zip(manifest.segments, doses, strict=True)
    ]


@pytest.mark.parametrize("dose", [DoseChoice.NONE, DoseChoice.GAINS])
def test_viewers_get_refined_latents(
    bus: redis.Redis, tmp_path: Path, tiny_encoder: Encoder, lpips: LPIPS, dose: DoseChoice
) -> None:
    settings, pictures = Settings(data_dir=tmp_path, distil_steps=8), [photo(0), photo(1)]
    costs = []
    for refine in (None, 10):
        given = begin(bus, settings, pictures, dose=dose, refine=refine)
        process(given, tiny_encoder)
        seen = zip(decoded(given, tiny_encoder, tmp_path), pictures, strict=True)
        costs.append(
            sum(
                float(distortion(to_tensor(made), reference_of(to_tensor(shown), lpips), lpips, DISTANCE))
                for made, shown in seen
            )
        )
    assert costs[1] < 0.95 * costs[0]
    results = Sequences(bus).get(given.attempt.sequence).results
    assert results is not None
    assert set(results.seconds) == {"encode", "distil", "refine", "verify", "publish"}
    told = [event.job for event in job_events(bus, given.attempt.job)]
    assert list(dict.fromkeys(job.phase for job in told))[2:] == [*results.seconds]
    assert {job.steps for job in told if job.phase == "refine"} == {2}


@pytest.mark.parametrize("dose", [DoseChoice.NONE, DoseChoice.GAINS])
def test_refines_towards_what_doses_aim_at(
    bus: redis.Redis,
    tmp_path: Path,
    tiny_encoder: Encoder,
    monkeypatch: pytest.MonkeyPatch,
    dose: DoseChoice,
) -> None:
    goals = []

    def noted(refiner: Refiner, latents: Latents, goal: Pixels, *more: Any) -> Coding:
        goals.append(np.array(goal))
        return code(refiner, latents, goal, *more)

    code = Refiner.code
    monkeypatch.setattr(Refiner, "code", noted)
    for aim in DoseAim:
        settings = Settings(data_dir=tmp_path, distil_steps=4)
        process(begin(bus, settings, [photo(0)], dose=dose, aim=aim, refine=1), tiny_encoder)
    wanted = {DoseAim.ORIGINALS: photo(0), DoseAim.TEACHER: tiny_encoder.encode(photo(0)).x_hat}
    assert all(np.array_equal(goal, wanted[aim]) for goal, aim in zip(goals, DoseAim, strict=True))


def test_each_picture_is_refined_for_the_student_of_its_shot(
    bus: redis.Redis, tmp_path: Path, tiny_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    painted: list[Pixels] = []

    def noted(refiner: Refiner, latents: Latents, goal: Pixels, decoder: nn.Module, *more: Any) -> Coding:
        segment, y_hat = code(refiner, latents, goal, decoder, *more)
        painted.append(to_pixels(decoder(torch.from_numpy(y_hat)[None])[0].numpy()))
        return segment, y_hat

    code = Refiner.code
    monkeypatch.setattr(Refiner, "code", noted)
    settings = Settings(data_dir=tmp_path, distil_steps=26)
    given = begin(bus, settings, two_shots(), dose=DoseChoice.GAINS, refine=1)
    process(given, tiny_encoder)
    manifest = parse_manifest(read_manifest(bus, given.attempt.sequence) or b"")
    assert len(manifest.epochs) == 2
    shown = decoded(given, tiny_encoder, tmp_path)
    for made, seen in zip(painted, shown, strict=True):
        assert np.abs(made[:64, :96].astype(int) - seen).max() <= 1


class Counting:
    """Counts what is refined; dies at one more than `most`."""

    def __init__(self, most: int = 100) -> None:
        self.done, self._most = 0, most
        self._code = Refiner.code

    def __call__(self, refiner: Refiner, *given: Any) -> Coding:
        if self.done == self._most:
            raise KeyboardInterrupt
        self.done += 1
        return self._code(refiner, *given)


def test_what_was_refined_before_the_process_died_is_not_refined_again(
    bus: redis.Redis, tmp_path: Path, tiny_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = begin(bus, Settings(data_dir=tmp_path), [photo(0), photo(1)], dose=DoseChoice.NONE, refine=2)
    dying = Counting(most=1)
    with monkeypatch.context() as patch:
        patch.setattr(Refiner, "code", lambda *given: dying(*given))
        with pytest.raises(KeyboardInterrupt):
            process(given, tiny_encoder)
    drafts = read_drafts(bus, given.attempt.sequence)
    assert [drafts[n].refined is not None for n in (0, 1)] == [True, False]
    assert drafts[0].refined in named_by_drafts(bus)
    counting = Counting()
    monkeypatch.setattr(Refiner, "code", lambda *given: counting(*given))
    process(again(given), tiny_encoder)
    assert counting.done == 1
    manifest = parse_manifest(read_manifest(bus, given.attempt.sequence) or b"")
    assert manifest.segments[0].blob.digest == drafts[0].refined


def test_another_attempt_refines_for_the_same_doses(
    bus: redis.Redis, tmp_path: Path, tiny_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever the last checkpoint was due."""
    settings = Settings(data_dir=tmp_path, distil_steps=26, checkpoint_s=3600)
    given = begin(bus, settings, two_shots(), dose=DoseChoice.GAINS, refine=1)
    dying = Counting(most=20)
    with monkeypatch.context() as patch:
        patch.setattr(Refiner, "code", lambda *given: dying(*given))
        with pytest.raises(KeyboardInterrupt):
            process(given, tiny_encoder)
    counting = Counting()
    monkeypatch.setattr(Refiner, "code", lambda *given: counting(*given))
    monkeypatch.setattr(distillation, "specialise", None)
    process(again(given), tiny_encoder)
    assert counting.done == 6


def test_a_purpose_names_all_that_a_segment_follows_from() -> None:
    names = {
        purpose_of(Refinement(steps, lmbda=lmbda), epoch, doses)
        for steps in (1, 2)
        for lmbda in (0.5, 1.0)
        for epoch in (0, 1)
        for doses in ((), (b"a",), (b"a", b"b"), (b"b", b"a"))
    }
    assert len(names) == 32

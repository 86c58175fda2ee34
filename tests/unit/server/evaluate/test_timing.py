import numpy as np
import pytest

from microdose.decoder import Decoder
from microdose.latents import Floats
from microdose_server.evaluate import timing
from microdose_server.evaluate.parts import PartTimes
from microdose_server.evaluate.timing import (
    IN_A_ROW,
    Decode,
    Stages,
    best,
    in_parts,
    parts_alone,
    synthesis,
    take_turns,
    whole,
)
from tests.tiny_base import tiny_base, tiny_segment


def test_the_least_of_every_stage() -> None:
    assert best([Stages(1.0, 5.0, 9.0), Stages(2.0, 4.0, 8.0)]) == Stages(1.0, 4.0, 8.0)
    parted = [Stages(1.0, 4.0, 8.0), Stages(None, None, None, 3.0, 1.0, 5.0)]
    assert best([*parted, Stages(None, None, None, 2.0, 2.0, 4.0)]) == Stages(1.0, 4.0, 8.0, 2.0, 1.0, 4.0)
    assert best([Stages(None, None, 9.0), Stages(None, None, 8.0)]) == Stages(None, None, 8.0)


def test_a_stage_that_was_not_run_takes_no_time() -> None:
    assert Stages(1.0, 2.0, 4.0).total_ms == 7.0
    assert Stages(None, None, 4.0).total_ms == 4.0


def test_parts_are_a_part_of_the_synthesis() -> None:
    assert Stages(1.0, 2.0, 4.0, 0.5, 1.5, 2.0).total_ms == 7.0
    y_hat = np.zeros((8, 1, 1), np.float32)

    def paint(y_hat: Floats) -> tuple[Floats, PartTimes]:
        return np.zeros((3, 16, 16), np.float32), PartTimes(0.5, 1.5, 2.0)

    assert parts_alone(paint, y_hat)() == (None, None, None, 0.5, 1.5, 2.0)
    alone = in_parts(paint, y_hat)()
    assert (alone.entropy_ms, alone.hyper_ms, alone[3:]) == (None, None, (0.5, 1.5, 2.0))
    assert alone.total_ms > 0.0


def test_turns_are_taken_a_few_in_a_row() -> None:
    calls: list[str] = []

    def decoder(name: str) -> Decode:
        def decode() -> Stages:
            calls.append(name)
            return Stages(None, None, 1.0)

        return decode

    found = take_turns({"a": [decoder("a"), decoder("a in parts")], "b": [decoder("b")]}, rounds=2)
    assert calls == (["a"] * IN_A_ROW + ["a in parts"] * IN_A_ROW + ["b"] * IN_A_ROW) * 2
    assert [len(decodes) for decodes in found.values()] == [4 * IN_A_ROW, 2 * IN_A_ROW]


def test_a_slow_decoder_runs_twice_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "PATIENCE_S", 0.0)
    found = take_turns({"slow": [lambda: Stages(None, None, 2.0)]}, rounds=5)
    assert len(found["slow"]) == 2


def test_real_decodes_are_timed() -> None:
    base = tiny_base()
    stages = whole(Decoder(base, threads=1), tiny_segment(base))()
    assert None not in stages[:3]
    assert stages.total_ms > 0
    painted = synthesis(lambda y_hat: np.zeros((3, 16, 16), np.float32), np.zeros((8, 1, 1), np.float32))()
    assert painted[:2] == (None, None)

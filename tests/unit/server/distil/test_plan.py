import time

import pytest

from microdose.dose import DoseKind
from microdose.resources import DoseChoice
from microdose_server.distil.plan import Budget, Clock, Phase, Stage, phases_of, rungs_for
from microdose_server.distil.rate import DEFAULT_LMBDA, Terms

KODAK = 768 * 512
TEACHER, ORIGINALS = 0.06, 0.3
"""About what a generic student misses of its teacher, and of the originals."""


def chosen(
    pictures: float, choice: DoseChoice = DoseChoice.AUTO, cap: int | None = None, missing: float = TEACHER
) -> list[str]:
    terms = Terms(DEFAULT_LMBDA, round(pictures * KODAK), cap)
    return [rung.value for rung in rungs_for(choice, missing, terms)]


def test_the_more_pictures_the_higher_the_ladder_is_climbed() -> None:
    assert chosen(0.1) == []
    assert chosen(0.2) == ["gains"]
    assert chosen(0.28) == ["gains", "low-rank"]
    assert chosen(0.7) == ["gains", "full"]
    assert chosen(8) == chosen(24) == chosen(100) == ["gains", "full"]


def test_towards_the_originals_more_is_to_be_gained_and_fewer_pictures_do() -> None:
    assert chosen(0.01, missing=ORIGINALS) == []
    assert chosen(0.04, missing=ORIGINALS) == ["gains"]
    assert chosen(0.055, missing=ORIGINALS) == ["gains", "low-rank"]
    assert chosen(1, missing=ORIGINALS) == ["gains", "full"]


def test_a_cap_on_bytes_keeps_to_the_lower_rungs() -> None:
    assert chosen(100, cap=100) == []
    assert chosen(100, cap=400) == ["gains"]
    assert chosen(100, cap=800) == ["gains", "low-rank"]
    assert chosen(100, cap=1200) == ["gains", "full"]


def test_a_wish_for_a_rung_is_obeyed_whatever_it_is_worth() -> None:
    assert chosen(0.01, DoseChoice.FULL) == ["gains", "full"]
    assert chosen(0.01, DoseChoice.LOW_RANK) == ["gains", "low-rank"]
    assert chosen(100, DoseChoice.GAINS) == ["gains"]
    assert chosen(100, DoseChoice.NONE) == []


def test_higher_rungs_get_more_of_the_budget() -> None:
    phases = phases_of([DoseKind.GAINS, DoseKind.FULL])
    assert [(phase.rung.value, phase.stage) for phase in phases] == [
        (rung, stage) for rung in ("gains", "full") for stage in Stage
    ]
    shares = [sum(p.share for p in phases if p.rung is rung) for rung in (DoseKind.GAINS, DoseKind.FULL)]
    assert shares[1] > 2 * shares[0]


def test_of_a_rung_the_steps_that_are_sent_get_the_most() -> None:
    """And whatever learns in real numbers as much as the trial of the steps."""
    for phases in (phases_of([DoseKind.FULL]), phases_of([DoseKind.GAINS])):
        total = sum(phase.share for phase in phases)
        assert [phase.share / total for phase in phases] == pytest.approx([0.3, 0.3, 0.4])


def test_below_a_rung_that_was_asked_for_nothing_is_quantised() -> None:
    phases = phases_of([DoseKind.GAINS, DoseKind.FULL], DoseChoice.FULL)
    assert [(phase.rung.value, phase.stage.value) for phase in phases] == [
        ("gains", "free"),
        ("full", "free"),
        ("full", "trial"),
        ("full", "final"),
    ]


def test_steps_are_shared_and_what_a_phase_leaves_goes_to_the_next() -> None:
    clock, phases = Clock(Budget(steps=100)), [Phase(DoseKind.GAINS, Stage.FREE, 1.0)] * 2
    clock.begin(phases)
    clock.steps = 25
    assert clock.done() == pytest.approx(0.5)
    clock.begin(phases[1:])
    assert clock.done() == 0.0
    clock.steps = 100
    assert clock.done() == 1.0


def test_without_steps_every_phase_is_over_at_once() -> None:
    clock = Clock(Budget(steps=0))
    clock.begin(phases_of([DoseKind.GAINS]))
    assert clock.done() == 1.0


def test_seconds_end_a_phase_too(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    clock, phases = Clock(Budget(steps=10**6, seconds=10.0)), phases_of([DoseKind.GAINS])
    clock.begin(phases)
    share = phases[0].share / sum(phase.share for phase in phases)
    now = 5.0 * share
    assert clock.done() == pytest.approx(0.5)
    kept, now = clock.state(), 100.0
    again = Clock(clock.budget)
    again.restore(kept)
    assert again.done() == pytest.approx(0.5)
    assert clock.done() > 1.0


def test_all_runs_of_a_budget_together_keep_its_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run spends before it takes up the state of the last one counts as well."""
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    clock = Clock(Budget(seconds=10.0))
    now = 6.0
    assert not clock.out_of_time()
    kept, now = clock.state(), 100.0
    again = Clock(clock.budget)
    now = 103.0
    again.restore(kept)
    assert not again.out_of_time()
    now = 104.0
    assert again.out_of_time()
    assert not Clock(Budget()).out_of_time()

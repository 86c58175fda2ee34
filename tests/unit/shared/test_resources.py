from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from microdose.dose import DoseKind
from microdose.ids import new_id
from microdose.manifest import ByteCounts
from microdose.problem import make_problem
from microdose.resources import (
    DoseAim,
    DoseChoice,
    Job,
    JobEvent,
    JobState,
    Page,
    Results,
    Sequence,
    SequenceCreate,
    SequenceState,
)

NOW = datetime.now(UTC)


def test_a_request_has_defaults_and_refuses_what_it_does_not_know() -> None:
    assert SequenceCreate() == SequenceCreate(profile="standard", dose=DoseChoice.AUTO, aim=DoseAim.ORIGINALS)
    for body in (
        '{"dosage":"full"}',
        '{"lmbda":0}',
        '{"lmbda":Infinity}',
        '{"profile":"../up"}',
        '{"dose":"much"}',
        '{"aim":"moon"}',
        '{"aim":null}',
    ):
        with pytest.raises(ValidationError):
            SequenceCreate.model_validate_json(body)


def test_a_sequence_survives_json_with_results_and_errors() -> None:
    results = Results(
        pictures=1,
        pixels=960,
        bytes=ByteCounts(latents=9),
        bpp_total=0.2,
        dose_kind=DoseKind.FULL,
        seconds={"x": 1.0},
    )
    sequence = Sequence(
        id=new_id(),
        profile="standard",
        dose=DoseChoice.AUTO,
        state=SequenceState.FAILED,
        created=NOW,
        results=results,
        error=make_problem("job-stalled"),
    )
    assert Sequence.model_validate_json(sequence.to_bytes()) == sequence


def test_a_page_of_jobs_survives_json() -> None:
    job = Job(id=new_id(), sequence=new_id(), state=JobState.RUNNING, step=3, steps=10, created=NOW)
    page = Page[Job](items=(job,), next="cursor")
    assert Page[Job].model_validate_json(page.to_bytes()) == page
    assert JobEvent(type="state", job=job).job == job


def test_a_sequence_from_before_there_was_a_choice_aims_at_the_teacher() -> None:
    made = Sequence(
        id=new_id(), profile="standard", dose=DoseChoice.AUTO, state=SequenceState.QUEUED, created=NOW
    )
    older = made.model_dump_json(exclude={"aim"})
    assert Sequence.model_validate_json(older).aim is DoseAim.TEACHER


def test_times_without_a_zone_are_refused() -> None:
    with pytest.raises(ValidationError, match="timezone"):
        Job(id=new_id(), sequence=new_id(), state=JobState.QUEUED, created=NOW.replace(tzinfo=None))


def test_final_states_are_the_four_ends() -> None:
    assert [state.value for state in JobState if state.final] == [
        "succeeded",
        "failed",
        "cancelled",
        "expired",
    ]


@pytest.mark.parametrize(
    "caps",
    [
        {"dose_bytes": 0},
        {"dose_bytes": 2**27},
        {"dose_seconds": 0},
        {"dose_seconds": 1e9},
        {"refine": 0},
        {"refine": 1001},
        {"refine": 12, "live": True},
    ],
)
def test_caps_on_a_dose_have_bounds(caps: dict[str, float]) -> None:
    SequenceCreate.model_validate({"dose_bytes": 20_000, "dose_seconds": 0.5, "dose": "low-rank"})
    with pytest.raises(ValidationError, match=next(iter(caps))):
        SequenceCreate.model_validate(caps)

import json

import pytest

from microdose import errors
from microdose.problem import PROBLEMS, SLUGS, FieldError, Problem, ProblemError, make_problem, problem_of


@pytest.mark.parametrize("kind", errors.MicrodoseError.__subclasses__())
def test_every_error_has_a_problem(kind: type[errors.MicrodoseError]) -> None:
    if kind is ProblemError:
        return
    problem = problem_of(kind("what was wrong"))
    assert problem.slug == SLUGS[kind]
    assert (problem.status, problem.title) == PROBLEMS[problem.slug]
    assert problem.detail == "what was wrong"


def test_an_error_without_a_slug_of_its_own_takes_its_parents() -> None:
    class Truncated(errors.CorruptStream):
        pass

    assert problem_of(Truncated("x")).slug == "corrupt-stream"
    assert problem_of(errors.MicrodoseError("x")).status == 500


def test_a_problem_error_carries_its_problem_both_ways() -> None:
    problem = make_problem(
        "invalid-request", "two faults", errors=(FieldError(pointer="/name", detail="too long"),)
    )
    error = ProblemError(problem)
    assert problem_of(error) is problem
    assert str(error) == "two faults"


def test_a_problem_survives_json() -> None:
    problem = make_problem("not-found", "no such sequence")
    assert Problem.model_validate_json(problem.to_bytes()) == problem
    assert json.loads(problem.to_bytes())["type"] == "/problems/not-found"


def test_statuses_are_http_errors() -> None:
    assert all(400 <= status < 600 and title for status, title in PROBLEMS.values())

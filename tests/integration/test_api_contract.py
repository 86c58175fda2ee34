"""The API keeps to its own description, whatever it is sent: generated requests, one by one and in chains.

Event streams are left out: their answers never end. `test_api_events` has them.
"""

import json
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from schemathesis import Case, CheckFunction, Response
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from microdose_server.api.description import description
from tests.photos import encode, photo
from tests.served import Served

COMMITTED = Path(__file__).parents[2] / "docs" / "openapi.json"
API = schemathesis.openapi.from_dict(json.loads(COMMITTED.read_text())).exclude(path_regex="/events$")
PICTURES = st.sampled_from([encode(photo(n)) for n in range(3)]) | st.binary(max_size=200)
BOUNDED = settings(
    max_examples=25,
    stateful_step_count=6,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)
SHORT_S = 0.05
GONE = 410

schemathesis.openapi.format("binary", PICTURES)
for media_type in ("image/*", "application/octet-stream"):
    schemathesis.openapi.media_type(media_type, PICTURES)


def test_the_committed_description_is_that_of_the_code() -> None:
    renew = "python -m microdose_server.api.description > docs/openapi.json"
    assert COMMITTED.read_text() == description(), f"the API has changed; run: {renew}"


def key_of(served: Served) -> dict[str, str]:
    """The header that the client of `served` sends."""
    return {"Authorization": served.http.headers["authorization"]}


def hold_shortly(case: Case[Any]) -> None:
    """Have an answer that may be held back for news come soon."""
    query: dict[str, Any] = dict(case.query or {})
    if isinstance(query.get("wait"), int | float) and SHORT_S < query["wait"] <= 30:
        case.query = query | {"wait": SHORT_S}


def unsure(case: Case[Any]) -> list[CheckFunction]:
    """The checks that do not hold: no schema tells what is a picture, or which bytes have a digest."""
    refusing = ("/frames/{n}", ":upload", "/complete", "/{digest}")
    return [positive_data_acceptance] if case.path.endswith(refusing) else []


@API.parametrize()
@BOUNDED
def test_every_answer_is_described(case: Case[Any], served: Served) -> None:
    hold_shortly(case)
    case.call_and_validate(base_url=served.url, headers=key_of(served), excluded_checks=unsure(case))


def test_chains_of_requests_are_described_too(served: Served) -> None:
    class Chains(API.as_state_machine()):  # type: ignore[misc]
        def setup(self) -> None:
            """What one chain has left must not change the answers to the next."""
            left = [key for key in served.bus.scan_iter() if not key.startswith(b"md:key")]
            if left:
                served.bus.delete(*left)

        def get_call_kwargs(self, case: Case[Any]) -> dict[str, Any]:
            return {"base_url": served.url, "headers": key_of(served)}

        def before_call(self, case: Case[Any]) -> None:
            hold_shortly(case)

        def validate_response(self, response: Response, case: Case[Any], **more: Any) -> None:
            # Parameters that nobody knows are ignored, and a call has its key where the case left it out.
            lenient = [negative_data_rejection] if case.method == "GET" else []
            # What the chain itself has removed is gone, whoever asks rightly.
            gone = [positive_data_acceptance] if response.status_code == GONE else []
            case.validate_response(response, excluded_checks=[*unsure(case), *lenient, *gone])

    # schemathesis learns from earlier chains; with more of them, Hypothesis finds its choices inconsistent.
    Chains.run(settings=settings(BOUNDED, max_examples=15))

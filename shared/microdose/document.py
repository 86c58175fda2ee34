"""The parents of every JSON document: frozen models with one canonical form."""

import json
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from microdose.errors import CorruptStream


class Document(BaseModel):
    """Read from the network: unknown fields are ignored, so that newer writers stay readable."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    def to_bytes(self) -> bytes:
        """Canonical JSON: sorted keys, no spaces, UTF-8."""
        return canonical(self.model_dump(mode="json"))


class Request(BaseModel):
    """The body of a request: an unknown field is an error, since it would silently do nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def canonical(plain: object) -> bytes:
    """JSON with sorted keys and no spaces, as UTF-8: equal values have equal bytes."""
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


D = TypeVar("D", bound=Document)


def parse_document(kind: type[D], data: bytes, limit: int) -> D:
    """`data` as a document of at most `limit` bytes. Raises CorruptStream naming the first fault."""
    if len(data) > limit:
        raise CorruptStream(f"{kind.__name__} of {len(data)} bytes is over the limit of {limit}")
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"])) or "document"
        raise CorruptStream(f"{kind.__name__} is malformed at {where}: {first['msg']}") from None

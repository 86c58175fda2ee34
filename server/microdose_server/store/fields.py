"""A document as a Redis hash: one field each, as JSON, so that a script may compare and change one."""

import json
from typing import Any, TypeVar

from microdose.document import Document
from microdose_server.store.redis import Fields, Reply, text

D = TypeVar("D", bound=Document)


def to_fields(document: Document, *, exclude: set[str] | None = None) -> Fields:
    """Field name to JSON."""
    plain = document.model_dump(mode="json", exclude=exclude)
    return {name: to_field(value) for name, value in plain.items()}


def to_field(value: object) -> str:
    """One value as it stands in the hash."""
    plain = value.model_dump(mode="json") if isinstance(value, Document) else value
    return json.dumps(plain, separators=(",", ":"), ensure_ascii=False)


def from_fields(kind: type[D], fields: Reply, **more: Any) -> D:
    """The document in a hash. `more` gives fields kept elsewhere; what `kind` lacks is passed over."""
    named = {text(name): value for name, value in fields.items()}
    known = {name: json.loads(value) for name, value in named.items() if name in kind.model_fields}
    return kind.model_validate(known | more)

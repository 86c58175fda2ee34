import pytest

from microdose.document import Document, Request, canonical, parse_document
from microdose.errors import CorruptStream


class Thing(Document):
    name: str
    size: int = 0


def test_canonical_form_does_not_depend_on_order() -> None:
    assert (
        canonical({"b": 1, "a": [1.5, None]})
        == canonical({"a": [1.5, None], "b": 1})
        == b'{"a":[1.5,null],"b":1}'
    )
    assert Thing(size=2, name="é").to_bytes() == '{"name":"é","size":2}'.encode()


def test_unknown_fields_are_ignored_in_documents_and_refused_in_requests() -> None:
    class Ask(Request):
        name: str

    assert parse_document(Thing, b'{"name":"a","new":1}', 100) == Thing(name="a")
    with pytest.raises(ValueError, match="Extra inputs"):
        Ask.model_validate_json('{"name":"a","new":1}')


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "malformed at document"),
        (b"{}", "malformed at name"),
        (b'{"name":"a","size":"x"}', "malformed at size"),
        (b'{"name":"' + b"a" * 100 + b'"}', "over the limit"),
        (b"[" * 99, "malformed"),
        (b'\xff{"name"', "malformed"),
    ],
)
def test_malformed_documents_name_the_fault(data: bytes, match: str) -> None:
    with pytest.raises(CorruptStream, match=match):
        parse_document(Thing, data, 100)

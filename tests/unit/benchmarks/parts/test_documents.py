from random import Random

from benchmarks.parts.documents import FRAMED, hostile_document, readers
from microdose.errors import MicrodoseError
from microdose.wire import read_blob


def test_an_input_is_always_the_same_and_some_pass_the_crc() -> None:
    for kind in FRAMED:
        _, valid = readers()[kind]
        whole = 0
        for n in range(40):
            data = hostile_document(kind, valid, Random(n))
            assert data == hostile_document(kind, valid, Random(n))
            try:
                read_blob(data)
                whole += 1
            except MicrodoseError:
                pass
        assert whole >= 5

"""Where the constants of a serialized ONNX model lie in its bytes.

A protobuf message is a run of (key varint, value); a value of wire type 2 is a length and that many bytes.
Three nested fields lead to a constant: model.graph (7), graph.initializer (5), and in it name (8) and
raw_data (9).
"""

from collections.abc import Iterator

GRAPH, INITIALIZER, NAME, RAW_DATA = 7, 5, 8, 9


def constant_offsets(model: bytes) -> dict[str, int]:
    """The first byte of the raw data of every constant, by name."""
    offsets = {}
    for field, start, end in _fields(model, 0, len(model)):
        if field == GRAPH:
            for inner, first, last in _fields(model, start, end):
                if inner == INITIALIZER:
                    parts = {number: (low, high) for number, low, high in _fields(model, first, last)}
                    low, high = parts[NAME]
                    offsets[model[low:high].decode()] = parts[RAW_DATA][0]
    return offsets


def _fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(field number, start, end) of each value of one message; numbers have an empty range."""
    while at < end:
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 2:
            length, at = _varint(data, at)
            yield key >> 3, at, at + length
            at += length
        else:
            at = _varint(data, at)[1] if kind == 0 else at + (8 if kind == 1 else 4)
            yield key >> 3, at, at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at

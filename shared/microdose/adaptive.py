"""Coding of small integers around zero under tables that learn: what a dose consists of.

    payload := n_escapes varint · (zigzag value) varint * n_escapes · range coder words u32 LE *

Values come in runs, each of one context, and a run is coded in blocks. A context counts what was coded under
it so far, and each block is coded under the table that the counts make at its beginning: the decoder has seen
the same blocks, so it has the same table, and no table is sent. All of it is integer arithmetic:

    slot k of 0..31 is the value k - 15; slot 31 stands for every other value, given among the escapes
    counts at first    2^(5-|value|), at least 1; slot 31: 1
    after a block      + 24 for each symbol in it; while they sum to over 2^15, every count := ceil(count / 2)
    table              frequency[k] = 1 + floor(count[k] * (2^16 - 32) / sum of counts), the rest to value 0
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import constriction
import numpy as np
from numpy.typing import NDArray

from microdose.errors import CorruptStream
from microdose.tables import TOTAL
from microdose.varint import read_varint, read_varints, unzigzag, write_varint, write_varints, zigzag

REACH = 15
ESCAPE = 2 * REACH + 1
SLOTS = ESCAPE + 1
START = np.array([*(max(1, 2 ** (5 - abs(k - REACH))) for k in range(ESCAPE)), 1], np.int64)
GAIN = 24
MOST = 2**15
BLOCKS = (16, 16, 32, 64, 128)
"""Lengths of the first blocks of a run; all after them are as long as the last."""

Values = NDArray[np.int32]


class Run(NamedTuple):
    """A stretch of `length` values of one context."""

    context: int
    length: int


class Counts:
    """What one context has learnt."""

    def __init__(self) -> None:
        self.counts = START.copy()

    def table(self) -> object:
        """The model of the next block, a constriction table with slots as its symbols."""
        frequency = 1 + self.counts * (TOTAL - SLOTS) // self.counts.sum()
        frequency[REACH] += TOTAL - frequency.sum()
        return constriction.stream.model.Categorical(frequency.astype(np.float64), perfect=False)

    def learn(self, slots: NDArray[np.int32]) -> None:
        """Take in the slots of a block."""
        self.counts += GAIN * np.bincount(slots, minlength=SLOTS)
        while self.counts.sum() > MOST:
            self.counts = (self.counts + 1) // 2


def encode(values: Sequence[Values], contexts: Sequence[int]) -> bytes:
    """Code int32 vectors, each under the context of this number. Any int32 can be coded."""
    slots = [_slots_of(each) for each in values]
    coder = constriction.stream.queue.RangeEncoder()
    for counts, run, start, end in _blocks(
        [Run(*pair) for pair in zip(contexts, map(len, values), strict=True)]
    ):
        block = slots[run][start:end]
        coder.encode(block, counts.table())
        counts.learn(block)
    far = [zigzag(each[where == ESCAPE]) for each, where in zip(values, slots, strict=True)]
    escapes = np.concatenate([np.empty(0, np.uint32), *far])
    words: NDArray[np.uint32] = coder.get_compressed()
    return write_varint(len(escapes)) + write_varints(escapes) + words.astype("<u4").tobytes()


def decode(payload: bytes, runs: Sequence[Run]) -> list[Values]:
    """The vectors of these runs. Time and memory are bounded by their lengths and the payload.

    Raises CorruptStream where the payload cannot be what `encode` made. What guards against the changes that
    it does not notice is the CRC around it.
    """
    begins = _begins(runs)
    n_escapes, at = read_varint(payload, 0)
    if n_escapes > begins[-1]:
        raise CorruptStream(f"{n_escapes} escapes for {begins[-1]} values of a dose")
    far, at = read_varints(payload, at, n_escapes)
    slots = _decode_slots(payload[at:], runs)
    escaped = np.flatnonzero(slots == ESCAPE)
    if len(escaped) != n_escapes:
        raise CorruptStream(f"{len(escaped)} values of a dose escape their table, {n_escapes} are given")
    slots -= REACH
    slots[escaped] = unzigzag(far)
    return [slots[begin:end] for begin, end in pairwise(begins)]


def _blocks(runs: Sequence[Run]) -> Iterator[tuple[Counts, int, int, int]]:
    """(context, number of the run, start, end) of every block, in coding order."""
    contexts: dict[int, Counts] = {}
    for number, run in enumerate(runs):
        counts = contexts.setdefault(run.context, Counts())
        start = 0
        for block in range(run.length):
            if start >= run.length:
                break
            end = min(run.length, start + BLOCKS[min(block, len(BLOCKS) - 1)])
            yield counts, number, start, end
            start = end


def _begins(runs: Sequence[Run]) -> list[int]:
    """Where each run begins among all values, and where the last one ends."""
    return list(accumulate((run.length for run in runs), initial=0))


def _slots_of(values: Values) -> NDArray[np.int32]:
    inside = np.abs(values.astype(np.int64)) <= REACH
    return np.where(inside, values + REACH, ESCAPE).astype(np.int32)


def _decode_slots(words: bytes, runs: Sequence[Run]) -> NDArray[np.int32]:
    if len(words) % 4:
        raise CorruptStream(f"range coder data of {len(words)} bytes is not a whole number of words")
    begins = _begins(runs)
    slots = np.empty(begins[-1], np.int32)
    coder = constriction.stream.queue.RangeDecoder(np.frombuffer(words, "<u4").astype(np.uint32))
    try:
        for counts, run, start, end in _blocks(runs):
            block = coder.decode(counts.table(), end - start)
            counts.learn(block)
            slots[begins[run] + start : begins[run] + end] = block
    except AssertionError:  # how constriction reports words that no encoder can have written
        raise CorruptStream(f"range coder data of {len(words)} bytes is not valid for a dose") from None
    if not coder.maybe_exhausted():
        raise CorruptStream("range coder data goes on after the last value")
    return slots

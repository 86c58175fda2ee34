"""Coding of small integers around zero under tables that learn: what a dose consists of.

    payload := n_escapes varint · (zigzag value) varint * n_escapes · range coder words u32 LE *

Values come in runs, each of one context, and a run is coded in blocks. A context counts what was coded under
it so far, and each block is coded under the table that the counts make at its beginning: the decoder has seen
the same blocks, so it has the same table, and no table is sent. All of it is integer arithmetic:

    slot k of 0..31 is the value k - 15; slot 31 stands for every other value, given among the escapes
    counts at first    2^(5-|value|), at least 1; slot 31: 1; of value 0: 2^(11-density) of the context
    after a block      + 24 for each symbol in it; while they sum to over 2^15, every count := ceil(count / 2)
    table              frequency[k] = 1 + floor(count[k] * (2^16 - 32) / sum of counts), the rest to value 0

Both coders are told runs one by one, so that a run's context may follow from the values of those before it.
"""

from collections.abc import Iterator
from itertools import count
from typing import NamedTuple, Protocol

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

DENSEST = 6
"""Where values are expected to differ from 0 about as often as not."""

Values = NDArray[np.int32]


class Context(NamedTuple):
    """What is coded alike: runs of one number and density, 0..DENSEST, each step of which stands for twice as
    many values that differ from 0.
    """

    number: int
    density: int = DENSEST


class Coder(Protocol):
    """Either direction: an encoder codes the values that it is given and gives them back, a decoder only
    looks how many there are, and gives those that were coded.
    """

    def code(self, context: Context, values: Values) -> Values:
        """One run."""


class Counts:
    """What one context has learnt."""

    def __init__(self, context: Context) -> None:
        self.counts = START.copy()
        self.counts[REACH] <<= DENSEST - context.density
        self.total = int(self.counts.sum())

    def table(self) -> object:
        """The model of the next block, a constriction table with slots as its symbols."""
        frequency = 1 + self.counts * (TOTAL - SLOTS) // self.total
        frequency[REACH] += TOTAL - frequency.sum()
        return constriction.stream.model.Categorical(frequency.astype(np.float64), perfect=False)

    def learn(self, slots: Values) -> None:
        """Take in the slots of a block."""
        self.counts += GAIN * np.bincount(slots, minlength=SLOTS)
        self.total += GAIN * len(slots)
        while self.total > MOST:
            self.counts = (self.counts + 1) // 2
            self.total = int(self.counts.sum())


class Contexts(dict[Context, Counts]):
    """What all contexts have learnt."""

    def __missing__(self, context: Context) -> Counts:
        self[context] = Counts(context)
        return self[context]


class Encoder:
    """Codes runs. Any int32 can be coded."""

    def __init__(self) -> None:
        self._contexts = Contexts()
        self._coder = constriction.stream.queue.RangeEncoder()
        self._far = [np.empty(0, np.uint32)]

    def code(self, context: Context, values: Values) -> Values:
        """Code a run; gives it back."""
        counts, slots = self._contexts[context], _slots_of(values)
        for block in _blocks(slots):
            self._coder.encode(block, counts.table())
            counts.learn(block)
        self._far.append(zigzag(values[slots == ESCAPE]))
        return values

    def payload(self) -> bytes:
        """All that was coded."""
        escapes = np.concatenate(self._far)
        words: NDArray[np.uint32] = self._coder.get_compressed()
        return write_varint(len(escapes)) + write_varints(escapes) + words.astype("<u4").tobytes()


class Decoder:
    """Gives back, run by run, what an encoder has coded: in all `length` values, which bound its memory.

    Everything raises CorruptStream where the payload cannot be what `Encoder` made. What guards against the
    changes that it does not notice is the CRC around it.
    """

    def __init__(self, payload: bytes, length: int) -> None:
        n_escapes, at = read_varint(payload, 0)
        if n_escapes > length:
            raise CorruptStream(f"{n_escapes} escapes for {length} values of a dose")
        far, at = read_varints(payload, at, n_escapes)
        self._far, self._escapes = unzigzag(far), 0
        words = payload[at:]
        if len(words) % 4:
            raise CorruptStream(f"range coder data of {len(words)} bytes is not a whole number of words")
        self._contexts = Contexts()
        self._coder = constriction.stream.queue.RangeDecoder(np.frombuffer(words, "<u4").astype(np.uint32))

    def code(self, context: Context, values: Values) -> Values:
        """The next run, as long as `values`."""
        counts, slots = self._contexts[context], np.empty(len(values), np.int32)
        for block in _blocks(slots):
            try:
                block[:] = self._coder.decode(counts.table(), len(block))
            except AssertionError:  # how constriction reports words that no encoder can have written
                raise CorruptStream("the range coder data is not valid for a dose") from None
            counts.learn(block)
        escaped = np.flatnonzero(slots == ESCAPE)
        far = self._far[self._escapes : self._escapes + len(escaped)]
        if len(far) < len(escaped):
            raise CorruptStream(f"more values of a dose escape their table than the {len(self._far)} given")
        self._escapes += len(escaped)
        slots -= REACH
        slots[escaped] = far
        return slots

    def end(self) -> None:
        """Check that nothing is left."""
        if self._escapes < len(self._far):
            raise CorruptStream(
                f"{self._escapes} values of a dose escape their table, {len(self._far)} are given"
            )
        if not self._coder.maybe_exhausted():
            raise CorruptStream("range coder data goes on after the last value")


def _blocks(slots: Values) -> Iterator[Values]:
    """Views of a run's blocks."""
    start = 0
    for number in count():
        if start >= len(slots):
            return
        end = start + BLOCKS[min(number, len(BLOCKS) - 1)]
        yield slots[start:end]
        start = end


def _slots_of(values: Values) -> Values:
    inside = np.abs(values.astype(np.int64)) <= REACH
    return np.where(inside, values + REACH, ESCAPE).astype(np.int32)

"""Pictures that are decoded when somebody asks for them, and kept as long as there is room."""

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

from microdose_server.training.data import Pixels


class Decoded:
    """Pictures by number, in at most `limit` bytes; what was asked for least recently goes first.

    For any number of threads. `decode` is called outside of the lock: two threads that miss the same picture
    both decode it, and pictures in decoding are not among the bytes.
    """

    def __init__(self, decode: Callable[[int], Pixels], limit: int) -> None:
        self._decode, self._limit = decode, limit
        self._kept: OrderedDict[int, Pixels] = OrderedDict()
        self._lock = Lock()
        self.size = 0
        """Bytes of the pictures that are kept."""

    def __call__(self, number: int) -> Pixels:
        """The picture of this number. Raises what `decode` raises."""
        with self._lock:
            if number in self._kept:
                self._kept.move_to_end(number)
                return self._kept[number]
        pixels = self._decode(number)
        with self._lock:
            if number not in self._kept:
                self._kept[number] = pixels
                self.size += pixels.nbytes
            while self.size > self._limit:
                self.size -= self._kept.popitem(last=False)[1].nbytes
        return pixels

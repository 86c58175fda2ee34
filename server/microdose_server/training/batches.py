"""Batches cut ahead of time by a few threads, so that the device does not wait for them.

generator --what to cut--> threads --[N, 3, crop, crop]--> queue of AHEAD batches --> the loop
    '-- its state after each batch travels with it: a checkpoint knows nothing of batches not yet taken
"""

import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from copy import deepcopy
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from torch import Tensor

from microdose_server.training.data import THREADS, Pixels, areas, cut, draw, sizes_of
from microdose_server.training.peers import ALONE, Peers

AHEAD = THREADS + 2


class _Pending(NamedTuple):
    batch: "Future[Tensor]"
    state: dict[str, Any]


class Batches:
    """Endless batches of this process's share, equal to `data.crops` of one that is alone.

    `rng` advances as batches are taken, not as they are prepared. Use as a context: it has threads.
    """

    def __init__(
        self, photos: Sequence[Pixels], batch: int, crop: int, rng: np.random.Generator, peers: Peers = ALONE
    ) -> None:
        peers.share(batch)
        self._photos, self._sizes = photos, sizes_of(photos)
        self._areas = areas(self._sizes)
        self._batch, self._crop, self._peers = batch, crop, peers
        self._taken, self._ahead = rng, deepcopy(rng)
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="crops")
        self._queue: deque[_Pending] = deque()
        self._waited = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Tensor:
        while len(self._queue) < AHEAD:
            self._queue.append(self._prepare())
        pending = self._queue.popleft()
        begin = time.perf_counter()
        batch = pending.batch.result()
        self._waited += time.perf_counter() - begin
        self._taken.bit_generator.state = pending.state
        return batch

    def waited(self) -> float:
        """Seconds spent waiting for batches since the last call."""
        waited, self._waited = self._waited, 0.0
        return waited

    def _prepare(self) -> _Pending:
        windows = draw(self._sizes, self._areas, self._batch, self._crop, self._ahead)
        own = windows[self._peers.rank :: self._peers.count]
        future = self._pool.submit(cut, self._photos, own, self._crop)
        return _Pending(future, dict(self._ahead.bit_generator.state))

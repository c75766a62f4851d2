"""How much work a worker takes on: a few threads, a few requests that wait, and nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class BusyError(Exception):
    """As many requests are in work and waiting as may be."""


class Gate:
    """Requests in work and waiting are counted; pictures of all of them take turns on the threads.

    Args:
        threads: pictures in work at once.
        most: requests in work and waiting.
    """

    def __init__(self, threads: int, most: int) -> None:
        self.threads, self.most = threads, most
        self.admitted = 0
        self._turns = asyncio.Semaphore(threads)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="noref")

    @property
    def full(self) -> bool:
        """Whether another request would be refused."""
        return self.admitted >= self.most

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Count a request as long as the block runs; BusyError, at once, where there are too many."""
        if self.full:
            raise BusyError
        self.admitted += 1
        try:
            yield
        finally:
            self.admitted -= 1

    async def run(self, call: Callable[[], T]) -> T:
        """Run a call in a thread, first come, first served.

        A caller that gives up leaves the queue, but what runs keeps its thread to its end.
        """
        await self._turns.acquire()
        future = asyncio.get_running_loop().run_in_executor(self._pool, call)
        future.add_done_callback(lambda _: self._turns.release())
        return await asyncio.shield(future)

    def close(self) -> None:
        """Begin nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

"""Work on many images at once, in threads: decoding releases Python's lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Progress = Callable[[int, int], None]  # called with (items done, items in all) after each item


def in_threads(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> list[Result]:
    """`work` of each item, in order. An exception or Ctrl-C ends it without working on what still waits.

    `threads` says how many items at a time; None: one for each core.
    """
    results: list[Result] = []
    pool = ThreadPoolExecutor(threads or os.cpu_count() or 1)
    try:
        for result in pool.map(work, items):
            results.append(result)
            if progress is not None:
                progress(len(results), len(items))
    finally:
        pool.shutdown(cancel_futures=True)
    return results

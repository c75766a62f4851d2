"""Which pictures are of one scene: they must not answer for each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from noref.data.perceptual_hash import BITS, THRESHOLD, hash_images

ROWS = 512  # whose distances are computed at once


def scenes(paths: Sequence[Path], references: Sequence[str | None]) -> NDArray[np.int64]:
    """A number for the scene of each picture: the same `reference`, or nearly the same content.

    Content is compared by the perceptual hash, which survives recompression, resizing and most distortions.
    """
    parent = np.arange(len(paths))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = index = parent[parent[index]]
        return index

    first = dict[str, int]()
    for index, reference in enumerate(references):
        if reference is not None:
            parent[root(index)] = root(first.setdefault(reference, index))
    for one, other in _alike(hash_images(paths)):
        parent[root(one)] = root(other)
    return np.unique([root(index) for index in range(len(paths))], return_inverse=True)[1].astype(np.int64)


def _alike(hashes: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Pairs of pictures whose hashes differ in at most `THRESHOLD` bits; a flat picture is like none."""
    signs = np.where(hashes, np.float32(1), np.float32(-1))
    known: NDArray[np.bool_] = np.asarray(hashes.any(axis=1))
    found = list[tuple[int, int]]()
    for start in range(0, len(hashes), ROWS):
        near: NDArray[np.bool_] = np.asarray(signs[start : start + ROWS] @ signs.T >= BITS - 2 * THRESHOLD) & known
        near &= known[start : start + ROWS, None]
        found += [(start + int(row), int(column)) for row, column in np.argwhere(near) if start + row < column]
    return found

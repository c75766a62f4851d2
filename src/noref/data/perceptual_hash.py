"""Which images a model has learnt from, by their content: a perceptual hash that survives recompression and resizing.

The hash of an image is the signs of its 256 lowest DCT frequencies: two files of one picture differ in few bits, two
pictures in about half. docs/data.md gives the error rates, benchmarks/perceptual_hash.py measures them.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from noref import images
from noref.card import Card, Preprocessing
from noref.data.records import Record
from noref.data.threads import in_threads
from noref.errors import ImageError, ModelError

BITS = 256
THRESHOLD = 24  # bits; chosen by benchmarks/perceptual_hash.py
KIND = "dct256:"  # how a text of hashes begins; another one is another hash
SIDE = 64  # pixels; the whole image squeezed into a square
SMALL = Preprocessing(max_pixels=4 * SIDE**2, min_side=SIDE)  # what a JPEG is decoded to first
FLAT = 1.0  # grey levels; an image with a smaller deviation has no content to be known by
_order = sorted(((row, column) for row in range(SIDE) for column in range(SIDE)), key=lambda at: (sum(at), at))
LOWEST = tuple(np.array(_order[1 : BITS + 1]).T)  # rows and columns of the frequencies, without the mean
DCT = np.cos(np.pi / SIDE * np.outer(np.arange(SIDE), np.arange(SIDE) + 0.5))  # (frequency, pixel)


def hash_pixels(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The hash of an image, (H, W, 3) uint8 RGB -> (256,) bool; all false for a flat one.

    Source:
        Zauner, Implementation and benchmarking of perceptual image hash functions, 2010, section 3.2.1
    Differs:
        256 frequencies by rising sum of row and column instead of a block of 8 x 8, and the sign instead of the median.
    """
    grey = Image.fromarray(pixels).convert("L").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    values = np.asarray(grey, dtype=np.float64)
    if values.std() < FLAT:
        return np.zeros(BITS, dtype=np.bool_)
    bits: NDArray[np.bool_] = (DCT @ (values - values.mean()) @ DCT.T)[LOWEST] > 0
    return bits


def hash_images(paths: Sequence[Path]) -> NDArray[np.bool_]:
    """The hashes of N image files, (N, 256); all false for an unreadable file. A process reads each file once."""
    found = in_threads(_hash_file, paths)
    return np.stack(found) if found else np.zeros((0, BITS), dtype=np.bool_)


def _hash_file(path: Path) -> NDArray[np.bool_]:
    try:
        state = path.stat()
        return _hash_of(path, state.st_size, state.st_mtime_ns)
    except (OSError, ImageError):
        return np.zeros(BITS, dtype=np.bool_)


@lru_cache(maxsize=100_000)
def _hash_of(path: Path, size: int, changed: int) -> NDArray[np.bool_]:
    """`size` and `changed` are for the cache: a file of another date is read again."""
    return hash_pixels(images.read(path, preprocessing=SMALL))


def pack(hashes: NDArray[np.bool_]) -> str:
    """(N, 256) bool -> a text of 43 characters an image, for a model's card."""
    return KIND + base64.b64encode(np.packbits(hashes, axis=1).tobytes()).decode("ascii")


def unpack(text: str) -> NDArray[np.bool_]:
    """What `pack` was given; a ModelError where it is not such a text."""
    try:
        raw = np.frombuffer(base64.b64decode(text.removeprefix(KIND), validate=True), dtype=np.uint8)
        return np.unpackbits(raw.reshape(-1, BITS // 8), axis=1).astype(np.bool_)
    except (ValueError, binascii.Error) as error:
        raise ModelError(f"image hashes of a model's card: not {KIND} and base64: {error}") from error


def matches(hashes: NDArray[np.bool_], learnt: NDArray[np.bool_], *, threshold: int = THRESHOLD) -> NDArray[np.bool_]:
    """Which images are among those that a model learnt from: hashes (N, 256) and (M, 256) -> (N,) bool.

    Up to `threshold` bits may differ. A hash without a set bit, of a flat or unreadable image, matches nothing.
    """
    learnt_signs = np.where(learnt, np.float32(1), np.float32(-1)).T
    found: NDArray[np.bool_] = np.asarray(hashes.any(axis=1))
    for start in range(0, len(hashes), 512):  # at most 512 x M distances at once
        signs = np.where(hashes[start : start + 512], np.float32(1), np.float32(-1))
        found[start : start + 512] &= ((BITS - signs @ learnt_signs) / 2 <= threshold).any(axis=1)
    return found


def training_hashes(records: Sequence[Record]) -> str:
    """What a card keeps as `training["image_hashes"]`, a text: hashes of the images that trained or validated a model.

    About 3 ms an image. Of several processes only the one that writes the card needs it.
    """
    return pack(hash_images([record.path for record in records]))


def learnt_hashes(card: Card) -> NDArray[np.bool_] | None:
    """(M, 256) hashes of the images that a model has learnt from; None where its card has none that we know.

    They are in the card's `training`, or in `training["run"]` of a model that was published from a run. Damaged ones
    are a ModelError.
    """
    text = card.training.get("image_hashes") or (card.training.get("run") or {}).get("image_hashes")
    return unpack(text) if isinstance(text, str) and text.startswith(KIND) else None


def learnt_images(card: Card, records: Sequence[Record]) -> int | None:
    """How many of these images a model has learnt from, by content; None and errors as of `learnt_hashes`."""
    learnt = learnt_hashes(card)
    return None if learnt is None else int(matches(hash_images([record.path for record in records]), learnt).sum())

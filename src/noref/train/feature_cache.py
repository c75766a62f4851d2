"""Features on a disk or in memory, one entry for each item: a second call, and one that was stopped, go on.

An entry is named by what it was made from: the contents of its image, and the facts that decide a feature, such as the
network's weights and the resize rule. Nothing is ever out of date, and several runs may share a folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from noref.card import digest
from noref.errors import ImageError, ModelError
from noref.images import name
from noref.scoring.progress import tracked
from noref.writing import replacing

Entry = Mapping[str, Tensor]


class FeatureCache:
    """Named tensors for each item, computed once.

    Args:
        folder: where entries are kept, in a folder of these facts; made where it is missing. None: in memory.
        facts: all that decides a feature besides the item itself; anything whose `repr` or JSON says it.
        memory: bytes that are kept without a folder; what comes later is computed at every call. None: no limit.

    Example:
        >>> import torch
        >>> cache = FeatureCache(None)
        >>> cache.get("a", lambda: {"feature": torch.ones(2)})["feature"]
        tensor([1., 1.])
        >>> cache.get("a", lambda: {})["feature"]  # not computed again
        tensor([1., 1.])
    """

    def __init__(self, folder: Path | None, *facts: object, memory: int | None = None) -> None:
        self.folder = None if folder is None else folder / key(*facts)
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
        self._memory: dict[str, Entry] = {}
        self._left = memory
        self._names: dict[Path, str] = {}

    def get(self, entry: str, compute: Callable[[], Entry]) -> Entry:
        """The entry of that name; what `compute` gives is kept, whole or not at all."""
        if self.folder is None:
            return self._memory[entry] if entry in self._memory else self._remember(entry, compute())
        file = self.folder / f"{entry}.safetensors"
        if not file.exists():
            tensors = {label: value.detach().cpu().contiguous() for label, value in compute().items()}
            with replacing(file) as partial:
                save_file(tensors, partial)
        return load_file(file)

    def _remember(self, entry: str, found: Entry) -> Entry:
        size = sum(value.nbytes for value in found.values())
        if self._left is None or size <= self._left:
            self._left = None if self._left is None else self._left - size
            self._memory[entry] = found
        return found

    def of_image(self, path: Path, compute: Callable[[], Entry], *, part: str = "") -> Entry:
        """The entry of an image, named by the file's bytes and by which part of it this is.

        Raises:
            ImageError: the file cannot be read.
        """
        if path not in self._names:
            try:
                self._names[path] = digest(path)[:32]
            except ModelError as error:
                raise ImageError(str(error)) from error
        return self.get(f"{self._names[path]}{part}", compute)


def of_images(
    cache: FeatureCache,
    paths: Sequence[Path],
    compute: Callable[[Path], Tensor],
    *,
    broken: dict[Path, str] | None = None,
    words: str = "features",
) -> Iterator[tuple[Path, Tensor]]:
    """Each image with its feature, in order; those that the cache holds are not computed again.

    Args:
        cache: where they are kept.
        paths: the images.
        compute: image -> its feature.
        broken: takes the unreadable images, each with the reason; None: the first is an error.
        words: before the progress.

    Raises:
        ImageError: an image cannot be read; names the file.
    """
    for path in tracked(dict.fromkeys(paths), words):
        try:
            yield path, cache.of_image(path, lambda path=path: {"feature": compute(path)})["feature"]  # type: ignore[misc]
        except ImageError as error:
            if broken is None:
                raise
            broken[path] = str(error).removeprefix(f"{name(path)}: ")


def key(*facts: object) -> str:
    """A short name for facts: equal facts, equal name."""
    return hashlib.sha256(json.dumps(facts, default=repr).encode()).hexdigest()[:16]


def fingerprint(network: nn.Module, *, frozen: bool = False) -> str:
    """A name for a network's weights: everything in them that decides a feature.

    Args:
        network: with its parameters and buffers.
        frozen: only those parameters that do not learn, and the buffers, for batch norms' statistics never move.
    """
    found = hashlib.sha256()
    tensors = [item for item in network.named_parameters() if not (frozen and item[1].requires_grad)]
    for label, tensor in (*tensors, *network.named_buffers()):
        found.update(label.encode() + tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return found.hexdigest()[:16]

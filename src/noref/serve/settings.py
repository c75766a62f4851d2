"""What a service is told when it starts: models, address and limits, all checked. Standard library only."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from noref.errors import OptionError
from noref.scoring.network import MAX_THREADS, cores, locate

MEGABYTE = 1_000_000
MOST_WORKERS = 64
HELD = 4  # bodies of the largest size that may be in reception at once


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Models, address and limits of a service; each worker has the whole of the limits.

    Args:
        models: `default` or .onnx files; the first is used where a request names none. A file's stem is its name.
        host, port: where it listens; port 0: any free one.
        workers: processes.
        threads: pictures that a worker scores at once; None: its share of the cores.
        waiting: requests that may wait for a thread, beyond one for each; None: half as many as threads, so that an
            accepted one takes well below three times as long as one that is alone.
        max_mb: of a request's body.
        max_pictures: of one request.
        max_megapixels: of one picture, by its header.
        seconds: that a request may take.
        key_file: one API key a line; None: everybody may ask.

    Raises:
        OptionError: a number outside of its range, two models of one name, no such model, a key file without a key.
    """

    models: tuple[str, ...] = ("default",)
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    threads: int | None = None
    waiting: int | None = None
    max_mb: float = 100.0
    max_pictures: int = 100
    max_megapixels: float = 100.0
    seconds: float = 60.0
    key_file: Path | None = None

    def __post_init__(self) -> None:
        limits = {
            "port": (self.port, 0, 65535),
            "workers": (self.workers, 1, MOST_WORKERS),
            "threads": (self.threads, 1, MAX_THREADS),
            "waiting": (self.waiting, 0, 100_000),
            "max-pictures": (self.max_pictures, 1, 100_000),
        }
        for name, (value, least, most) in limits.items():
            if value is not None and not least <= value <= most:
                raise OptionError(f"{name} must be {least}-{most}, got {value}")
        for name, size in (("max-mb", self.max_mb), ("max-megapixels", self.max_megapixels), ("seconds", self.seconds)):
            if not 0 < size < math.inf:
                raise OptionError(f"{name} must be above 0, got {size}")
        if not self.models:
            raise OptionError("a service needs a model")
        for model in self.models:
            locate(model)  # says now what is wrong with it
        alike = Counter(model if model == "default" else Path(model).stem for model in self.models).most_common(1)[0]
        if alike[1] > 1:
            raise OptionError(f"two models are called {alike[0]!r}: rename one of the files")
        self.key_digests()

    @property
    def named(self) -> dict[str, str]:
        """The models by the names that requests use."""
        return {model if model == "default" else Path(model).stem: model for model in self.models}

    @property
    def at_once(self) -> int:
        """Pictures that a worker scores at once."""
        return self.threads or max(1, cores() // self.workers)

    @property
    def most_admitted(self) -> int:
        """Requests of a worker in work and waiting."""
        return self.at_once + (max(1, self.at_once // 2) if self.waiting is None else self.waiting)

    @property
    def most_bytes(self) -> int:
        """Of a request's body."""
        return round(self.max_mb * MEGABYTE)

    @property
    def most_held(self) -> int:
        """Bytes of all bodies that a worker holds."""
        return HELD * self.most_bytes

    def key_digests(self) -> frozenset[bytes]:
        """SHA-256 of each API key; none: everybody may ask."""
        if self.key_file is None:
            return frozenset()
        try:
            keys = self.key_file.read_text("utf-8").split()
        except (OSError, UnicodeDecodeError) as error:
            raise OptionError(f"{self.key_file}: {getattr(error, 'strerror', None) or error}") from error
        if not keys:
            raise OptionError(f"{self.key_file}: no key in it; write one a line")
        return frozenset(hashlib.sha256(key.encode()).digest() for key in keys)

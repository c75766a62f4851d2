"""What `/metrics` counts. With several workers each counts in files of its own, which are added up when asked."""

from __future__ import annotations

import os
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # prometheus-client reads it when it is imported
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
POINTS = tuple(range(10, 101, 10))


class Metrics:
    """Counters of one worker."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.requests = Counter("noref_requests", "Requests answered.", ["path", "status"], registry=registry)
        self.seconds = Histogram(
            "noref_request_seconds", "From the head of a request to its answer.", ["path"], buckets=SECONDS,
            registry=registry,
        )  # fmt: skip
        self.pictures = Counter("noref_pictures", "Pictures by outcome.", ["model", "outcome"], registry=registry)
        self.scores = Histogram("noref_score", "Scores, 0-100.", ["model"], buckets=POINTS, registry=registry)
        self.admitted = Gauge(
            "noref_requests_admitted", "Requests in work and waiting.", multiprocess_mode="livesum", registry=registry
        )

    def text(self) -> bytes:
        """All workers' metrics in Prometheus' text format."""
        folder = os.environ.get(FOLDER)
        if folder is None:
            return generate_latest(self.registry)
        for path in Path(folder).glob("gauge_live*_*.db"):
            worker = int(path.stem.rpartition("_")[2])
            if not Path(f"/proc/{worker}").exists():
                mark_process_dead(worker)  # type: ignore[no-untyped-call]
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)

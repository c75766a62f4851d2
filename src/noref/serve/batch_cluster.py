"""Ray for `noref batch`: a cluster of our own or one that is there, quiet."""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from noref.errors import MissingExtraError, OptionError
from noref.scoring.network import cores

OBJECT_STORE = 512 * 2**20  # bytes, of a cluster of our own
ANSWER = 10.0  # seconds
PATIENCE = {  # a machine that stands still for minutes has no dead node: Ray would end this process without a word
    "health_check_period_ms": 10_000,
    "health_check_timeout_ms": 60_000,
    "health_check_failure_threshold": 60,
    "gcs_rpc_server_reconnect_timeout_s": 600,
}
SETTINGS = {
    "enable_progress_bars": False,
    "print_on_execution_start": False,
    "max_errored_blocks": -1,  # their pictures come again
    "target_max_block_size": 16 * 2**20,  # bytes of pictures that go from the reader of a table to a scorer
}


@contextmanager
def cluster(address: str | None, concurrency: int | None) -> Iterator[int]:
    """Connect to a cluster, or start one; where this process is connected, nothing changes.

    Args:
        address: of the cluster, `auto` for the one on this machine; None: start one of our own, for the block.
        concurrency: actors that are wanted.

    Yields:
        The number of actors: as wanted, or the cores of the cluster.

    Raises:
        OptionError: no cluster answers, or none can be started.
    """
    ray = load_ray()
    connected = bool(ray.is_initialized())
    folder = None if connected or address else tempfile.mkdtemp(prefix="noref-", dir=_short_folder())
    with _settings(), _orderly_end():
        try:
            if not connected:
                _connect(address, max(concurrency or 0, cores()), folder)
            yield concurrency or max(1, int(ray.cluster_resources().get("CPU", 1)))
        finally:
            if not connected:
                ray.shutdown()
            if folder:
                shutil.rmtree(folder, ignore_errors=True)


def _connect(address: str | None, cpus: int, folder: str | None) -> None:
    if address and address.startswith("ray://"):
        raise OptionError(f"{address}: Ray's client is not supported; run noref batch on a machine of the cluster")
    own: dict[str, Any] = {
        "num_cpus": cpus,
        "object_store_memory": OBJECT_STORE,
        "_temp_dir": folder,
        "include_dashboard": False,
    }
    own["_system_config"] = PATIENCE
    try:
        if address and (place := re.fullmatch(r"(.+):(\d+)", address)):
            socket.create_connection((place[1], int(place[2])), timeout=ANSWER).close()  # Ray itself waits for minutes
        with _silence():
            quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
            load_ray().init(address or "local", **quiet, **({} if address else own))
    except Exception as error:  # of many types
        where = f"{address}: no Ray cluster answers there" if address else "Ray does not start"
        raise OptionError(f"{where}: {_line(error)}") from error


@contextmanager
def _orderly_end() -> Iterator[None]:
    """SIGTERM ends the process as Ctrl-C does; Ray's own answer is a trace of its C++."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)


@contextmanager
def _silence() -> Iterator[None]:
    """No line of Ray's C++ on stderr, not even the one that says that there are none."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _short_folder() -> str | None:
    """Ray keeps sockets in its folder, whose names must be shorter than 108 bytes."""
    return None if len(tempfile.gettempdir()) < 24 else "/tmp"  # noqa: S108


def load_ray() -> Any:
    """Ray, which will report no usage.

    Raises:
        MissingExtraError: Ray or pyarrow is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # lines of its C++ on stderr
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError("ray", "noref batch") from error
    return ray


@contextmanager
def _settings() -> Iterator[None]:
    """Ray Data says nothing, and a task that failed does not stop the others; as before after the block."""
    context = load_ray().data.DataContext.get_current()
    before = {name: getattr(context, name) for name in SETTINGS}
    worker = vars(sys.modules["ray._private.worker"])
    logs = worker.get("_worker_logs_enabled", True)
    worker["_worker_logs_enabled"] = False  # a page for each process that dies
    try:
        for name, value in SETTINGS.items():
            setattr(context, name, value)
        yield
    finally:
        worker["_worker_logs_enabled"] = logs
        for name, value in before.items():
            setattr(context, name, value)


@contextmanager
def errors_of_tasks() -> Iterator[list[BaseException]]:
    """Collect the errors of tasks, which Ray logs, instead of showing them."""
    found: list[BaseException] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.exc_info and record.exc_info[1] is not None:
                found.append(record.exc_info[1])

    logger = logging.getLogger("ray.data")
    before = logger.handlers, logger.propagate
    logger.handlers, logger.propagate = [Collect()], False
    try:
        yield found
    finally:
        logger.handlers, logger.propagate = before


def cause(errors: Sequence[BaseException]) -> str:
    """The last of the errors in a line."""
    if not errors:
        return "it says no reason"
    error, known = errors[-1], load_ray().exceptions
    if isinstance(error, known.RayActorError | known.WorkerCrashedError):
        return "its process died"
    found = getattr(error, "cause", None) or error
    return f"{type(found).__name__}: {_line(found)}"


def _line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]

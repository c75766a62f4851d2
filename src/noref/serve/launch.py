"""`noref serve`: an address, one worker or several, and an end within ten seconds."""

from __future__ import annotations

import os
import resource
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from ipaddress import ip_address
from threading import Thread

from noref.errors import MissingExtraError, NorefError, OptionError
from noref.scoring.network import Network
from noref.serve.settings import Settings

try:
    import uvicorn
    from starlette.types import ASGIApp
    from uvicorn.config import STARTUP_FAILURE
    from uvicorn.supervisors import Multiprocess

    from noref.serve.app import create_app
    from noref.serve.connection import Connection
    from noref.serve.metrics import FOLDER
except ImportError as error:
    raise MissingExtraError("serve", "noref serve") from error

TO_FINISH = 8  # seconds for what is in work when a stop begins
TO_START = 30  # seconds in which a worker must answer its parent
FILES = 65_536  # open ones at once: a connection is one


def serve(settings: Settings, *, say: Callable[[str], object]) -> None:
    """Serve until SIGTERM or Ctrl-C; `say` gets one line when the address is taken.

    Raises:
        OptionError: the address cannot be taken.
        ModelError: a model is broken.
        NorefError: the workers cannot start.
    """
    for model in settings.models:
        Network(model, threads=1).ready()
    allow_many_connections()
    with ExitStack() as stack:
        listening = stack.enter_context(bound(settings.host, settings.port))
        say(greeting(settings, listening))
        config = configured(settings)
        if settings.workers == 1:
            for one in (signal.SIGTERM, signal.SIGINT):
                signal.signal(one, lambda *_: None)  # uvicorn raises it again when all is finished
            uvicorn.Server(config).run([listening])
            return
        os.environ[FOLDER] = stack.enter_context(tempfile.TemporaryDirectory(prefix="noref-metrics-"))
        workers = Multiprocess(config, [listening])
        workers.run()
        if any(process.exitcode == STARTUP_FAILURE for process in workers.processes):
            raise NorefError("noref serve: a worker could not start; the lines above say why")


def configured(settings: Settings) -> uvicorn.Config:
    """Settings in uvicorn's words; its log has errors alone, the service writes a line a request itself."""
    return uvicorn.Config(
        partial(worker, settings, os.getpid()),
        factory=True,
        workers=settings.workers,
        http=Connection,
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=TO_FINISH,
        timeout_worker_healthcheck=TO_START,
    )


def worker(settings: Settings, parent: int) -> ASGIApp:
    """The application of one worker, which ends when its parent is gone."""
    if os.getpid() != parent:
        Thread(target=end_with, args=(parent,), daemon=True).start()
    return create_app(settings)


def end_with(parent: int) -> None:
    """Wait until the parent is gone, then stop this process as SIGTERM does."""
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)


def bound(host: str, port: int) -> socket.socket:
    """A socket that has the address.

    Raises:
        OptionError: it is taken, or no address of this machine.
    """
    try:
        family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.socket(family, kind)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise OptionError(f"{host}:{port}: {why}; --host and --port name another address") from error
    return listening


def greeting(settings: Settings, listening: socket.socket) -> str:
    """Where the service is, and whom it answers."""
    host, port = listening.getsockname()[:2]
    place = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    text = f"noref serves {', '.join(settings.named)} at {place} (Ctrl-C ends it)"
    if settings.key_file is None and not ip_address(host).is_loopback:
        text += "\nEverybody who reaches this address can use it: --api-key-file asks for a key."
    return text


def allow_many_connections() -> None:
    """Raise the number of files that this process may have open: each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))

"""What stands around every request: its key, its limits, its time, the headers of the answer, one line in the log."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from noref.serve.body import RefusedError
from noref.serve.gate import BusyError, Gate
from noref.serve.metrics import Metrics
from noref.serve.settings import Settings

RETRY = {"Retry-After": "1"}
GRACE = 5  # seconds beyond the limit for a client to take its answer
BROKEN = "an error of noref: its log says more"
REST = 5  # seconds for the rest of a body that is refused
LEFT = 499  # the client went away; stands in log and metrics, nobody is answered
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SECURITY = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
RAW_SECURITY = [(name.lower().encode(), value.encode()) for name, value in SECURITY.items()]


@dataclass
class Entry:
    """What the log says of a request: nothing of its pictures, and no key."""

    path: str
    status: int = 0
    bytes: int = 0
    pictures: int = 0
    failed: int = 0
    model: str | None = None


class Guard:
    """An ASGI application around another one."""

    def __init__(
        self, app: ASGIApp, *, settings: Settings, gate: Gate, metrics: Metrics, paths: frozenset[str]
    ) -> None:
        self.app, self.settings, self.gate, self.metrics, self.paths = app, settings, gate, metrics, paths
        self.keys = settings.key_digests()
        self.held = 0  # bytes of all bodies that are here

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start = time.perf_counter()
        entry = scope["noref"] = Entry(scope["path"] if scope["path"] in self.paths else "other")
        exchange = Exchange(self, entry, receive, send)
        exchange.to_read = b"expect" not in dict(scope["headers"])  # who waits for a 100 has not sent his body
        try:
            await self._answer(scope, exchange)
        finally:
            exchange.end()
            entry.status = entry.status or LEFT
            taken = time.perf_counter() - start
            self.metrics.requests.labels(entry.path, str(entry.status)).inc()
            self.metrics.seconds.labels(entry.path).observe(taken)
            log(scope["method"], entry, taken)

    async def _answer(self, scope: Scope, exchange: Exchange) -> None:
        try:
            self._check(scope, Headers(scope=scope))
            async with asyncio.timeout(self.settings.seconds + GRACE):
                await self.app(scope, exchange.receive, exchange.send)
        except (RefusedError, BusyError) as error:
            await exchange.answer(scope, refusal(error))
        except TimeoutError:
            await exchange.answer(scope, refusal(RefusedError(408, f"not done in {self.settings.seconds:g} seconds")))
        except asyncio.CancelledError:
            if not exchange.left:  # but the service stops
                await exchange.answer(scope, refusal(RefusedError(503, "the service stops")))
        except Exception:
            traceback.print_exc()
            await exchange.answer(scope, refusal(RefusedError(500, BROKEN)))

    def _check(self, scope: Scope, headers: Headers) -> None:
        """Whether a request may be read at all."""
        asks = scope["path"].startswith("/v1/") or scope["path"] == "/metrics"
        if self.keys and asks and not known(self.keys, headers):
            raise RefusedError(401, "an API key is needed: Authorization: Bearer KEY")
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > self.settings.most_bytes:
            raise too_large(self.settings)
        if scope["method"] == "POST" and self.gate.full:
            raise BusyError


class Exchange:
    """The messages of one request: bytes are counted, and a client that leaves ends its work."""

    def __init__(self, guard: Guard, entry: Entry, receive: Receive, send: Send) -> None:
        self.guard, self.entry = guard, entry
        self._receive, self._send = receive, send
        self._task = asyncio.current_task()
        self._watch: asyncio.Task[None] | None = None
        self.left = False
        self.to_read = True  # whether more of the body may come

    async def receive(self) -> Message:
        """The next part of the body."""
        if self._watch is not None:
            await asyncio.shield(self._watch)
            return {"type": "http.disconnect"}
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.left = True
            raise asyncio.CancelledError
        size = len(message.get("body", b""))
        self.entry.bytes += size
        self.guard.held += size
        if self.entry.bytes > self.guard.settings.most_bytes:
            raise too_large(self.guard.settings)
        if self.guard.held > self.guard.settings.most_held:
            raise BusyError
        if not message.get("more_body", False):
            self.to_read = False
            self._watch = asyncio.create_task(self._wait_for_end())
        return message

    async def _wait_for_end(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.left = True
        if self._task is not None and self.entry.status == 0:
            self._task.cancel()

    async def send(self, message: Message) -> None:
        """Pass a part of the answer on, with the security headers."""
        if message["type"] == "http.response.start":
            self.entry.status = message["status"]
            message = {**message, "headers": [*message.get("headers", ()), *RAW_SECURITY]}
        elif self.to_read and not message.get("more_body", False):
            await self._send({**message, "more_body": True})  # the whole answer
            await self._read_rest()
            message = {"type": "http.response.body"}
        await self._send(message)

    async def _read_rest(self) -> None:
        """Take the rest of a body and forget it: a connection that is closed before may lose its answer."""
        with suppress(TimeoutError):
            async with asyncio.timeout(REST):
                while (await self._receive()).get("more_body", False):
                    pass

    async def answer(self, scope: Scope, answer: Response) -> None:
        """Answer, unless an answer has begun: then uvicorn closes the connection."""
        if not self.entry.status and not self.left:
            await answer(scope, self._receive, self.send)

    def end(self) -> None:
        """Forget the request."""
        self.guard.held -= self.entry.bytes
        if self._watch is not None:
            self._watch.cancel()


def refusal(error: Exception) -> Response:
    """The answer to a request that has no results."""
    if isinstance(error, BusyError):
        error = RefusedError(503, "busy: try again in a second")
    status = error.status if isinstance(error, RefusedError) else 500
    headers = {401: {"WWW-Authenticate": "Bearer"}, 408: {"Connection": "close"}, 503: RETRY}.get(status)
    return JSONResponse({"error": str(error)}, status, headers)


def add_answers(app: FastAPI) -> None:
    """Make every error of the app an answer of the same form."""

    async def refused(_: Request, error: Exception) -> Response:
        return refusal(error)

    async def wrong(_: Request, error: Exception) -> Response:
        found = error.errors()[0] if isinstance(error, RequestValidationError) else {}
        return refusal(RefusedError(400, f"{found.get('loc', '?')[-1]}: {found.get('msg')}"))

    async def broken(_: Request, error: Exception) -> Response:
        return refusal(RefusedError(500, BROKEN))

    async def unknown(_: Request, error: Exception) -> Response:
        status, headers = getattr(error, "status_code", 500), getattr(error, "headers", None)
        return JSONResponse({"error": getattr(error, "detail", "")}, status, headers)

    app.add_exception_handler(RefusedError, refused)
    app.add_exception_handler(BusyError, refused)
    app.add_exception_handler(RequestValidationError, wrong)
    app.add_exception_handler(HTTPException, unknown)
    app.add_exception_handler(Exception, broken)


def known(keys: frozenset[bytes], headers: Headers) -> bool:
    """Whether a request has one of the keys, in a time that does not tell which."""
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    key = bearer.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
    digest = hashlib.sha256(key.encode()).digest()
    return sum(hmac.compare_digest(digest, one) for one in keys) > 0


def too_large(settings: Settings) -> RefusedError:
    """A body above the limit."""
    return RefusedError(413, f"the body is over the limit of {settings.max_mb:g} MB")


def log(method: str, entry: Entry, taken: float) -> None:
    """One JSON line on standard output; a reader that has gone stops nothing."""
    when = datetime.now(UTC).isoformat(timespec="milliseconds")
    line: dict[str, Any] = {"time": when, "method": method[:10], **vars(entry), "ms": round(1000 * taken, 1)}
    with suppress(OSError, ValueError):
        print(json.dumps(line), file=sys.stdout, flush=True)

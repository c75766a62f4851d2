"""uvicorn's connection, with a time limit for heads and for answers that nobody takes."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

IDLE = 10.0  # seconds for the head of a request to be complete, or for the last of an answer to be taken


class Connection(H11Protocol):
    """One connection. A client that keeps it without a request in work loses it after ten seconds.

    A client that closes its side of the connection has left: what it waited for is not worked on.
    """

    _idle: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head."""
        super().connection_made(transport)
        self._wait()

    def on_response_complete(self) -> None:
        """Begin to wait for the next head, and for the client to take its answer."""
        super().on_response_complete()
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the time limit."""
        if self._idle is not None:
            self._idle.cancel()
        super().connection_lost(exc)

    def _wait(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = self.loop.call_later(IDLE, self._late)

    def _late(self) -> None:
        if self.cycle is None or self.cycle.response_complete or self.transport.is_closing():
            self.transport.abort()
        else:  # a request is in work, which has its own limit
            self._wait()

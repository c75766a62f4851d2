"""The HTTP API: what each path answers. Keys and limits stand around it in `guard`, pictures are judged in `judge`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.datastructures import UploadFile
from starlette.types import ASGIApp

from noref import __version__
from noref.errors import ImageError
from noref.images import pillow_allows
from noref.serve import openapi
from noref.serve.body import RefusedError, pictures
from noref.serve.gate import Gate
from noref.serve.guard import RETRY, Guard, add_answers
from noref.serve.judge import Judge, plain, reason
from noref.serve.metrics import Metrics
from noref.serve.pages import add_pages
from noref.serve.settings import Settings

PRIVATE = {"Cache-Control": "no-store"}


def create_app(settings: Settings) -> ASGIApp:
    """The service as an ASGI application; the models are loaded when it starts."""
    service = Service(settings)
    app = FastAPI(title="noref", version=__version__, docs_url=None, redoc_url=None, lifespan=service.lifespan)
    app.description = openapi.TEXT
    app.post("/v1/score", responses=openapi.SCORED, openapi_extra=openapi.MANY)(service.score)
    app.post("/v1/map", responses=openapi.MAPPED, openapi_extra=openapi.ONE)(service.map)
    app.get("/v1/models", responses=openapi.MODELS)(service.models)
    app.get("/healthz", responses=openapi.STATE)(service.healthy)
    app.get("/readyz", responses=openapi.STATE)(service.ready)
    app.get("/metrics", responses=openapi.MEASURED, response_class=PlainTextResponse)(service.measured)
    add_pages(app)
    add_answers(app)
    paths = frozenset(str(getattr(route, "path", "")) for route in app.routes)
    return Guard(app, settings=settings, gate=service.gate, metrics=service.metrics, paths=paths)


class Service:
    """What one worker has: models, threads and counters. Its methods answer the paths of the API."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.metrics = settings, Metrics()
        self.gate = Gate(settings.at_once, settings.most_admitted)
        self.judges: dict[str, Judge] = {}

    @asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        """Load every model once; at the end, begin nothing more."""
        limit = self.settings.max_megapixels
        for name, model in self.settings.named.items():
            self.judges[name] = await asyncio.to_thread(Judge, model, max_megapixels=limit)
        with pillow_allows(limit):
            yield
        self.gate.close()

    async def score(self, request: Request, model: str | None = None) -> Response:
        """Score one picture, the raw body, or many, the files of a form.

        A picture that has no score is an entry with the reason in `error`, and the others are scored. The status is 422
        only where none has a score. What a model knows beyond the score stands in further fields of an entry.
        """
        name, judge = self._judge(request, model)
        async with self._admitted(request, self.settings.max_pictures) as (files, deadline):
            entries: list[dict[str, Any]] = [{} for _ in files]
            todo = iter(enumerate(files))

            async def lane() -> None:
                for number, file in todo:
                    entries[number] = await self._entry(judge, file, deadline)

            async with asyncio.TaskGroup() as lanes:  # so no request has more than one turn a thread
                for _ in range(min(self.gate.threads, len(files))):
                    lanes.create_task(lane())
        self._count(request, name, entries)
        if any(entry["score"] is not None for entry in entries):
            return JSONResponse({"results": entries}, headers=PRIVATE)
        late = any(entry["seconds"] is None for entry in entries)
        return JSONResponse({"results": entries}, 503 if late else 422, headers=PRIVATE | (RETRY if late else {}))

    async def map(self, request: Request, model: str | None = None, format: openapi.MapFormat = "png") -> Response:  # noqa: A002
        """Make the local quality map of one picture: what the model says of each part of it, in points of score.

        `png` lays the colours over the photo in grey, `layer` gives them alone on transparent ground, `numbers` are
        JSON. The scores at both ends of the colours stand in the headers `Map-Low` and `Map-High`.
        """
        _, judge = self._judge(request, model)
        async with self._admitted(request, 1) as (files, deadline):
            try:
                async with asyncio.timeout_at(deadline):
                    return await self.gate.run(partial(_map, judge, files[0], format))
            except TimeoutError as error:
                raise RefusedError(503, f"no map within {self.settings.seconds:g} seconds") from error
            except ImageError as error:
                request.scope["noref"].failed = 1
                raise RefusedError(422, reason(error)) from error

    async def models(self) -> Response:
        """List the models: what their cards say of range, direction, size, training, results and limits."""
        cards = [{"name": name} | {"card": plain(judge.card)} for name, judge in self.judges.items()]
        return JSONResponse({"models": cards})

    async def healthy(self) -> Response:
        """Say that the process answers."""
        return JSONResponse({"status": "alive"}, headers=PRIVATE)

    async def ready(self) -> Response:
        """Say that the models are loaded. Nobody is answered before that and after a stop has begun."""
        return JSONResponse({"status": "ready"}, headers=PRIVATE)

    async def measured(self) -> Response:
        """Give the counters of all workers in Prometheus' text format."""
        text = await asyncio.to_thread(self.metrics.text)
        return Response(text, headers=PRIVATE, media_type=CONTENT_TYPE_LATEST)

    def _judge(self, request: Request, name: str | None) -> tuple[str, Judge]:
        name = next(iter(self.judges)) if name is None else name
        if name not in self.judges:
            raise RefusedError(404, f"no model {name!r} here; there are {', '.join(self.judges)}")
        request.scope["noref"].model = name
        return name, self.judges[name]

    @asynccontextmanager
    async def _admitted(self, request: Request, most: int) -> AsyncIterator[tuple[list[UploadFile], float]]:
        """The pictures of a request that is counted as in work while the block runs, and when its time is over."""
        deadline = asyncio.get_running_loop().time() + self.settings.seconds
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout_at(deadline):
                    files = await stack.enter_async_context(pictures(request, most))
            except TimeoutError as error:
                raise RefusedError(408, f"the body took more than {self.settings.seconds:g} seconds") from error
            stack.enter_context(self.gate.admit())
            stack.enter_context(self.metrics.admitted.track_inprogress())
            request.scope["noref"].pictures = len(files)
            yield files, deadline

    async def _entry(self, judge: Judge, file: UploadFile, deadline: float) -> dict[str, Any]:
        try:
            async with asyncio.timeout_at(deadline):
                return await self.gate.run(lambda: judge.score(file.file.read(), file.filename))
        except TimeoutError:
            error = f"no score within {self.settings.seconds:g} seconds"
            return {"name": file.filename, "score": None, "error": error, "model": judge.card.name, "seconds": None}

    def _count(self, request: Request, name: str, entries: list[dict[str, Any]]) -> None:
        for entry in entries:
            outcome = "failed" if entry["score"] is None else "scored"
            self.metrics.pictures.labels(name, outcome).inc()
            if entry["score"] is not None:
                self.metrics.scores.labels(name).observe(entry["score"])
        request.scope["noref"].failed = sum(entry["score"] is None for entry in entries)


def _map(judge: Judge, file: UploadFile, form: str) -> Response:
    picture = file.file.read()
    if form == "numbers":
        return JSONResponse(judge.map_numbers(picture), headers=PRIVATE)
    content, (low, high) = judge.map_picture(picture, alone=form == "layer")
    ends = {"Map-Low": f"{low:.1f}", "Map-High": f"{high:.1f}"}
    return Response(content, headers=PRIVATE | ends, media_type="image/png")

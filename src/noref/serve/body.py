"""The pictures of a request: its raw body, or the files of a form; large ones lie in files without a name.

Such files have no name in any folder, so they are gone with the request, and with the process if it is killed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from tempfile import SpooledTemporaryFile

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

IN_MEMORY = 1 << 20  # bytes of a picture; a larger one is written to a file
FIELDS = 100  # of a form that are no files; they are ignored
FORM = "multipart/form-data"


class RefusedError(Exception):
    """A request that is answered with a status and a reason instead of results."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@asynccontextmanager
async def pictures(request: Request, most: int) -> AsyncIterator[list[UploadFile]]:
    """The pictures of a request, on the disk or in memory as long as the block runs.

    Raises:
        RefusedError: a broken form, one without a file, or more files than `most`.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    found = await _form(request, most) if kind == FORM else [await _raw(request)]
    try:
        if not found:
            raise RefusedError(400, "no picture in the form: send files=@photo.jpg")
        yield found
    finally:
        await _close(found)


async def _raw(request: Request) -> UploadFile:
    picture = UploadFile(SpooledTemporaryFile(IN_MEMORY))  # type: ignore[arg-type]  # noqa: SIM115
    try:
        async for chunk in request.stream():
            await picture.write(chunk)
        await picture.seek(0)
    except BaseException:
        await _close([picture])
        raise
    return picture


async def _form(request: Request, most: int) -> list[UploadFile]:
    try:
        form = await request.form(max_files=most, max_fields=FIELDS)
    except HTTPException as error:
        if "Too many files" in error.detail:
            raise RefusedError(413, f"more than {most} pictures in one request") from error
        raise RefusedError(400, f"not a form that can be read: {error.detail}") from error
    return [value for _, value in form.multi_items() if isinstance(value, UploadFile)]


async def _close(found: Iterable[UploadFile]) -> None:
    for picture in found:
        picture.file.close()  # at once: nothing waits for a disk here

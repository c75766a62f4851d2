"""What `noref serve` holds: python benchmarks/serve.py [overload] [leavers] [killed] [--seconds N] [--out FILE]

overload  for a minute, twice as many requests as it can answer, at even distances, each on a connection of its own:
          answers other than 200 and 503, memory at the end over its start, and the 99th percentile of the seconds to an
          accepted answer over the median of a client that is alone
leavers   1 000 clients that leave in the middle of a request: seconds until the next one is answered, over a quiet one
killed    two workers, kill -9 of one under load: requests that got no answer, seconds until both are there

The client runs on the same cores as the service. Exit status 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np
import psutil
from PIL import Image

from noref.checkout import commit

HEAD = "POST /v1/score HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n"
LOST = 0  # the status of a request without an answer


@dataclass
class Figure:
    """One line of the report; lower is better."""

    name: str
    value: float
    unit: str
    bar: float
    detail: dict[str, float] = field(default_factory=dict)

    @property
    def met(self) -> bool:
        """Whether it is within the bar."""
        return self.value <= self.bar

    def __str__(self) -> str:
        detail = ", ".join(f"{key} {value:.4g}" for key, value in self.detail.items())
        return (
            f"{self.name}: {self.value:.4g} {self.unit} (bar {self.bar:g}: {'met' if self.met else 'MISSED'}; {detail})"
        )


@dataclass
class Service:
    """`noref serve` as a process of its own."""

    process: asyncio.subprocess.Process
    port: int

    @property
    def pid(self) -> int:
        """Of the process that was started."""
        return self.process.pid

    def family(self) -> list[psutil.Process]:
        """It and its children."""
        own = psutil.Process(self.pid)
        return [own, *own.children(recursive=True)]

    def memory(self) -> float:
        """Resident megabytes of all its processes."""
        return sum(one.memory_info().rss for one in self.family()) / 1e6

    def workers(self) -> set[int]:
        """Their process ids."""
        found = set()
        for one in self.family():
            with suppress(psutil.ZombieProcess, psutil.NoSuchProcess):
                if "spawn_main" in " ".join(one.cmdline()):
                    found.add(one.pid)
        return found

    async def ask(self, request: bytes) -> tuple[int, float]:
        """Status and seconds of one request on a connection of its own."""
        start = time.perf_counter()
        status = LOST
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                writer.write(request)
                answer = await reader.read()
                status = int(answer.split(b" ", 2)[1]) if answer else LOST
            finally:
                writer.close()
        except OSError:
            pass
        return status, time.perf_counter() - start


@asynccontextmanager
async def serving(*arguments: str) -> AsyncIterator[Service]:
    command = [sys.executable, "-m", "noref", "serve", "--port", "0", *arguments]
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*command, stdout=quiet, stderr=subprocess.PIPE)
    try:
        assert process.stderr
        greeting = (await process.stderr.readline()).decode()
        found = re.search(r":(\d+) \(", greeting)
        if not found:
            raise SystemExit(greeting + (await process.stderr.read()).decode())
        service = Service(process, int(found[1]))
        while (await service.ask(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))[0] != 200:
            await asyncio.sleep(0.1)
        yield service
    finally:
        process.terminate()
        await process.wait()


def request(content: bytes) -> bytes:
    return HEAD.format(len(content)).encode() + content


def photo(seed: int = 0) -> bytes:
    """A 512 x 384 JPEG with the spectrum of a photograph."""
    frequency = np.hypot(np.fft.fftfreq(384)[:, None], np.fft.rfftfreq(512)[None, :])
    frequency[0, 0] = 1
    noise = np.fft.rfft2(np.random.default_rng(seed).standard_normal((3, 384, 512)))
    planes = np.moveaxis(np.fft.irfft2(noise / frequency, s=(384, 512)), 0, -1)
    file = io.BytesIO()
    pixels = np.clip(128 + 50 * planes / planes.std(), 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    return file.getvalue()


async def alone(service: Service, content: bytes, count: int = 40) -> list[float]:
    """Seconds of requests one after the other."""
    return [(await service.ask(request(content)))[1] for _ in range(count)]


async def capacity(service: Service, content: bytes, clients: int, seconds: float) -> float:
    """Answers a second to as many clients as there are threads, each asking again as soon as it is answered."""
    end, done = time.perf_counter() + seconds, 0

    async def client() -> None:
        nonlocal done
        while time.perf_counter() < end:
            done += (await service.ask(request(content)))[0] == 200

    start = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return done / (time.perf_counter() - start)


async def offered(service: Service, content: bytes, rate: float, seconds: float) -> list[tuple[int, float]]:
    """Status and seconds of requests that come at this rate, whatever becomes of the earlier ones."""
    start, tasks = time.perf_counter(), []
    for number in range(round(rate * seconds)):
        await asyncio.sleep(max(0.0, start + number / rate - time.perf_counter()))
        tasks.append(asyncio.create_task(service.ask(request(content))))
    return list(await asyncio.gather(*tasks))


async def overload(seconds: float, model: str, least: float = 5) -> list[Figure]:
    content = photo()
    threads = len(os.sched_getaffinity(0))
    async with serving("--model", model) as service:
        await alone(service, content, 5)
        quiet = await alone(service, content)
        most = await capacity(service, content, threads, min(seconds, 10))
        await offered(service, content, 2 * most, least)
        before = service.memory()
        found = await offered(service, content, 2 * most, seconds)
        after = service.memory()
        still = (await service.ask(request(content)))[0] == 200
    statuses = Counter(status for status, _ in found)
    accepted = [taken for status, taken in found if status == 200]
    refused = [taken for status, taken in found if status == 503] or [0.0]
    p99 = float(np.quantile(accepted, 0.99))
    others = sum(statuses.values()) - statuses[200] - statuses[503] + (not still)
    counts = {str(status): float(count) for status, count in sorted(statuses.items())}
    load = {"offered/s": 2 * most, "answered/s": len(accepted) / seconds, **counts}
    times = {
        "p99 s": p99, "median s": median(accepted), "alone s": median(quiet),
        "alone p99 s": float(np.quantile(quiet, 0.99)), "refused p99 s": float(np.quantile(refused, 0.99)),
    }  # fmt: skip
    return [
        Figure("overload, answers other than 200 and 503", others, "", 0, load),
        Figure("overload, memory", after / before, "x", 1.1, {"start MB": before, "end MB": after}),
        Figure("overload, p99 of accepted", p99 / median(quiet), "x", 3, times),
    ]


async def leavers(_: float, model: str) -> list[Figure]:
    content = photo()
    text = request(content)
    async with serving("--model", model) as service:
        await alone(service, content, 5)
        quiet, before = median(await alone(service, content)), service.memory()

        async def leave(number: int) -> None:
            _, writer = await asyncio.open_connection("127.0.0.1", service.port)
            writer.write(text[: len(text) * (number % 11) // 10])
            writer.close()

        for start in range(0, 1000, 50):
            await asyncio.gather(*(leave(number) for number in range(start, start + 50)))
        status, taken = 503, 0.0
        start_of_wait = time.perf_counter()
        while status == 503:
            status, _ = await service.ask(text)
            taken = time.perf_counter() - start_of_wait
        detail = {"status": status, "alone s": quiet, "memory x": service.memory() / before}
        return [Figure("leavers, next answer", taken / quiet, "x", 20, detail)]


async def killed(_: float, model: str) -> list[Figure]:
    content = photo()
    async with serving("--model", model, "--workers", "2") as service:
        while len(service.workers()) < 2:
            await asyncio.sleep(0.1)
        await asyncio.sleep(3)
        most = await capacity(service, content, 2, 5)
        first = service.workers()
        load = asyncio.create_task(offered(service, content, most, 20))
        await asyncio.sleep(3)
        os.kill(min(first), signal.SIGKILL)
        start = time.perf_counter()
        while len(service.workers() - first) < 1:
            await asyncio.sleep(0.05)
        back = time.perf_counter() - start
        statuses = Counter(status for status, _ in await load)
        status = (await service.ask(request(content)))[0]
    counts = {str(status): float(count) for status, count in sorted(statuses.items())}
    detail = {"new process after s": back, "status at the end": status, **counts}
    return [Figure("killed, requests without an answer", statuses[LOST], "", 8, detail)]


def machine() -> dict[str, object]:
    packages = ("uvicorn", "fastapi", "onnxruntime", "Pillow")
    return {
        "cores": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "commit": commit(),
    }


FIGURES: dict[str, Callable[[float, str], Awaitable[list[Figure]]]] = {
    "overload": overload,
    "leavers": leavers,
    "killed": killed,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figures", nargs="*", choices=[*FIGURES, []], metavar="|".join(FIGURES))
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--model", default="default")
    parser.add_argument("--out", type=Path, help="write the figures there as JSON, with hardware and commit")
    given = parser.parse_args()
    before, found = machine(), []
    for name in given.figures or FIGURES:
        for figure in asyncio.run(_one(name, given.seconds, given.model)):
            print(figure, flush=True)
            found.append(figure)
    if given.out:
        given.out.write_text(
            json.dumps({"machine": before, "figures": [asdict(one) for one in found]}, indent=2) + "\n"
        )
    sys.exit(not all(one.met for one in found))


async def _one(name: str, seconds: float, model: str) -> list[Figure]:
    return await FIGURES[name](seconds, model)


if __name__ == "__main__":
    main()

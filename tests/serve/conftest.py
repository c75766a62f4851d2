"""`noref serve` as a process of its own, asked over sockets."""

from __future__ import annotations

import io
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import httpx
import numpy as np
import pytest
from PIL import Image


class Running:
    """A service: its address, its process, the lines of its log, and a client."""

    def __init__(self, process: subprocess.Popen[str], url: str, log: list[str]) -> None:
        self.process, self.url, self.lines = process, url, log
        self.port = int(url.rpartition(":")[2])
        self.client = httpx.Client(base_url=url, timeout=60)

    def post(self, path="/v1/score", body=b"", **options):
        return self.client.post(path, content=body, **options)

    def send(self, *files, **options):
        """Many pictures, each (name, bytes)."""
        return self.client.post("/v1/score", files=[("files", one) for one in files], **options)

    def ready(self):
        """Whether a worker listens: between the greeting and the first one nobody does."""
        try:
            return self.client.get("/readyz").json() == {"status": "ready"}
        except httpx.ConnectError:
            return False

    def admitted(self, count):
        """Whether so many requests are in work and waiting."""
        return f"noref_requests_admitted {count}.0" in self.client.get("/metrics").text

    def log(self):
        return [json.loads(line) for line in self.lines]

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        return self.process.wait(30)


def wait(until, seconds=60):
    """Until it is so."""
    for _ in range(10 * seconds):
        if until():
            return
        time.sleep(0.1)
    assert until()


@contextmanager
def running(*arguments, env=None):
    command = [sys.executable, "-m", "noref", "serve", "--port", "0", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "bufsize": 1}
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})}, **pipes)
    lines: list[str] = []
    threads = [threading.Thread(target=lambda: lines.extend(process.stdout), daemon=True)]
    try:
        greeting = process.stderr.readline()
        found = re.search(r"http://\S+", greeting)
        assert found, greeting + process.stderr.read()
        threads.append(threading.Thread(target=process.stderr.read, daemon=True))
        for thread in threads:
            thread.start()
        service = Running(process, found[0], lines)
        wait(service.ready)
        yield service
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(30)
        for thread in threads:
            thread.join(5)


@pytest.fixture(scope="session", name="wait")
def wait_for():
    return wait


@pytest.fixture(scope="session")
def serving():
    return running


@pytest.fixture(scope="session")
def service(brightness):
    """A service whose score is 100 * mean / 255, with small limits."""
    limits = ["--max-mb", 2, "--max-pictures", 20, "--max-megapixels", 4, "--seconds", 2, "--waiting", 50]
    with running("--model", brightness, *limits) as found:
        yield found


def packed(grey, width=300, height=240, form="PNG"):
    """A picture of one colour as a file; `grey` is a level or an array (H, W)."""
    pixels = np.full((height, width), grey, np.uint8) if np.isscalar(grey) else np.uint8(grey)
    file = io.BytesIO()
    Image.fromarray(pixels).convert("RGB").save(file, form)
    return file.getvalue()


@pytest.fixture(scope="session")
def grey():
    return packed


SLOW = """
<ir_version: 8, opset_import: ["" : 17]>
slow (uint8[n, h, w, 3] image) => (float[n] quality)
{
    level = Cast<to = 1>(image)
    mean = ReduceMean<axes = [0, 1, 2, 3], keepdims = 0>(level)
    size = Constant<value_ints = [SIDE, SIDE]>()
    a = Expand(mean, size)
    STEPS
    middle = ReduceMean<axes = [0, 1], keepdims = 0>(LAST)
    ratio = Div(middle, middle)
    first = ReduceMean<axes = [1, 2, 3], keepdims = 0>(level)
    top = Constant<value_float = 255.0>()
    share = Div(first, top)
    quality = Mul(share, ratio)
}
"""


@pytest.fixture
def slow_model(make_model):
    """A model that multiplies matrices for a while, about 0.1 s a step, before it says 100 * mean / 255."""

    def make(steps):
        names = ["a", *(f"n{i}" for i in range(steps))]
        step = "p{1} = MatMul({0}, a) m{1} = ReduceMax<keepdims = 0>(p{1}) {1} = Div(p{1}, m{1})"
        lines = "\n    ".join(step.format(*pair) for pair in itertools.pairwise(names))
        text = SLOW.replace("SIDE", "1200").replace("STEPS", lines).replace("LAST", names[-1])
        return make_model(text, name="slow")

    return make

"""Starting, stopping, and workers that die."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from noref.cli import run
from noref.errors import OptionError
from noref.serve.settings import Settings


def alive(service):
    """The workers."""
    found = []
    for one in psutil.Process(service.process.pid).children():
        with suppress(psutil.ZombieProcess, psutil.NoSuchProcess):
            if "spawn_main" in " ".join(one.cmdline()):
                found.append(one.pid)
    return found


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_finishes_what_is_in_work_and_leaves(serving, slow_model, grey, how, wait):
    picture = grey(51)
    with serving("--model", slow_model(5), "--threads", 1, "--waiting", 1) as service, ThreadPoolExecutor(2) as clients:
        idle = socket.create_connection(("127.0.0.1", service.port))
        answers = [clients.submit(service.post, body=picture) for _ in range(2)]
        wait(lambda: service.admitted(2))
        start = time.monotonic()
        assert service.stop(how) == 0
        assert time.monotonic() - start < 10
        for answer in answers:
            assert answer.result().json()["results"][0]["score"] == pytest.approx(20, abs=1e-3)
        with pytest.raises(httpx.ConnectError):
            service.client.get("/")
        idle.close()


def test_a_stop_waits_ten_seconds_at_most(serving, slow_model, grey, wait):
    """For a picture that takes a minute, and for a client that never ends its body."""
    with serving("--model", slow_model(300), "--threads", 1, "--seconds", 100) as service:
        head = b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx"
        with socket.create_connection(("127.0.0.1", service.port)) as endless, ThreadPoolExecutor(1) as client:
            endless.sendall(head)
            answer = client.submit(service.post, body=grey(51))
            wait(lambda: service.admitted(1))
            start = time.monotonic()
            assert service.stop() == 0
            assert time.monotonic() - start < 10
            assert answer.result().status_code == 503


def test_a_killed_worker_comes_back_and_the_others_go_on(serving, brightness, grey, wait):
    picture = grey(51)
    with serving("--model", brightness, "--workers", 2) as service:
        wait(lambda: len(alive(service)) == 2)
        first = alive(service)
        outcomes, done = [], threading.Event()

        def load():
            while not done.is_set():
                try:
                    outcomes.append(service.post(body=picture).status_code)
                except httpx.TransportError as error:
                    outcomes.append(type(error).__name__)

        with ThreadPoolExecutor(2) as clients:
            running = [clients.submit(load) for _ in range(2)]
            try:
                wait(lambda: outcomes.count(200) > 10)
                os.kill(first[0], signal.SIGKILL)
                wait(lambda: len(alive(service)) == 2 and set(alive(service)) != set(first))
                before = outcomes.count(200)
                wait(lambda: outcomes.count(200) > before + 20)
            finally:
                done.set()
            for one in running:
                one.result()
        assert first[1] in alive(service)
        broken = [one for one in outcomes if one not in (200, 503)]
        assert len(broken) <= 4  # what the killed one had in work or had accepted
        text = service.client.get("/metrics").text
        counted = [line for line in text.splitlines() if line.startswith("noref_pictures_total")]
        assert sum(float(line.split()[-1]) for line in counted) >= outcomes.count(200)  # of both, and of the dead one
        assert "noref_requests_admitted 0.0" in text
        start = time.monotonic()
        workers = alive(service)
        assert service.stop() == 0
        assert time.monotonic() - start < 10
        assert not any(psutil.pid_exists(one) for one in workers)


def test_workers_end_with_their_parent(serving, brightness, wait):
    with serving("--model", brightness, "--workers", 2) as service:
        wait(lambda: len(alive(service)) == 2)
        workers = alive(service)
        service.stop(signal.SIGKILL)
        wait(lambda: not any(psutil.pid_exists(one) for one in workers))


def test_a_taken_port_and_wrong_options_end_with_status_2(brightness, capsys, tmp_path, monkeypatch):
    empty = tmp_path / "keys"
    empty.write_text("\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        wrong = {
            f"--port {port}": f"127.0.0.1:{port}: Address already in use; --host and --port name another address",
            "--port 70000": "port must be 0-65535, got 70000",
            "--workers 0": "workers must be 1-64, got 0",
            "--threads 0": "threads must be 1-256, got 0",
            "--waiting -1": "waiting must be 0-100000, got -1",
            "--max-mb 0": "max-mb must be above 0, got 0.0",
            "--seconds nan": "seconds must be above 0, got nan",
            "--model none.onnx": "none.onnx: there is no such model file",
            "--model defaul": "unknown model 'defaul': did you mean default? (or give an .onnx file)",
            "--model default --model default": "two models are called 'default': rename one of the files",
            f"--api-key-file {empty}": f"{empty}: no key in it; write one a line",
            f"--api-key-file {tmp_path}": f"{tmp_path}: Is a directory",
        }
        for words, message in wrong.items():
            assert run(["serve", *words.split()]) == 2
            assert capsys.readouterr().err == f"Error: {message}\n"


def test_a_broken_model_is_named_before_anything_starts(tmp_path, brightness, capsys):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    assert run(["serve", "--model", str(broken)]) == 1
    assert str(broken.with_suffix("")) in capsys.readouterr().err


def test_settings_share_the_cores_among_workers(monkeypatch):
    monkeypatch.setattr("noref.serve.settings.cores", lambda: 8)
    assert Settings().at_once == 8
    assert Settings(workers=3).at_once == 2
    assert Settings(workers=16).at_once == 1
    assert Settings(threads=5).most_admitted == 7
    assert Settings(threads=1).most_admitted == 2
    assert Settings(threads=5, waiting=0).most_admitted == 5
    with pytest.raises(OptionError, match="a service needs a model"):
        Settings(models=())


def test_an_open_address_without_a_key_is_said(brightness):
    command = [sys.executable, "-m", "noref", "serve", "--port", "0", "--host", "0.0.0.0", "--model", str(brightness)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        lines = [process.stderr.readline(), process.stderr.readline()]
        process.terminate()
        process.communicate()
    assert "at http://0.0.0.0:" in lines[0]
    assert lines[1].startswith("Everybody who reaches this address can use it")


def test_without_the_extra_one_line_names_it(tmp_path):
    for package in ("fastapi", "uvicorn", "prometheus_client"):
        (tmp_path / f"{package}.py").write_text("raise ImportError")
        paths = [str(tmp_path), str(Path(__file__).parents[2] / "src")]
        command = [sys.executable, "-m", "noref", "serve", "--port", "0"]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (1, "Error: noref serve needs an extra: pip install 'noref[serve]'\n")
        (tmp_path / f"{package}.py").unlink()

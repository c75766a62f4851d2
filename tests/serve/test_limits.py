"""What nobody may do to a service: over sockets, as hostile clients would."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest

HEAD = b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%s\r\n"


def connected(service):
    return socket.create_connection(("127.0.0.1", service.port), timeout=30)


def until_closed(connection):
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def status(answer):
    return int(answer.split(b" ", 2)[1])


def answered(service, grey):
    """The service still scores, as if nothing had been."""
    assert service.post(body=grey(51)).json()["results"][0]["score"] == pytest.approx(20, abs=1e-3)


def noise(side):
    rng = np.random.default_rng(side)
    return rng.integers(0, 256, (side, side))


def test_a_body_over_the_limit_is_refused_with_and_without_a_length(service, grey):
    assert service.post(body=bytes(2_000_001)).status_code == 413
    chunks = (bytes(100_000) for _ in range(30))
    assert service.client.post("/v1/score", content=chunks).status_code == 413
    with connected(service) as lying:  # at once, before a byte of it
        lying.sendall(HEAD % (10**12, b""))
        assert status(lying.recv(4096)) == 413
    answered(service, grey)


def test_a_refused_client_gets_its_answer_though_it_goes_on_sending(service, grey):
    """A connection that is closed with something unread is reset, and the answer may be lost."""
    body = bytes(1_900_000)
    for _ in range(20):
        with connected(service) as one:
            one.sendall(HEAD % (len(body), b"Connection: close\r\nContent-Type: multipart/form-data\r\n"))
            time.sleep(0.02)
            one.sendall(body)
            assert status(until_closed(one)) == 400


def test_more_pictures_than_the_limit_are_refused(service, grey):
    files = [(f"{i}.png", grey(9)) for i in range(21)]
    assert len(service.send(*files[:20]).json()["results"]) == 20
    answer = service.send(*files)
    assert answer.status_code == 413
    assert answer.json() == {"error": "more than 20 pictures in one request"}


def bomb(width, height):
    """A PNG of a few kilobytes that claims to be huge, with the data that fit."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(10_000_000), 9)),
        (b"IEND", b""),
    ]
    body = b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + body


def gif_bomb(width, height):
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0) + b";"


def test_bombs_are_refused_by_their_header_before_memory_is_spent(service, grey):
    process = psutil.Process(service.process.pid)
    answered(service, grey)
    before = process.memory_info().rss
    for picture, says in ((bomb(50_000, 50_000), "megapixels"), (bomb(2_001, 2_000), "4 megapixels are over")):
        for path in ("/v1/score", "/v1/map"):
            answer = service.post(path, picture)
            assert answer.status_code == 422
            assert says in answer.text
    assert service.post(body=gif_bomb(65_000, 65_000)).status_code == 422
    assert process.memory_info().rss - before < 40e6
    answered(service, grey)


def test_a_slow_body_has_a_time_limit_and_holds_up_nobody(service, grey):
    slow = [connected(service) for _ in range(30)]
    for one in slow:
        one.sendall(HEAD % (100_000, b"") + b"x")
    start = time.monotonic()
    while time.monotonic() - start < 1.5:
        for one in slow:
            one.sendall(b"x")
        answered(service, grey)
    for one in slow:
        answer = until_closed(one)
        assert status(answer) == 408
        assert b"the body took more than 2 seconds" in answer
        one.close()


def drip(connection):
    for byte in b"GET / HTTP/1.1\r\nX: " + b"a" * 100:
        connection.sendall(bytes([byte]))
        time.sleep(0.05)


def test_a_slow_head_has_a_time_limit(brightness, serving, grey, monkeypatch):
    """Ten seconds in the service; here from the class, in this process."""
    import asyncio

    import uvicorn

    from noref.serve import connection

    monkeypatch.setattr(connection, "IDLE", 0.3)

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    config = uvicorn.Config(
        app, port=0, http=connection.Connection, ws="none", lifespan="off", log_config=None, loop="asyncio"
    )
    server = uvicorn.Server(config)
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=lambda: asyncio.run(server._serve([listening])))
    thread.start()
    try:
        with socket.create_connection(listening.getsockname(), timeout=10) as nothing:
            assert nothing.recv(10) == b""
        dripping = socket.create_connection(listening.getsockname(), timeout=10)
        with dripping, pytest.raises(OSError, match=r"reset|[Bb]roken"):
            drip(dripping)
        with socket.create_connection(listening.getsockname(), timeout=10) as good:
            for _ in range(3):
                good.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                answer = good.recv(4096)
                while not answer.endswith(b"ok"):
                    answer += good.recv(4096)
                assert status(answer) == 200
                time.sleep(0.15)
    finally:
        server.should_exit = True
        thread.join(20)


def test_more_requests_than_may_wait_get_503_at_once(serving, slow_model, grey):
    picture = grey(51)
    with serving("--model", slow_model(4), "--threads", 1, "--waiting", 2) as busy, ThreadPoolExecutor(12) as clients:
        busy.post(body=picture)
        start = time.monotonic()
        answers = list(clients.map(lambda _: (busy.post(body=picture), time.monotonic() - start), range(12)))
        by_status = sorted((answer.status_code, taken) for answer, taken in answers)
        codes = [code for code, _ in by_status]
        assert set(codes) == {200, 503}
        assert 3 <= codes.count(200) <= 5
        assert max(taken for code, taken in by_status if code == 503) < min(t for c, t in by_status if c == 200)
        refused = next(answer for answer, _ in answers if answer.status_code == 503)
        assert refused.headers["retry-after"] == "1"
        assert refused.json() == {"error": "busy: try again in a second"}
        answered(busy, grey)


def test_what_is_not_scored_in_time_is_an_entry_and_no_score_at_all_is_503(serving, slow_model, grey):
    picture = grey(51)
    with serving("--model", slow_model(3), "--threads", 1, "--seconds", 3) as slow:
        slow.post(body=picture)
        answer = slow.send(*[(f"{i}.png", picture) for i in range(60)])
        assert answer.status_code == 200
        found = answer.json()["results"]
        assert found[0]["score"] == pytest.approx(20, abs=1e-3)
        assert found[-1] == {
            "name": "59.png", "score": None, "error": "no score within 3 seconds", "model": "slow", "seconds": None
        }  # fmt: skip


def test_a_client_that_leaves_frees_its_place(serving, slow_model, grey, wait):
    picture = grey(51)
    with serving("--model", slow_model(10), "--threads", 1, "--waiting", 5) as service:
        leaving = [connected(service) for _ in range(6)]
        for one in leaving:
            one.sendall(HEAD % (len(picture), b"") + picture)
        wait(lambda: service.admitted(6))
        assert service.post(body=picture).status_code == 503
        for one in leaving:
            one.close()
        wait(lambda: [one["status"] for one in service.log()].count(499) == 6)
        assert service.admitted(0)
        assert service.client.get("/metrics").text.count('outcome="scored"') == 0
        answered(service, grey)


def test_a_thousand_clients_leave_in_the_middle(service, grey, wait):
    picture = grey(noise(240))
    process = psutil.Process(service.process.pid)

    def leave(number):
        with connected(service) as one:
            text = HEAD % (len(picture), b"") + picture
            one.sendall(text[: len(text) * (number % 11) // 10])
            if number % 3 == 0:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset

    with ThreadPoolExecutor(16) as clients:
        list(clients.map(leave, range(1000)))
    wait(lambda: len(process.net_connections()) < 5)
    wait(lambda: service.admitted(0))
    assert process.num_fds() < 60
    answered(service, grey)


def test_half_closed_connections_end(service, grey):
    picture = grey(51)
    for sent in (b"", b"POST /v1", HEAD % (len(picture), b"") + picture[:50], HEAD % (len(picture), b"") + picture):
        with connected(service) as half:
            half.sendall(sent)
            half.shutdown(socket.SHUT_WR)
            until_closed(half)  # ends: no endless wait on this side
    answered(service, grey)


def boundary(parts):
    return b"".join(b"--b\r\n" + part for part in parts) + b"--b--\r\n"


PART = b'Content-Disposition: form-data; name="files"; filename="%s"\r\n\r\n%s\r\n'
HOSTILE = {
    "no boundary": (b"multipart/form-data", b"x"),
    "empty boundary": (b"multipart/form-data; boundary=", b"--\r\n"),
    "a huge boundary": (b"multipart/form-data; boundary=" + b"b" * 5000, b"x"),
    "no body": (b"multipart/form-data; boundary=b", b""),
    "no end": (b"multipart/form-data; boundary=b", b"--b\r\n" + PART % (b"a", b"x")),
    "no name": (b"multipart/form-data; boundary=b", boundary([b"Content-Disposition: form-data\r\n\r\nx\r\n"])),
    "no disposition": (b"multipart/form-data; boundary=b", boundary([b"X: y\r\n\r\nx\r\n"])),
    "a megabyte of header": (b"multipart/form-data; boundary=b", boundary([b"X: " + b"y" * 1_000_000 + b"\r\n\r\n"])),
    "many headers": (b"multipart/form-data; boundary=b", boundary([b"X: y\r\n" * 100_000 + b"\r\n"])),
    "many fields": (
        b"multipart/form-data; boundary=b",
        boundary([b'Content-Disposition: form-data; name="a"\r\n\r\n\r\n'] * 5000),
    ),
    "many files": (b"multipart/form-data; boundary=b", boundary([PART % (b"a", b"")] * 5000)),
    "a large field": (
        b"multipart/form-data; boundary=b",
        boundary([b'Content-Disposition: form-data; name="a"\r\n\r\n' + b"y" * 1_500_000 + b"\r\n"]),
    ),
    "almost boundaries": (b"multipart/form-data; boundary=b", b"\r\n--" * 400_000),
    "line ends": (b"multipart/form-data; boundary=b", boundary([PART % (b"a", b"\r" * 1_500_000)])),
    "a path as a name": (b"multipart/form-data; boundary=b", boundary([PART % (b"../../etc/passwd", b"")])),
    "bytes as a name": (b"multipart/form-data; boundary=b", boundary([PART % (b"\xff\x00\n\x1b[31m", b"")])),
    "another charset": (b"multipart/form-data; boundary=b; charset=utf-7", boundary([PART % (b"+AGE-", b"")])),
    "no charset": (b"multipart/form-data; boundary=b; charset=\xff", boundary([PART % (b"a", b"")])),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_forms_are_refused_with_a_reason(service, grey, case):
    kind, body = HOSTILE[case]
    with connected(service) as one:
        one.sendall(HEAD % (len(body), b"Connection: close\r\nContent-Type: " + kind + b"\r\n"))
        try:
            one.sendall(body)
            answer = until_closed(one)
        except ConnectionError:
            return  # refused before all was sent
    assert status(answer) in (400, 413, 422)
    assert b'"error"' in answer
    answered(service, grey)


@pytest.mark.parametrize(
    "head",
    [
        b"GARBAGE\r\n\r\n",
        b"POST /v1/score HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /v1/score HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffffffffff\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
        b"GET /" + b"%00" * 50 + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /assets/../../settings.py HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /assets/%2e%2e%2fsettings.py HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ],
)
def test_broken_heads_are_refused(service, grey, head):
    with connected(service) as one:
        try:
            one.sendall(head)
            answer = until_closed(one)
        except ConnectionError:
            answer = b"HTTP/1.1 400 "
    assert 400 <= status(answer) < 500
    answered(service, grey)


def size_of(path):
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def test_no_picture_outlives_its_request(serving, brightness, grey, tmp_path):
    """Large ones are spooled, into files that no folder names, also while a request is in work."""
    folder = tmp_path / "spool"
    folder.mkdir()
    large = grey(noise(900), form="BMP")
    assert len(large) > 2 << 20
    with serving("--model", brightness, env={"TMPDIR": str(folder)}) as spooling:
        before = set(folder.iterdir())  # ONNX Runtime leaves a file of its own
        files = Path(f"/proc/{spooling.process.pid}/fd")
        spooled, seen = set(), set()

        def look():
            while not done.is_set():
                seen.update(size for path in folder.iterdir() if (size := size_of(path)) and path not in before)
                for link in files.iterdir():
                    try:
                        spooled.add(os.readlink(link))
                    except OSError:
                        continue

        done = threading.Event()
        with ThreadPoolExecutor(1) as watcher:
            watching = watcher.submit(look)
            for _ in range(2):
                assert spooling.post(body=large).status_code == 200
                assert spooling.send(("a.bmp", large), ("b.bmp", large)).status_code == 200
                broken = boundary([PART % (b"a", large)])[:-20]
                kind = {"content-type": "multipart/form-data; boundary=b"}
                assert spooling.post(body=broken, headers=kind).status_code == 400
            done.set()
            watching.result()
        assert max(seen, default=0) < 10  # bytes of a file that has a name: Python tries the folder
        assert any(name.startswith(str(folder)) for name in spooled)  # they had been there, without a name
        left = [os.readlink(link) for link in files.iterdir() if link.exists() or link.is_symlink()]
        assert not [name for name in left if name.startswith(str(folder))]

from __future__ import annotations

import dataclasses
import io
import json
import re
import socket

import numpy as np
import pytest
from PIL import Image

from noref.card import Scale
from noref.serve.judge import Judge, plain


def test_a_raw_body_is_scored_by_the_formula(service, grey):
    answer = service.post(body=grey(51))
    assert answer.status_code == 200
    (found,) = answer.json()["results"]
    assert found["score"] == pytest.approx(20.0, abs=1e-4)
    assert found["quality"] == pytest.approx(0.2, abs=1e-6)
    assert (found["error"], found["model"], found["name"]) == (None, "brightness", None)
    assert found["scale"] == {"low": 0, "high": 100, "higher_is_better": True, "text": "0-100, higher is better"}
    assert found["judged"] == [300, 240]
    assert 0 < found["seconds"] < 60


def test_a_form_has_a_result_for_each_file_in_order(service, grey):
    files = [(f"{level}.png", grey(level)) for level in (0, 102, 255)]
    answer = service.send(*files, ("broken.jpg", b"\xff\xd8\xff"), ("empty.png", b""))
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [one["name"] for one in results] == ["0.png", "102.png", "255.png", "broken.jpg", "empty.png"]
    assert [one["score"] for one in results] == [0, pytest.approx(40, abs=1e-4), 100, None, None]
    assert results[4]["error"] == "empty file"
    assert "<bytes>" not in answer.text


def test_the_status_is_422_where_nothing_has_a_score(service):
    for answer in (service.post(body=b"hello"), service.send(("a", b"x"), ("b", b"y"))):
        assert answer.status_code == 422
        assert {one["error"] for one in answer.json()["results"]} == {"not an image that can be read"}


def test_scores_are_those_of_the_command(serving, tmp_path, grey):
    from noref import Scorer

    rng = np.random.default_rng(0)
    noise = [grey(rng.integers(0, 256, (240, 320))) for _ in range(3)]
    with serving() as default:
        found = [one["score"] for one in default.send(*[("a.png", one) for one in noise]).json()["results"]]
    assert found == pytest.approx([one.value for one in Scorer().score_many(noise)], abs=1e-3)


def test_the_map_is_dark_on_the_left_and_bright_on_the_right(service, grey):
    halves = np.zeros((240, 400))
    halves[:, 200:] = 255
    picture = grey(halves)
    numbers = service.post("/v1/map?format=numbers", picture).json()
    values = np.array(numbers["values"])
    assert numbers["judged"] == [400, 240]
    assert values.shape == (58, 96)
    assert values[:, 0].max() < 1
    assert values[:, -1].min() > 99
    for form, mode in (("png", "RGB"), ("layer", "RGBA")):
        answer = service.post(f"/v1/map?format={form}", picture)
        assert answer.headers["content-type"] == "image/png"
        assert float(answer.headers["map-low"]) < float(answer.headers["map-high"])
        image = Image.open(io.BytesIO(answer.content))
        assert (image.size, image.mode) == ((400, 240), mode)
        left, right = image.getpixel((5, 100)), image.getpixel((395, 100))
        assert left[0] > left[2]  # red is worse
        assert right[2] > right[0]  # blue is better
    assert service.post("/v1/map", b"no picture").json() == {"error": "not an image that can be read"}


def test_a_request_chooses_among_several_models(serving, brightness, make_model, grey):
    dark = """
    <ir_version: 8, opset_import: ["" : 17]>
    darkness (uint8[n, h, w, 3] image) => (float[n] quality)
    {
        level = Cast<to = 1>(image)
        mean = ReduceMean<axes = [1, 2, 3], keepdims = 0>(level)
        top = Constant<value_float = 255.0>()
        share = Div(mean, top)
        one = Constant<value_float = 1.0>()
        quality = Sub(one, share)
    }
    """
    with serving("--model", brightness, "--model", make_model(dark, name="darkness")) as both:
        assert [one["name"] for one in both.client.get("/v1/models").json()["models"]] == ["brightness", "darkness"]
        for query, score in (("", 20), ("?model=brightness", 20), ("?model=darkness", 80)):
            (found,) = both.post(f"/v1/score{query}", grey(51)).json()["results"]
            assert found["score"] == pytest.approx(score, abs=1e-3)
        answer = both.post("/v1/score?model=sharp", grey(51))
        assert answer.status_code == 404
        assert answer.json() == {"error": "no model 'sharp' here; there are brightness, darkness"}


def test_what_a_model_knows_beyond_the_score_is_passed_on(brightness, grey):
    """Fields of a later `Score`, with things in them that JSON has not."""
    reason = dataclasses.make_dataclass("Reason", ["name", "severity"])
    fields = ["value", "quality", "model", "scale", "interval", "reasons", "unheard"]
    found = dataclasses.make_dataclass("Later", fields)(
        61.0, 0.61, "m", Scale(0, 100), (55.0, 67.5), [reason("gaublur", np.float32(0.5))], float("nan")
    )
    judge = Judge(str(brightness), max_megapixels=1)
    judge.scorer = type("Stub", (), {"score": lambda self, _: found})()
    entry = judge.score(grey(1), "a.jpg")
    assert entry["score"] == 61.0
    assert entry["interval"] == [55.0, 67.5]
    assert entry["reasons"] == [{"name": "gaublur", "severity": 0.5}]
    assert entry["unheard"] is None
    json.dumps(entry, allow_nan=False)
    assert plain({1: (np.int64(2), float("inf"))}) == {"1": [2, None]}


def test_health_models_metrics_and_openapi(service, grey):
    assert service.client.get("/healthz").json() == {"status": "alive"}
    assert service.client.get("/readyz").json() == {"status": "ready"}
    (model,) = service.client.get("/v1/models").json()["models"]
    assert model["card"]["method"] == "mean grey level"
    assert model["card"]["scale"]["text"] == "1-5, higher is better"
    assert set(service.client.get("/openapi.json").json()["paths"]) == {
        *("/v1/score", "/v1/map", "/v1/models", "/healthz", "/readyz", "/metrics")
    }
    before = counted(service)
    service.send(("a.png", grey(128)), ("b.png", grey(255)), ("c.png", b""))
    after = counted(service)
    gained = {key: after[key] - before.get(key, 0) for key in after}
    assert gained['noref_pictures_total{model="brightness",outcome="scored"}'] == 2
    assert gained['noref_pictures_total{model="brightness",outcome="failed"}'] == 1
    assert gained['noref_score_bucket{le="60.0",model="brightness"}'] == 1
    assert gained['noref_requests_total{path="/v1/score",status="200"}'] == 1
    assert after["noref_requests_admitted"] == 0


def counted(service):
    text = service.client.get("/metrics").text
    return {key: float(value) for key, value in re.findall(r"^(noref\S+) (\S+)$", text, re.MULTILINE)}


@pytest.mark.parametrize("path", ["/", "/docs", "/healthz", "/openapi.json", "/metrics", "/nowhere", "/assets/page.js"])
def test_every_answer_has_the_security_headers(service, path):
    headers = service.client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "*" not in policy
    assert "server" not in headers


def test_refusals_are_json_too(service, grey):
    refused = [
        (service.client.get("/nowhere"), 404),
        (service.client.put("/v1/score"), 405),
        (service.post("/v1/map?format=gif", grey(1)), 400),
        (service.client.post("/v1/score", files={"files": (None, b"text without a file name")}), 400),
        (service.post(body=b"x", headers={"content-type": "multipart/form-data"}), 400),
        (service.client.post("/v1/score", content=b"x" * 2_000_001), 413),
    ]
    for answer, status in refused:
        assert answer.status_code == status
        assert isinstance(answer.json()["error"], str)
        assert "content-security-policy" in answer.headers


def test_a_key_is_asked_for(serving, brightness, tmp_path, grey):
    keys = tmp_path / "keys"
    keys.write_text("first-key\nsecond-key\n")
    with serving("--model", brightness, "--api-key-file", keys) as locked:
        picture = grey(51)
        for key in ("first-key", "second-key"):
            assert locked.post(body=picture, headers={"authorization": f"Bearer {key}"}).status_code == 200
            assert locked.post(body=picture, headers={"x-api-key": key}).status_code == 200
        for headers in ({}, {"authorization": "Bearer first"}, {"authorization": "Basic first-key"}, {"x-api-key": ""}):
            answer = locked.post(body=picture, headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
        assert locked.client.get("/metrics").status_code == 401
        assert locked.client.get("/v1/models").status_code == 401
        for free in ("/", "/docs", "/healthz", "/readyz", "/openapi.json"):
            assert locked.client.get(free).status_code == 200
        locked.stop()
    assert "key" not in "".join(locked.lines)


def test_the_log_has_one_line_a_request_and_nothing_of_the_picture(serving, brightness, grey):
    with serving("--model", brightness) as logged:
        logged.send(("secret-name.png", grey(77)), ("b.png", b""))
        logged.client.get("/no/such/secret?key=secret")
        logged.client.get("/healthz")
        logged.stop()
    lines = logged.log()[1:]  # after the fixture's own
    assert [(one["path"], one["status"]) for one in lines] == [("/v1/score", 200), ("other", 404), ("/healthz", 200)]
    assert (lines[0]["pictures"], lines[0]["failed"], lines[0]["model"]) == (2, 1, "brightness")
    assert lines[0]["bytes"] > len(grey(77))
    assert set(lines[0]) == {"time", "method", "path", "status", "bytes", "pictures", "failed", "model", "ms"}
    assert "secret" not in "".join(logged.lines)


def test_no_address_is_fetched_and_no_path_is_read(service, tmp_path, grey):
    here = tmp_path / "a.png"
    here.write_bytes(grey(51))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.3)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/a.png"
        for source in (address, str(here), f"file://{here}"):
            assert service.post(body=source.encode()).status_code == 422
            assert service.post(f"/v1/score?url={source}&path={source}", b"").status_code == 422
            assert service.client.post("/v1/score", data={"files": source, "url": source}).status_code in (400, 422)
            assert service.send((source, b"no picture")).status_code == 422
        with pytest.raises(TimeoutError):
            listener.accept()

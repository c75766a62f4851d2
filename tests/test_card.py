from __future__ import annotations

import dataclasses
import hashlib
import json
import math

import pytest

from noref.card import FILTERS, Card, Preprocessing, Scale, card_path, digest, read_card, read_model
from noref.errors import ModelError


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"weights" * 1000)
    return path


def card(**changes):
    return Card(**{"name": "a", "method": "b", "scale": Scale(1, 5), "preprocessing": Preprocessing()} | changes)


@pytest.mark.parametrize(
    ("scale", "raw", "quality"),
    [
        (Scale(0, 100), 25, 0.25),
        (Scale(1, 5), 2, 0.25),
        (Scale(0, 100, higher_is_better=False), 25, 0.75),
        (Scale(-1, 1, higher_is_better=False), -1, 1.0),
    ],
)
def test_scale_converts_both_ways(scale, raw, quality):
    assert scale.quality(raw) == quality
    assert scale.raw(quality) == raw


@pytest.mark.parametrize(("low", "high"), [(1, 1), (2, 1), (math.nan, 1), (0, math.nan), (0, math.inf), (-math.inf, 0)])
def test_scale_needs_a_finite_range(low, high):
    with pytest.raises(ValueError, match="high > low"):
        Scale(low, high)


def test_scale_says_its_direction():
    assert str(Scale(0, 9)) == "0-9, higher is better"
    assert str(Scale(0, 1, higher_is_better=False)) == "0-1, lower is better"


@pytest.mark.parametrize(
    "wrong",
    [{"max_pixels": 0}, {"max_pixels": 1.5}, {"min_side": None}, {"min_side": -1}, {"crop": 0}, {"resample": "box"}],
)
def test_preprocessing_refuses_what_cannot_be(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Preprocessing(**wrong)


def test_preprocessing_names_the_decoders_filters():
    from noref.images import FILTERS as KNOWN

    assert set(FILTERS) == KNOWN.keys()


def test_a_card_survives_the_disk(model):
    written = card(training={"data": "x"}, results=[{"srcc": 0.5}], limits=["none known"]).write(model)
    assert written.sha256 == hashlib.sha256(model.read_bytes()).hexdigest() == digest(model)
    assert read_card(model) == written
    assert read_card(model, model.read_bytes()) == written
    assert card_path(model).name == "model.card.json"
    assert sorted(path.name for path in model.parent.iterdir()) == ["model.card.json", "model.onnx"]


def test_other_bytes_are_refused(model):
    card().write(model)
    model.write_bytes(model.read_bytes() + b"!")
    with pytest.raises(ModelError, match=r"model\.onnx: sha256 .* file or card was changed"):
        read_card(model)


def test_a_card_of_another_model_is_refused(model):
    values = json.loads(card_path(card().write(model) and model).read_text())
    card_path(model).write_text(json.dumps(values | {"sha256": "0" * 64}))
    with pytest.raises(ModelError, match="sha256"):
        read_card(model)


def test_no_card_is_refused(model):
    with pytest.raises(ModelError, match=r"model\.card\.json: .* No such file"):
        read_card(model)


def test_no_model_is_refused(model):
    card().write(model)
    model.unlink()
    for read in (read_card, digest, read_model):
        with pytest.raises(ModelError, match=r"model\.onnx: No such file"):
            read(model)


def broken(change):
    values = {"format": 1, **dataclasses.asdict(card())}
    change(values)
    return json.dumps(values)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "1",
        "{}",
        broken(lambda v: v.pop("format")),
        broken(lambda v: v.pop("scale")),
        broken(lambda v: v.pop("name")),
        broken(lambda v: v.update(scale={"low": 5, "high": 1})),
        broken(lambda v: v.update(scale={"low": "0", "high": "9"})),
        broken(lambda v: v.update(scale=[0, 1])),
        broken(lambda v: v.update(preprocessing={"crop": "224"})),
        broken(lambda v: v.update(surprise=1)),
    ],
)
def test_what_is_no_card_is_refused(model, text):
    card_path(model).write_text(text)
    with pytest.raises(ModelError, match=r"model\.card\.json: not a model card: ."):
        read_card(model)


def test_bytes_that_are_no_text_are_refused(model):
    card_path(model).write_bytes(b"\xff\xfe{}")
    with pytest.raises(ModelError, match="not a model card"):
        read_card(model)


def test_a_later_format_asks_for_an_upgrade(model):
    card_path(model).write_text(broken(lambda v: v.update(format=2)))
    with pytest.raises(ModelError, match="upgrade noref"):
        read_card(model)


def test_a_failed_write_keeps_the_old_card(model, monkeypatch):
    card(name="old").write(model)
    monkeypatch.setattr("json.dumps", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        card(name="new").write(model)
    assert read_card(model).name == "old"

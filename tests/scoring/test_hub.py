"""Models on the hub, against a stand-in of it on the loopback."""

from __future__ import annotations

import json
import os
import pickle
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants
from PIL import Image

import noref
from noref.card import card_path, read_card
from noref.cli import run
from noref.errors import ModelError, NorefError, OptionError
from noref.scoring import hub

from .hub_stand_in import Hub


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", (standing := Hub()).address)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    yield standing
    standing.close()


@pytest.fixture
def files(brightness):
    """What a repository of that model holds, and a pickle that nobody may load."""
    return {
        "model.onnx": brightness.read_bytes(),
        "model.card.json": card_path(brightness).read_bytes(),
        "pytorch_model.bin": pickle.dumps("no"),
    }


@pytest.fixture
def grey(tmp_path):
    Image.fromarray(np.full((32, 40, 3), 51, np.uint8)).save(tmp_path / "grey.png")
    return tmp_path / "grey.png"


def test_a_model_scores_by_its_address(stand_in, files, grey):
    commit = stand_in.commit("ann/grey", files)
    for revision in ("main", commit):
        scorer = noref.Scorer(f"hf:ann/grey@{revision}")
        assert scorer.score(grey).value == pytest.approx(20)  # 51 / 255
    assert pickle.loads(pickle.dumps(scorer)).score(grey).value == pytest.approx(20)


def test_the_card_comes_first_and_nothing_but_card_and_model(stand_in, files):
    stand_in.commit("ann/grey", files)
    hub.fetch("hf:ann/grey@main")
    asked = [path.rpartition("/")[2] for _, path in stand_in.requests]
    assert set(asked) == {"model.card.json", "model.onnx"}
    assert max(i for i, name in enumerate(asked) if "card" in name) < asked.index("model.onnx")


def test_a_commit_that_is_there_is_never_asked_for_again(stand_in, files, grey):
    commit = stand_in.commit("ann/grey", files)
    first = hub.fetch(f"hf:ann/grey@{commit}")
    stand_in.requests.clear()
    assert hub.fetch(f"hf:ann/grey@{commit}") == first
    assert stand_in.requests == []
    stand_in.close()
    assert noref.Scorer(f"hf:ann/grey@{commit}").score(grey).value == pytest.approx(20)


def test_a_branch_moves_and_a_commit_does_not(stand_in, files):
    old = stand_in.commit("ann/grey", files)
    assert old in str(hub.fetch("hf:ann/grey@main"))
    new = stand_in.commit("ann/grey", {"README.md": b"x"})
    assert new in str(hub.fetch("hf:ann/grey@main"))
    assert old in str(hub.fetch(f"hf:ann/grey@{old}"))


@pytest.mark.parametrize(
    ("change", "kind", "reason"),
    [
        ({"model.onnx": b"other"}, ModelError, "is not the card's"),
        ({"model.card.json": b"{}"}, ModelError, "not a model card"),
        ({"model.card.json": pickle.dumps({})}, ModelError, "not a model card"),
        ({"model.card.json": None}, OptionError, "not a model of noref: there is no model.card.json"),
        ({"model.onnx": None}, OptionError, "not a model of noref: there is no model.onnx"),
    ],
)
def test_what_cannot_be_trusted_is_refused(stand_in, files, change, kind, reason):
    stand_in.commit("ann/grey", {name: b for name, b in {**files, **change}.items() if b is not None})
    with pytest.raises(kind, match=reason):
        noref.Scorer("hf:ann/grey@main")
    asked = any(path.endswith("model.onnx") for _, path in stand_in.requests)
    assert asked == ("model.card.json" not in change)  # never where the card is none


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("hf:ann/grey", "write hf:OWNER/NAME@REVISION"),
        ("hf:grey@main", "a model on the hub is hf:OWNER/NAME@REVISION"),
        ("hf:ann/grey@", "a model on the hub is"),
        ("hf:../../etc@main", "a model on the hub is"),
        ("hf:ann/none@main", "no such repository"),
        ("hf:ann/grey@v9", "no such revision"),
    ],
)
def test_addresses_that_lead_nowhere(stand_in, files, address, reason):
    stand_in.commit("ann/grey", files)
    with pytest.raises(OptionError, match=reason):
        hub.fetch(address)


def test_no_hub_and_no_copy(stand_in, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # without its retries
    with pytest.raises(ModelError, match="hf:ann/grey@main: the hub cannot be reached"):
        hub.fetch("hf:ann/grey@main")


def test_push_and_score(stand_in, brightness, grey, tmp_path, capsys):
    assert run(["push", str(brightness), "hf:ann/grey", "--message", "first"]) == 0
    address = capsys.readouterr().out.strip()
    ((commit, pushed),) = stand_in.repositories["ann/grey"]
    assert address == f"hf:ann/grey@{commit}"
    assert pushed["model.onnx"] == brightness.read_bytes()
    assert json.loads(pushed["model.card.json"])["sha256"] == read_card(brightness).sha256
    page = pushed["README.md"].decode()
    assert page.startswith("---\nlibrary_name: noref")
    assert read_card(brightness).sha256 in page
    assert run(["score", str(grey), "--model", address, "--format", "csv"]) == 0
    assert ",20.0" in capsys.readouterr().out
    stand_in.commit("ann/grey", {"README.md": b"mine"})
    assert run(["push", str(brightness), "hf:ann/grey"]) == 0
    assert stand_in.repositories["ann/grey"][-1][1]["README.md"] == b"mine"


@pytest.mark.parametrize("page", ["README.md", "docs/hub.md"])
def test_the_commands_of_the_docs_work(page, stand_in, brightness, grey, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for file in (brightness, card_path(brightness)):
        shutil.copy(file, file.name.replace("brightness", "model"))
    Path("photos").mkdir()
    grey.rename("photos/grey.png")
    text = (Path(__file__).parents[2] / page).read_text(encoding="utf-8")
    lines = [shlex.split(line, comments=True) for line in re.findall(r"^noref .*hf:.*$", text, re.MULTILINE)]
    assert [line[1] for line in lines] == ["push", "score"]
    assert run(lines[0][1:]) == 0
    commit = capsys.readouterr().out.strip().rpartition("@")[2]
    assert run([word.replace("REVISION", commit) for word in lines[1][1:]]) == 0
    assert "20.0" in capsys.readouterr().out


def test_what_push_refuses(stand_in, brightness, tmp_path, capsys):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"x")
    card_path(broken).write_bytes(card_path(brightness).read_bytes())
    for words, reason in (
        ([str(broken), "hf:ann/grey"], "is not the card's"),
        ([str(tmp_path / "none.onnx"), "hf:ann/grey"], "there is no such model file"),
        ([str(brightness), "hf:ann/grey@main"], "without a revision"),
        ([str(brightness), "ann/grey"], "a model on the hub is"),
    ):
        assert run(["push", *words]) in (1, 2)
        assert reason in capsys.readouterr().err
    assert stand_in.repositories == {}
    stand_in.token = "secret"
    assert run(["push", str(brightness), "hf:ann/grey"]) == 2
    said = capsys.readouterr().err
    assert "hf:ann/grey: " in said
    assert "secret" not in said
    assert len(said.splitlines()) == 1


def test_without_the_extra_one_line_says_what_to_install(brightness):
    code = (
        "import sys; sys.modules['huggingface_hub'] = None\n"
        "from noref.cli import run; sys.exit(run(['score', 'x.png', '--model', 'hf:ann/grey@main']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 1
    assert done.stderr == "Error: a model on the hub needs an extra: pip install 'noref[hub]'\n"


def test_every_error_is_one_of_norefs(stand_in):
    with pytest.raises(NorefError):
        hub.fetch("hf:ann/gr--ey@main")

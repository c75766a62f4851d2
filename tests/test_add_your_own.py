"""Everything in docs/add-your-own.md works as it stands there: its recipes through every command, and its Python."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("lightning_fabric", reason="needs the train extra")

import torch
import yaml

import noref.data
import noref.methods
from noref.card import read_card
from noref.cli import run
from noref.data.readers import READERS
from noref.errors import OptionError
from noref.methods import METHODS, lml_iqa
from noref.models import network as networks
from noref.models.heads import HEADS

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "add-your-own.md").read_text(encoding="utf-8")
SECTIONS = {text.partition("\n")[0]: text for text in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]}
SMALL = (
    "--backbone test_resnet --weights none --crop 64 --crops 1 --batch 8 --epochs 1 --validation 0 --accelerator cpu"
)
TINY = 'backbone="test_resnet", weights="none", width=24, heads=3, crop=64, crops=2, together=2, batch=8'


def blocks(section, kind):
    found = re.findall(rf"^```{kind}\n(.*?)^```", SECTIONS[section], flags=re.MULTILINE | re.DOTALL)
    assert found
    return found


def line(section):
    """The key and the value, as Python text, of the section's line in a dictionary."""
    (text,) = blocks(section, "text")
    (pair,) = [ast.parse(f"{{{text.strip()}}}", mode="eval").body]
    return pair.keys[0].value, ast.unparse(pair.values[0])


@pytest.fixture
def place(monkeypatch, tmp_path):
    """Write a section's first block where the page says, below a copy of the package, and import it from there."""
    made = []

    def put(section):
        code = blocks(section, "python")[0]
        path = tmp_path / code.partition("\n")[0].removeprefix("# ")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code, encoding="utf-8")
        package = importlib.import_module(f"noref.{path.parent.name}")
        name = f"{package.__name__}.{path.stem}"
        if (ROOT / path.relative_to(tmp_path)).exists():  # a class of a file that is there
            spec = importlib.util.spec_from_file_location("more_heads", path)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(path.parent)])
        made.append((package, path.stem, name))
        return importlib.import_module(name)

    yield put
    for package, stem, name in made:
        delattr(package, stem)
        del sys.modules[name]


@pytest.fixture
def folder(rated, tmp_path, monkeypatch):
    """Where the page's reader stands: photos, their scores, and a data set in a layout that no reader knows."""
    home = tmp_path / "home"
    shutil.copytree(rated.parent, home / "photos", ignore=shutil.ignore_patterns("*.csv", "*.txt"))
    shutil.copytree(home / "photos", home / "PHONES")
    rows = rated.read_text().splitlines()[1:]
    (home / "scores.csv").write_text("path,score\n" + "".join(f"photos/{row}\n" for row in rows))
    (home / "PHONES" / "opinions.csv").write_text("file,mos\n" + "".join(f"{row}\n" for row in rows))
    monkeypatch.chdir(home)
    return home


def carry_out(section, capsys):
    """Run the section's commands in their order; what each printed."""
    said = {}
    for text in "".join(blocks(section, "bash")).splitlines():
        words = shlex.split(text)
        assert words[0] == "noref"
        small = shlex.split(SMALL) if words[1] in ("train", "bench") and "--help" not in words else []
        small = [*small[:-4], *small[-2:]] if words[1] == "bench" else small  # a bench sets the parts itself
        assert run(words[1:] + small) == 0, text
        out, error = capsys.readouterr()
        assert "CAUTION" not in error
        said[words[1] if "--help" not in words else "help"] = out
    return said


def test_a_data_set_is_a_function_and_a_line(place, folder, monkeypatch, capsys):
    name, value = line("A data set")
    monkeypatch.setitem(READERS, name, eval(value, vars(place("A data set"))))
    said = carry_out("A data set", capsys)
    assert "24" in said["data"]
    assert "mean opinion scores of our phone photos, 0 to 100" in said["data"].lower()
    assert yaml.safe_load(Path("run/config.yaml").read_text())["data"] == "phones=PHONES"
    facts = json.loads(Path("bench/bench.json").read_text())["data"]["phones"]
    assert facts["note"].lower() == "mean opinion scores of our phone photos, 0 to 100"
    assert Path("bench/report.html").stat().st_size


def test_a_method_is_a_page_and_a_line(place, folder, monkeypatch, capsys):
    name, value = line("A method")
    monkeypatch.setitem(METHODS, name, ast.literal_eval(value))
    page = place("A method")
    said = carry_out("A method", capsys)
    assert "weight of the hinge in the loss." in " ".join(said["help"].split())
    assert "[default: 0.05]" in said["help"]
    assert "ordered" in _help(capsys)
    assert Path("run/log.csv").read_text().splitlines()[0] == "epoch,loss,score,order"
    assert yaml.safe_load(Path("run/config.yaml").read_text())["order"] == 0.2
    assert read_card(Path("model.onnx")).training["recipe"] == "ordered"
    assert said["score"].count("\n") == 25
    assert run(["bench", "ordered", "--data", "csv=scores.csv", "--out", "b2", "--orders", "1"]) == 2
    assert "did you mean order" in capsys.readouterr().err
    with pytest.raises(OptionError, match="margin must be at least 0"):
        page.train(page.Config(margin=-1), "csv=scores.csv", "other")
    assert not Path("other").exists()


def _help(capsys):
    assert run(["train", "--help"]) == 0
    return capsys.readouterr().out


def test_the_pages_loss_is_what_it_says(place):
    page = place("A method")

    class Alone:
        world_size = 1

    _, term = page.terms(page.Config(margin=0.1), noref.card.Scale(0, 100), Alone())
    seen = page.Forward(torch.tensor([[0.2, 0.4], [0.5, 0.5], [0.35, 0.35]]), torch.tensor([0.9, 0.1, 0.5]), None)
    # pairs (0, 1), (0, 2), (2, 1), the better one first, of mean scores 0.3, 0.5, 0.35
    assert term.loss(seen).item() == pytest.approx((0.3 + 0.15 + 0.25) / 3)
    assert term.whole_batch


def test_a_head_is_a_class_and_a_line(place, folder, monkeypatch, capsys):
    name, value = line("A head")
    kind = eval(value, vars(place("A head")))
    monkeypatch.setitem(HEADS, name, kind)
    said = carry_out("A head", capsys)
    assert f"panel, pooled, tokens or {name}" in " ".join(said["help"].split())
    net, card = networks.load(Path("run/model.safetensors"))
    assert isinstance(net.head, kind)
    assert f"{name} head" in card.method
    assert said["score"].count("\n") == 25
    assert len(list(Path("maps").glob("*.png"))) == 24
    features = net.features(torch.rand(2, 3, 64, 64))
    weights = torch.softmax(net.head.gate(net.head.norm(features.tokens)), dim=1)
    wanted = (weights * net.head.norm(features.tokens)).sum(dim=1)
    torch.testing.assert_close(net.head.read(features)[0], wanted)


def test_one_file_outside_of_the_package_holds_all(folder):
    parts = [blocks(section, "python")[0] for section in ("A data set", "A method", "A head", "Outside of the package")]
    future = "from __future__ import annotations\n"
    Path("mine.py").write_text(future + "".join(part.replace(future, "") for part in parts), encoding="utf-8")
    small = shlex.split(SMALL)
    for text in "".join(blocks("Outside of the package", "bash")).splitlines():
        words = shlex.split(text)
        assert words[0] == "python"
        call = [sys.executable, *words[1:], *(small if "train" in words else [])]
        done = subprocess.run(call, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": ROOT / "src"})
        assert done.returncode == 0, done.stderr
        assert "srcc" in done.stdout.lower()


def test_training_from_python(folder, capsys):
    (code,) = blocks("Training from Python", "python")
    assert len([text for text in code.splitlines() if text and "import" not in text]) <= 20
    tiny = (
        code.replace('backbone="mobilenetv2_100"', TINY).replace("epochs=5", "epochs=1").replace("epochs=8", "epochs=2")
    )
    assert tiny.count("test_resnet") == 1
    space = {}
    exec(compile(tiny, "add-your-own.md", "exec"), space)
    said = capsys.readouterr().out.splitlines()
    assert float(said[0].split()[0]) == space["metrics"]["srcc"]
    assert 0 <= float(said[-1]) <= 100
    for run_folder, data, epochs in (("run", "csv=scores.csv", 2), ("run-1", "records=", 1)):
        saved = yaml.safe_load(Path(run_folder, "config.yaml").read_text())
        assert (saved["recipe"], saved["data"], saved["epochs"]) == ("lml_iqa", data, epochs)
        assert len(Path(run_folder, "log.csv").read_text().splitlines()) == 1 + epochs
        for name in ("config.yaml", "log.csv", "model.safetensors", "predictions.csv", "results.json"):
            assert Path(run_folder, name).stat().st_size
            assert name in SECTIONS["Training from Python"]


def test_the_losses_in_a_loop_of_your_own(capsys):
    (code,) = blocks("The losses in a loop of your own", "python")
    space = {}
    exec(compile(code, "add-your-own.md", "exec"), space)
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert all(torch.isfinite(weight.grad).all() and weight.grad.any() for weight in space["network"].parameters())
    assert space["loss"].isfinite()


def test_the_contract_names_what_there_is():
    from noref.methods import arniqa, csiqa
    from noref.train import config, setup, supervised

    contract = SECTIONS["A method"]
    assert len(re.findall(r"^\d+\. ", contract, flags=re.MULTILINE)) == 10
    known = {**vars(config), **vars(setup), **vars(supervised)}
    for name in (
        "Supervised",
        "Data",
        "Network",
        "Optimiser",
        "Hardware",
        "opened",
        "Term",
        "Forward",
        "Hooks",
        "gathered",
    ):
        assert f"`{name}" in contract
        assert name in known
    assert lml_iqa.MutualLearning.__mro__[1] is supervised.Hooks
    assert callable(csiqa.teacher)
    assert callable(arniqa.train)


def test_the_page_is_linked():
    for page in ("README.md", "CONTRIBUTING.md", "docs/design.md", "docs/data.md"):
        assert "add-your-own.md" in (ROOT / page).read_text(encoding="utf-8"), page
    for target in re.findall(r"\]\(([^)#:]+)", PAGE):
        assert (ROOT / "docs" / target).exists(), target

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import noref

NAMES = {
    "Card",
    "DataError",
    "ImageError",
    "MissingExtraError",
    "ModelError",
    "NorefError",
    "OptionError",
    "Preprocessing",
    "Reason",
    "Scale",
    "Score",
    "Scorer",
    "__version__",
    "load_torch",
    "score",
}


def loaded_by(code):
    """The modules that a fresh interpreter has loaded after running the code."""
    script = f"import sys\n{code}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def test_the_public_names_are_these():
    assert set(noref.__all__) == NAMES
    assert len(noref.__all__) == len(NAMES)
    assert set(dir(noref)) >= NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_each_name_is_there_and_documented(name):
    value = getattr(noref, name)
    if name != "__version__":
        assert inspect.getdoc(value)
        assert value.__module__.startswith("noref.")
    assert getattr(noref, name) is value


def test_star_import_gives_the_names():
    space: dict[str, object] = {}
    exec("from noref import *", space)
    assert space.keys() >= NAMES


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'noref' has no attribute 'scorer'"):
        noref.scorer  # noqa: B018


def test_the_version_is_the_packages():
    from importlib.metadata import version

    assert noref.__version__ == version("noref")


def test_importing_noref_loads_nothing_heavy():
    assert not loaded_by("import noref; noref.NorefError; noref.Scale(0, 1)") & {
        "torch",
        "onnxruntime",
        "numpy",
        "PIL",
        "click",
        "rich",
    }


def test_onnxruntime_waits_for_the_first_model():
    assert not loaded_by("import noref; noref.Scorer; noref.score; import noref.cli") & {"onnxruntime", "torch", "rich"}


def test_scoring_needs_no_torch(brightness):
    code = f"import noref, numpy; noref.score(numpy.zeros((300, 300, 3), 'uint8'), model={str(brightness)!r})"
    assert not loaded_by(code) & {"torch", "torchvision", "timm", "scipy", "cv2", "sklearn", "pandas", "rich", "click"}


def test_the_command_line_loads_rich_only_where_it_shows(brightness, tmp_path):
    from PIL import Image

    Image.new("RGB", (300, 300)).save(tmp_path / "a.png")
    code = f"from noref.cli import run; run(['score', {str(tmp_path)!r}, '--model', {str(brightness)!r}])"
    assert not loaded_by(code) & {"torch", "rich", "scipy", "cv2", "importlib.metadata"}

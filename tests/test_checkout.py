"""The commit that a measurement names is the one whose source runs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from noref import checkout


def git(folder: Path, *words: str) -> str:
    name = ["-c", "user.name=n", "-c", "user.email=n@example.org"]
    return subprocess.run(["git", *name, *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A checkout of two files, one of which stands for this module."""
    git(tmp_path, "init", "-q")
    file = tmp_path / "checkout.py"
    file.write_text("")
    (tmp_path / "other.py").write_text("")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    monkeypatch.setattr(checkout, "__file__", str(file))
    return tmp_path


def test_a_clean_checkout_is_its_head(source):
    assert git(source, "rev-parse", "HEAD").startswith(checkout.commit())


def test_a_changed_file_is_said(source):
    (source / "other.py").write_text("changed")
    assert checkout.commit().endswith("-dirty")


def test_installed_below_a_foreign_checkout_has_no_commit(source, monkeypatch):
    foreign = source / "site-packages" / "checkout.py"
    foreign.parent.mkdir()
    foreign.write_text("")
    monkeypatch.setattr(checkout, "__file__", str(foreign))
    assert checkout.commit() is None


def test_without_git_there_is_no_commit(source, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert checkout.commit() is None

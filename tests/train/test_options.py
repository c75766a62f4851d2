from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Literal

import pytest
import yaml

from noref.errors import DataError, OptionError
from noref.methods import deiqt
from noref.train.options import build, given_pairs, options_of, read_yaml, to_yaml


@dataclass(frozen=True)
class Config:
    """An example.

    Args:
        lr: learning rate,
            told in two lines.
        size: of something; none: free.
        mean: three numbers.
        kind: which.
    """

    lr: float = 2e-4
    size: int | None = 7
    mean: tuple[float, float, float] | None = None
    kind: Literal["big", "small"] = "big"
    flip: bool = True
    name: str = "x"


def test_the_command_line_and_yaml_say_the_same(tmp_path):
    (tmp_path / "c.yaml").write_text("lr: 1e-3\nsize: null\nmean: [0.5, 0.5, 1]\nkind: small\nflip: false\nname: 12\n")
    words = ["--lr", "1e-3", "--size", "none", "--mean", "0.5,0.5,1", "--kind", "small", "--flip", "no", "--name", "12"]
    expected = Config(1e-3, None, (0.5, 0.5, 1.0), "small", False, "12")
    assert build(Config, read_yaml(tmp_path / "c.yaml")) == expected
    assert build(Config, given_pairs(words)) == expected


@dataclass(frozen=True)
class Renamed:
    """One with an earlier name."""

    ALIASES: ClassVar[dict[str, str]] = {"speed": "lr"}
    lr: float = 0.1


def test_an_earlier_name_of_an_option_is_taken_with_a_note(tmp_path, capsys):
    (tmp_path / "c.yaml").write_text("# of an old run\nspeed: 2\n")
    assert build(Renamed, read_yaml(tmp_path / "c.yaml")) == Renamed(2.0)
    assert capsys.readouterr().err == f"{tmp_path / 'c.yaml'}, line 2: speed is now called lr\n"
    assert build(Renamed, read_yaml(tmp_path / "c.yaml"), given_pairs(["--lr", "3"])) == Renamed(3.0)
    assert capsys.readouterr().err == ""  # it was said
    assert build(Renamed, given_pairs(["--speed", "4"])) == Renamed(4.0)
    assert capsys.readouterr().err == "--speed: speed is now called lr\n"
    assert [option.name for option in options_of(Renamed)] == ["lr"]
    assert to_yaml(Renamed()) == "lr: 0.1\n"
    with pytest.raises(OptionError, match="unknown option 'ALIASES'"):
        build(Renamed, given_pairs(["--ALIASES", "x"]))
    with pytest.raises(OptionError, match="--speed: 'x' is not a number"):
        build(Renamed, given_pairs(["--speed", "x"]))


def test_nothing_given_is_the_defaults():
    assert build(Config) == Config()


def test_later_sources_win(tmp_path):
    (tmp_path / "c.yaml").write_text("lr: 1\nsize: 2\n")
    assert build(Config, read_yaml(tmp_path / "c.yaml"), given_pairs(["--lr=3"])) == Config(3.0, 2)


@pytest.mark.parametrize(
    "config",
    [
        Config(),
        Config(1e-7, None, (0.1, 0.2, 0.3), "small", False),
        deiqt.Config(),
        deiqt.Config(clip=None, mean=(0.5,) * 3),
    ],
)
def test_what_is_written_reads_back(tmp_path, config):
    (tmp_path / "c.yaml").write_text(to_yaml(config))
    assert build(type(config), read_yaml(tmp_path / "c.yaml")) == config


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--lrr", "1"], r"unknown option 'lrr': did you mean lr\?"),
        (["--lr", "fast"], r"--lr: 'fast' is not a number"),
        (["--size", "2.5"], r"--size: '2.5' is not a whole number or none"),
        (["--kind", "huge"], r"--kind: 'huge' is not big or small"),
        (["--mean", "1,2"], r"--mean: '1,2' is not 3 numbers"),
        (["--flip", "perhaps"], r"--flip: 'perhaps' is not yes or no"),
        (["lr", "1"], r"'lr' is no option"),
        (["--lr"], r"--lr needs a value"),
    ],
)
def test_wrong_words_say_what_is_wrong(words, says):
    with pytest.raises(OptionError, match=says):
        build(Config, given_pairs(words))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("lr: 1\nseize: 2\n", r"c\.yaml, line 2: unknown option 'seize': did you mean size\?"),
        ("\nlr: true\n", r"c\.yaml, line 2: True is not a number"),
        ("size: 2.0\n", r"line 1: 2\.0 is not a whole number"),
        ("lr: null\n", r"line 1: None is not a number"),
        ("mean: 3\n", r"line 1: 3 is not 3 numbers"),
    ],
)
def test_wrong_lines_are_named(tmp_path, text, says):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(OptionError, match=says):
        build(Config, read_yaml(tmp_path / "c.yaml"))


@pytest.mark.parametrize("text", ["lr: [1\n", "- 1\n- 2\n", "just words", "1: 2\n", "a: b: c\n"])
def test_files_that_are_no_config_are_named(tmp_path, text):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(DataError, match=r"c\.yaml"):
        read_yaml(tmp_path / "c.yaml")


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        read_yaml(tmp_path / "absent.yaml")
    (tmp_path / "c.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"c\.yaml"):
        read_yaml(tmp_path / "c.yaml")


def test_yaml_makes_no_objects(tmp_path):
    (tmp_path / "c.yaml").write_text("lr: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(DataError, match="not YAML"):
        read_yaml(tmp_path / "c.yaml")


def test_an_empty_file_changes_nothing(tmp_path):
    (tmp_path / "c.yaml").write_text("# only a remark\n")
    assert build(Config, read_yaml(tmp_path / "c.yaml")) == Config()


def test_help_comes_from_the_docstring():
    lr, size, mean, kind, flip, _ = options_of(Config)
    assert (lr.kind, lr.default, lr.help) == ("number", "0.0002", "learning rate, told in two lines.")
    assert (size.kind, size.default) == ("whole number or none", "7")
    assert (mean.kind, mean.default) == ("3 numbers with commas or none", "none")
    assert (kind.kind, kind.default) == ("big or small", "big")
    assert (flip.kind, flip.default, flip.help) == ("yes or no", "yes", "")


def test_every_option_of_the_recipe_is_documented():
    assert not [option.name for option in options_of(deiqt.Config) if not option.help]
    assert yaml.safe_load(to_yaml(deiqt.Config())).keys() == {f.name for f in dataclasses.fields(deiqt.Config)}

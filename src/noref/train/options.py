"""One typed dataclass is a method's Python signature, its YAML file, its command-line options and its help.

A config class may have `ALIASES`, old name -> new name, and `REMOVED`, name -> the default it had and what to do
instead. A file or a call with an old name goes on, with a note. `BEFORE` has, for an option that was added with another
default than what was done before, what was done: runs and benches that are older go on with it.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import re
import types
import typing
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from rich.console import Console

from noref.errors import DataError, OptionError, unknown

Config = TypeVar("Config")
BARE = "\0"  # the value of an option that was typed without one: yes, where it takes yes or no
Given = dict[str, tuple[Any, str]]  # option -> its value, and where it stands, for messages


@dataclass(frozen=True)
class Option:
    """One field of a method's config, as help prints it."""

    name: str
    kind: str  # what values it takes, in words
    default: str  # as it would be typed
    help: str  # what the config's docstring says of it

    @property
    def flag(self) -> str:
        """As it is typed: `--layer-decay`."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def words(self) -> str:
        """Its help with its default."""
        return f"{self.help}  [default: {self.default or 'empty'}]"


def options_of(config: type[Any]) -> list[Option]:
    """The fields of a config dataclass with what its docstring says of each, in order, inherited ones behind its own.

    Example:
        >>> @dataclass(frozen=True)
        ... class Config:
        ...     '''Numbers.
        ...
        ...     Args:
        ...         lr: learning rate.
        ...     '''
        ...     lr: float = 0.1
        >>> options_of(Config)
        [Option(name='lr', kind='number', default='0.1', help='learning rate.')]
    """
    said: dict[str, str] = {}
    for kind in config.__mro__:
        said = {**said, **{name: words for name, words in _docs(kind).items() if name not in said}}
    hints = typing.get_type_hints(config)
    places = list(said)
    fields = sorted(
        dataclasses.fields(config), key=lambda field: places.index(field.name) if field.name in said else len(places)
    )
    return [Option(f.name, _kind(hints[f.name], f.metadata), _typed(f.default), said.get(f.name, "")) for f in fields]


def read_yaml(path: Path) -> Given:
    """A YAML file of one `key: value` a line -> each key's value, and where it stands, for messages.

    Raises:
        DataError: missing, unreadable, or not such a file; names file and line.
    """
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, yaml.SafeLoader)
        values = yaml.safe_load(text) or {}
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        raise DataError(f"{path}{place}: not YAML: {getattr(error, 'problem', None) or error}") from error
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise DataError(f"{path}: a config is one 'key: value' a line")
    lines = {key.value: key.start_mark.line + 1 for key, _ in node.value} if node is not None else {}
    return {key: (value, f"{path}, line {lines.get(key, 1)}: ") for key, value in values.items()}


def given_pairs(words: Sequence[str]) -> Given:
    """`--key value` and `--key=value` words of a command line -> values, as `read_yaml` gives them.

    An option without a value gets `BARE`, which `build` takes for yes.

    Raises:
        OptionError: a word that is no option.

    Example:
        >>> given_pairs(["--lr", "1e-4", "--layer-decay=0.8"])
        {'lr': ('1e-4', '--lr: '), 'layer_decay': ('0.8', '--layer-decay: ')}
    """
    found: Given = {}
    left = list(words)
    while left:
        word = left.pop(0)
        flag, equals, value = word.partition("=")
        if not flag.startswith("--") or len(flag) < 3:
            raise OptionError(f"{word!r} is no option; options are --key value")
        if not equals:
            value = left.pop(0) if left and not left[0].startswith("--") else BARE
        found[flag[2:].replace("-", "_")] = (value, f"{flag}: ")
    return found


def build(config: type[Config], *sources: Mapping[str, tuple[Any, str]]) -> Config:
    """A config from its defaults and what sources say otherwise; later sources win.

    Args:
        config: a dataclass whose fields are int, float, bool, str, Literal, tuple of float, or one of those or None.
        sources: as `read_yaml` and `given_pairs` return them.

    Raises:
        OptionError: an unknown key, or a value of another kind; says where it stands.
    """
    hints = typing.get_type_hints(config)
    fields = {field.name: field for field in dataclasses.fields(config)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for source in sources:
        for key, (value, place) in renamed(config, source).items():
            if key not in fields:
                raise OptionError(f"{place if ', line ' in place else ''}{unknown('option', key, fields)}")
            if value == BARE and hints[key] is not bool:
                raise OptionError(f"{place.removesuffix(': ')} needs a value")
            try:
                values[key] = True if value == BARE else convert(value, hints[key])
            except (TypeError, ValueError) as error:
                raise OptionError(f"{place}{value!r} is not {_expected(hints[key])}") from error
            choices = fields[key].metadata.get("choices")
            if choices and values[key] not in choices:
                raise OptionError(f"{place}{value!r} is not {_one_of(choices)}")
    return config(**values)


def renamed(config: type[Any], given: Mapping[str, tuple[Any, str]]) -> Given:
    """The same options under today's names, without those that are gone; what was changed is said once on stderr.

    Raises:
        OptionError: an option that is gone, with a value that would need it.
    """
    aliases, removed = getattr(config, "ALIASES", {}), getattr(config, "REMOVED", {})
    names = {field.name for field in dataclasses.fields(config)}
    found: Given = {}
    for key, (value, place) in given.items():
        if key in names or key not in {**aliases, **removed}:
            found[key] = (value, place)
        elif key in aliases:
            found[aliases[key]] = (value, place)
            _note(f"{place}{key} is now called {aliases[key]}")
        else:
            default, instead = removed[key]
            if default is not None and str(value).lower() not in (default.lower(), {"False": "no"}.get(default)):
                raise OptionError(f"{place}{key} is no option any more: {instead}")
            if place.startswith("--"):
                _note(f"{place}{key} is no option any more: {instead}")
    return found


def before(config: type[Any], given: Container[str], saved: Mapping[str, Any] | None = None) -> Given:
    """What holds, of the options in `BEFORE`, for a run or bench that was begun earlier.

    Args:
        config: the method's.
        given: options that are said; they are left out.
        saved: what is known of the run or bench; what is not in it either was not there yet.
    """
    older: Mapping[str, str] = getattr(config, "BEFORE", {})
    held = {**older, **(saved or {})}
    return {name: (held[name], f"--{name}: ") for name in older if name not in given}


@functools.cache
def _note(text: str) -> None:
    Console(stderr=True, soft_wrap=True).print(text, highlight=False, markup=False)


def to_yaml(config: Any) -> str:
    """A config as the YAML that `build` reads back to the same config."""
    plain = {key: list(v) if isinstance(v, tuple) else v for key, v in dataclasses.asdict(config).items()}
    return yaml.safe_dump(plain, sort_keys=False)


def convert(value: Any, kind: Any) -> Any:
    """One value, typed already or still text, as what a field's hint asks for."""
    origin, choices = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None or str(value).lower() in ("none", "null"):
            return None
        return convert(value, next(choice for choice in choices if choice is not type(None)))
    if origin is Literal:
        if str(value) not in choices:
            raise ValueError(value)
        return str(value)
    if origin is tuple:
        parts = value.split(",") if isinstance(value, str) else value
        if isinstance(parts, str) or (len(choices) != len(parts) and choices[-1] is not Ellipsis):
            raise ValueError(value)
        return tuple(convert(part, choices[0]) for part in parts)
    if kind is bool:
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        return value if isinstance(value, bool) else words[str(value).lower()] if str(value).lower() in words else _no()
    if isinstance(value, bool) or value is None:
        raise ValueError(value)
    if kind is int and isinstance(value, float):
        raise ValueError(value)
    found = kind(value)
    if kind is float and not math.isfinite(found):
        raise ValueError(value)
    return found


def _no() -> bool:
    raise ValueError("neither yes nor no")


def _kind(kind: Any, metadata: Mapping[Any, Any]) -> str:
    """A type in words; choices that a registry gives stand in a field's metadata."""
    if "choices" in metadata:
        return _one_of(metadata["choices"])
    origin, choices = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return " or ".join("none" if choice is type(None) else _kind(choice, {}) for choice in choices)
    if origin is Literal:
        return _one_of(choices)
    if origin is tuple:
        count = "" if choices[-1] is Ellipsis else f"{len(choices)} "
        return f"{count}numbers with commas"
    return {int: "whole number", float: "number", bool: "yes or no", str: "text"}[kind]


def _expected(kind: Any) -> str:
    """As `_kind`, to stand in a sentence: `a whole number or none`."""
    return re.sub(r"^(whole )?number\b", r"a \g<0>", _kind(kind, {}))


def _one_of(names: Iterable[str]) -> str:
    """`panel, pooled or tokens`."""
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


def _typed(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return ",".join(f"{part:g}" for part in value)
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _docs(config: type[Any]) -> dict[str, str]:
    """Field name -> its words in the docstring's `Args:` block."""
    text = inspect.cleandoc(config.__doc__ or "")
    block = re.search(r"^Args:\n((?:    .*\n?|\n)+)", text, re.MULTILINE)
    entries = re.findall(r"^    (\w+): (.*(?:\n        .*)*)", block.group(1) if block else "", re.MULTILINE)
    return {name: " ".join(words.split()) for name, words in entries}

"""Metrics of IQA-PyTorch, where that is installed: `pyiqa:NAME`. It is no part of noref and has its own licence."""

from __future__ import annotations

from typing import Any

from noref.errors import OptionError, unknown

PREFIX = "pyiqa:"


def create_metric(source: str) -> Any:
    """The metric of `pyiqa:NAME` on the CPU, a torch module: (B, 3, H, W) in [0, 1] -> (B,), with `.lower_better`.

    Raises:
        OptionError: IQA-PyTorch is not installed, has no such metric, or cannot make it, as without its weights.
    """
    name = source.removeprefix(PREFIX)
    try:
        import pyiqa  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise OptionError(f"{source} needs IQA-PyTorch, which is not installed: pip install pyiqa") from error
    if name not in pyiqa.list_models():
        raise unknown("metric of IQA-PyTorch", name, pyiqa.list_models())
    try:
        return pyiqa.create_metric(name, device="cpu")
    except Exception as error:  # whatever another project may raise: no network, no weights, a broken download
        raise OptionError(f"{source}: {next(iter(str(error).splitlines()), type(error).__name__)}") from error

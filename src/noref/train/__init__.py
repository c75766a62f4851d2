"""What every page of a method stands on: options, run folder, loop, state, evaluator, caches."""

from importlib.util import find_spec

from noref.errors import MissingExtraError

if not all(map(find_spec, ("torch", "timm", "lightning_fabric", "safetensors", "yaml"))):
    raise MissingExtraError("train", "noref.train")

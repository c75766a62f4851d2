"""One paper is one page."""

from importlib.util import find_spec

from noref.errors import MissingExtraError

if not all(map(find_spec, ("torch", "timm", "lightning_fabric", "safetensors", "yaml"))):
    raise MissingExtraError("train", "noref.recipes")

"""Arrays and tensors as pictures. Where an array may mean two things, the error says the call that is right."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from noref.errors import ImageError

CHANNELS = (1, 2, 3, 4)  # grey, grey with alpha, RGB, RGBA
KINDS = "a path, an open binary file, a PIL image, the bytes of an image file, or an (H, W, 3) uint8 RGB array"


def is_tensor(source: object) -> bool:
    """Whether it is a torch tensor, without importing torch."""
    return type(source).__module__.partition(".")[0] == "torch" and hasattr(source, "detach")


def from_tensor(tensor: Any) -> NDArray[Any]:
    """A tensor (C, H, W) or (H, W) as an array (H, W, C) or (H, W), with the same values.

    Raises:
        ImageError: it has another shape.
    """
    tensor = tensor.detach().cpu()
    shape = tuple(tensor.shape)
    if len(shape) == 4:
        raise ImageError(f"a tensor must be (C, H, W), got {shape}: for one picture of a batch give tensor[0]")
    if len(shape) == 3 and shape[0] not in CHANNELS and shape[2] in CHANNELS:
        raise ImageError(f"a tensor must be (C, H, W), got {shape}: give tensor.permute(2, 0, 1)")
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[0] not in CHANNELS):
        raise ImageError(f"a tensor must be (C, H, W) with 1 to 4 channels, or (H, W), got {shape}")
    if tensor.is_floating_point():
        tensor = tensor.float()  # numpy has no bfloat16
    array: NDArray[Any] = tensor.numpy()
    return array if array.ndim == 2 else array.transpose(1, 2, 0)


def to_rgb(array: NDArray[Any]) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB from grey, grey with alpha, RGB or RGBA; a picture with alpha lies on white.

    Args:
        array: (H, W) or (H, W, C) with 1 to 4 channels; uint8, uint16 up to 65535, or floats in [0, 1].

    Raises:
        ImageError: another shape, type or range.
    """
    got = f"got {array.shape} {array.dtype}"
    if array.ndim == 4:
        raise ImageError(f"an array must be (H, W, 3) uint8 RGB or like it, {got}: for one picture give array[0]")
    if array.ndim == 3 and array.shape[0] in CHANNELS and array.shape[2] not in CHANNELS:
        raise ImageError(f"an array must be (H, W, 3) uint8 RGB or like it, {got}: give array.transpose(1, 2, 0)")
    if array.ndim not in (2, 3) or 0 in array.shape or (array.ndim == 3 and array.shape[2] not in CHANNELS):
        raise ImageError(f"an array must be (H, W, 3) uint8 RGB, or (H, W) or (H, W, C) with 1 to 4 channels, {got}")
    values = _eight_bits(array, got)
    if values.ndim == 2:
        values = values[..., None]
    if values.shape[2] in (2, 4):
        alpha = values[..., -1:].astype(np.float32) / 255
        values = np.rint(values[..., :-1] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    return values if values.shape[2] == 3 else np.repeat(values, 3, axis=2)


def _eight_bits(array: NDArray[Any], got: str) -> NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.uint16:
        high = int(array.max())
        if 0 < high < 4096:  # so dark that it rather has 8, 10 or 12 bits
            bits = next(bits for bits in (8, 10, 12) if high < 2**bits)
            call = "array.astype(np.uint8)" if bits == 8 else f"array / {2**bits - 1}"
            raise ImageError(f"uint16 means 0 to 65535, {got} with values up to {high}: for {bits} bits give {call}")
        return np.rint(array / np.float32(257)).astype(np.uint8)
    if array.dtype.kind == "f":
        least, most = float(array.min()), float(array.max())
        if not (least >= 0 and most <= 1):  # also true for nan
            advice = ": for 0 to 255 give array / 255" if least >= 0 and 1 < most <= 255 else ""
            raise ImageError(f"floats must lie in [0, 1], {got} with values from {least:g} to {most:g}{advice}")
        return np.rint(array * 255.0).astype(np.uint8)
    advice = "array.astype(float)" if array.dtype == np.bool_ else "array.astype(np.uint8) for values from 0 to 255"
    raise ImageError(f"an array must be (H, W, 3) uint8, uint16 or floats in [0, 1], {got}: give {advice}")

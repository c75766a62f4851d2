"""ICC profiles made by program: matrix profiles for RGB, curves for grey, tables for CMYK."""

from __future__ import annotations

import struct

import numpy as np

D50 = np.array([0.9642, 1.0, 0.8249])
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
D65 = (0.3127, 0.329)
SPACES = {  # chromaticities of red, green, blue and white, and the exponent of the curve; 0 is sRGB's curve
    "sRGB": ([(0.64, 0.33), (0.3, 0.6), (0.15, 0.06)], D65, 0),
    "Display P3": ([(0.68, 0.32), (0.265, 0.69), (0.15, 0.06)], D65, 0),
    "Adobe RGB": ([(0.64, 0.33), (0.21, 0.71), (0.15, 0.06)], D65, 563 / 256),
    "ProPhoto": ([(0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001)], (0.3457, 0.3585), 1.8),
}


def _xyz(x, y):
    return np.array([x / y, 1, (1 - x - y) / y])


def matrix_to_d50(space):
    """Columns: the XYZ of the three primaries, adapted to D50."""
    primaries, white, _ = SPACES[space]
    columns = np.stack([_xyz(*point) for point in primaries], axis=1)
    columns = columns * np.linalg.solve(columns, _xyz(*white))
    gains = np.diag((BRADFORD @ D50) / (BRADFORD @ _xyz(*white)))
    return np.linalg.inv(BRADFORD) @ gains @ BRADFORD @ columns


def linear(values):
    """Light of sRGB values in [0, 1]."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def encoded(light):
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def _f(t):
    return np.where(t > 216 / 24389, np.cbrt(t), (24389 / 27 * t + 16) / 116)


def lab_of(rgb):
    """CIELAB (D50) of sRGB values in [0, 1], any shape (..., 3)."""
    x, y, z = np.moveaxis(_f(linear(rgb) @ matrix_to_d50("sRGB").T / D50), -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def rgb_of(lab):
    fy = (lab[..., 0] + 16) / 116
    f = np.stack([fy + lab[..., 1] / 500, fy, fy - lab[..., 2] / 200], axis=-1)
    xyz = np.where(f**3 > 216 / 24389, f**3, (116 * f - 16) * 27 / 24389) * D50
    return encoded(xyz @ np.linalg.inv(matrix_to_d50("sRGB")).T)


def _number(value):
    return struct.pack(">i", round(value * 65536))


def _curve(exponent):
    if exponent:
        return b"curv" + bytes(4) + struct.pack(">IH", 1, round(exponent * 256)) + bytes(2)
    table = np.rint(linear(np.linspace(0, 1, 1024)) * 65535).astype(">u2").tobytes()
    return b"curv" + bytes(4) + struct.pack(">I", 1024) + table


def _profile(kind, space, connection, tags):
    text = b"desc" + bytes(4) + struct.pack(">I", 5) + b"made\0" + bytes(78)
    tags = {b"desc": text, b"cprt": b"text" + bytes(4) + b"free\0", b"wtpt": _point(D50), **tags}
    at, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        table += name + struct.pack(">II", at + len(body), len(data))
        body += data
    head = struct.pack(">I4sI4s4s4s", at + len(body), b"none", 0x02400000, kind, space, connection)
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + b"".join(map(_number, D50)) + bytes(48)
    return head + struct.pack(">I", len(tags)) + table + body


def _point(xyz):
    return b"XYZ " + bytes(4) + b"".join(map(_number, xyz))


def rgb_profile(space):
    """One of `SPACES`."""
    columns, curve = matrix_to_d50(space).T, _curve(SPACES[space][2])
    tags = {name + b"XYZ": _point(column) for name, column in zip((b"r", b"g", b"b"), columns, strict=True)}
    return _profile(b"mntr", b"RGB ", b"XYZ ", tags | {name + b"TRC": curve for name in (b"r", b"g", b"b")})


def grey_profile(exponent):
    return _profile(b"mntr", b"GRAY", b"XYZ ", {b"kTRC": _curve(exponent)})


def _table(values, inputs, outputs):
    """A `mft2` tag from a grid of 16-bit values, shape (grid, ..., outputs)."""
    ends = np.array([0, 65535], ">u2").tobytes()
    head = b"mft2" + bytes(4) + struct.pack(">4B", inputs, outputs, values.shape[0], 0)
    head += b"".join(_number(value) for value in np.eye(3).ravel()) + struct.pack(">HH", 2, 2)
    return head + ends * inputs + np.rint(values).astype(">u2").tobytes() + ends * outputs


def cmyk_profile():
    """A press whose inks are darker than `1 - ink`: without the profile its pictures have other colours."""
    steps = np.linspace(0, 1, 9)
    ink = np.stack(np.meshgrid(steps, steps, steps, steps, indexing="ij"), axis=-1)
    light = (1 - ink[..., :3] ** 0.8) * (1 - ink[..., 3:] ** 0.8)
    lab = lab_of(light)
    to_lab = np.stack([lab[..., 0] * 652.8, (lab[..., 1] + 128) * 256, (lab[..., 2] + 128) * 256], axis=-1)
    axis = np.linspace(0, 65535, 33)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    rgb = rgb_of(np.stack([grid[..., 0] / 652.8, grid[..., 1] / 256 - 128, grid[..., 2] / 256 - 128], axis=-1))
    inks = np.concatenate([(1 - rgb) ** 1.25, np.zeros((*rgb.shape[:-1], 1))], axis=-1)
    tags = {b"A2B0": _table(to_lab.clip(0, 65535), 4, 3), b"B2A0": _table(inks * 65535, 3, 4)}
    return _profile(b"prtr", b"CMYK", b"Lab ", tags)

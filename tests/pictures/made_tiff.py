"""TIFF files made by program: any sample type, byte order, BigTIFF, previews and children."""

from __future__ import annotations

import struct

import numpy as np

KINDS = {"u": 1, "i": 2, "f": 3}


def tiff(pictures, order="<", big=False, canon=False):
    """A TIFF of several directories.

    Args:
        pictures: each a dict: `pixels` (H, W) or (H, W, 3), or `data` (bytes) with `size`; `photometric`; `tags`, more
            tags, a number or (type, count, bytes); `child`, True for a picture in the SubIFDs of the first.
        canon: the mark of a CR2.
    """
    pointer = "Q" if big else "I"
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "H", 43 if big else 42)
    head += struct.pack(order + "HH", 8, 0) if big else b""
    body = bytearray(head + bytes(8 if big else 4))
    body += b"CR\2\0" + bytes(4) if canon else b""
    links = [len(head)]  # where the offset of the next directory of the chain belongs
    children = [one for one in pictures if one.get("child")]
    at_child = {}
    for one in [*children, *(one for one in pictures if not one.get("child"))]:
        main = not one.get("child")
        tags = _tags(one, order, body)
        if main and children and len(links) == 1:
            tags[330] = [at_child[id(child)] for child in children]
        place = _write_directory(body, tags, order, big)
        if main:
            body[links[-1] : links[-1] + struct.calcsize(pointer)] = struct.pack(order + pointer, place)
            links.append(len(body) - struct.calcsize(pointer))
        else:
            at_child[id(one)] = place
    return bytes(body)


def _tags(one, order, body):
    body += bytes(len(body) % 2)
    if "data" in one:
        data, (width, height), bits, samples, kind = one["data"], one["size"], 8, 3, 1
    else:
        pixels = one["pixels"]
        height, width = pixels.shape[:2]
        samples = 1 if pixels.ndim == 2 else pixels.shape[2]
        bits, kind = 8 * pixels.itemsize, KINDS[pixels.dtype.kind]
        data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    tags = {256: [width], 257: [height], 258: [bits] * samples, 259: [1], 262: [one.get("photometric", 1)]}
    tags |= {273: [len(body)], 277: [samples], 278: [height], 279: [len(data)], 339: [kind] * samples}
    body += data
    return tags | {tag: value if isinstance(value, tuple) else [value] for tag, value in one.get("tags", {}).items()}


def _write_directory(body, tags, order, big):
    inline, pointer = (8, "Q") if big else (4, "I")
    entries = b""
    for tag, values in sorted(tags.items()):
        if isinstance(values, tuple):
            kind, count, data = values
        else:
            kind, count = (4 if tag in (273, 279, 330) else 3), len(values)
            data = struct.pack(f"{order}{count}{'H' if kind == 3 else 'I'}", *values)
        entries += struct.pack(order + ("HHQ" if big else "HHI"), tag, kind, count)
        if len(data) > inline:
            body += bytes(len(body) % 2)
            entries += struct.pack(order + pointer, len(body))
            body += data
        else:
            entries += data.ljust(inline, b"\0")
    body += bytes(len(body) % 2)
    place = len(body)
    body += struct.pack(order + ("Q" if big else "H"), len(tags)) + entries + bytes(struct.calcsize(pointer))
    return place


def grey(pixels):
    return np.ascontiguousarray(pixels[..., 0])

"""Every container, depth and colour type that can be made by program, and the pixels that it stands for.

The table in docs/pictures.md is written from here: `python -m tests.pictures.matrix`.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..made_pictures import packed, packed_png, picture
from .made_tiff import tiff
from .profiles import lab_of

DOCS = Path(__file__).parents[2] / "docs" / "pictures.md"
PIXELS = picture(64, 48)
GREY = PIXELS[..., 0]
GREY3 = np.repeat(GREY[..., None], 3, axis=-1)
ALPHA = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1))
INDEX = (np.arange(48 * 64).reshape(48, 64) * 7 % 251).astype(np.uint8)
COLOURS = np.random.default_rng(0).integers(0, 256, (256, 3)).astype(np.uint8)
RGB = Image.fromarray(PIXELS)
RGBA = np.dstack([PIXELS, ALPHA])


@dataclass(frozen=True)
class Case:
    """A file in its form, the picture that it stands for, and the mean error that its coding allows."""

    container: str
    form: str
    made: Callable[[], bytes]
    expected: np.ndarray
    error: float = 0.0


def on_white(colour, alpha=ALPHA):
    share = alpha[..., None] / 255
    return np.rint(colour * share + 255 * (1 - share)).astype(np.uint8)


def levels(bits):
    """Grey of a few bits, and as it is shown."""
    values = GREY >> (8 - bits)
    return values, np.repeat(np.rint(values * (255 / (2**bits - 1))).astype(np.uint8)[..., None], 3, axis=-1)


def packed_rows(values, bits):
    """Rows of whole bytes, the first sample in the high bits."""
    if bits == 16:
        return [row.astype(">u2").tobytes() for row in values]
    if bits == 8:
        return [row.tobytes() for row in values]
    flags = np.unpackbits(values[..., None], axis=-1)[..., 8 - bits :]
    return [np.packbits(row.reshape(-1)).tobytes() for row in flags.reshape(len(values), -1)]


def png(values, bits, colour, *, palette=None, interlaced=False):
    height, width = values.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, int(interlaced))
    passes = ADAM7 if interlaced else [(0, 0, 1, 1)]
    rows = b"".join(
        b"\0" + row for x, y, dx, dy in passes for row in packed_rows(np.ascontiguousarray(values[y::dy, x::dx]), bits)
    )
    more = [] if palette is None else [(b"PLTE", palette[: 2**bits].tobytes())]
    return packed_png([(b"IHDR", header), *more, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")])


ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
WIDE = (257 * RGBA.astype(np.uint16)).astype(np.uint16)


def _png():
    for bits in (1, 2, 4):
        values, shown = levels(bits)
        yield f"grey of {bits} bits", lambda v=values, b=bits: png(v, b, 0), shown
        index = (INDEX.astype(int) % 2**bits).astype(np.uint8)
        yield f"palette of {bits} bits", lambda v=index, b=bits: png(v, b, 3, palette=COLOURS), COLOURS[index]
    yield "palette of 8 bits", lambda: png(INDEX, 8, 3, palette=COLOURS), COLOURS[INDEX]
    for bits, factor in ((8, 1), (16, 257)):
        kind = np.uint8 if bits == 8 else np.uint16
        grey, rgb, rgba = (kind(factor) * values.astype(kind) for values in (GREY, PIXELS, RGBA))
        pair = np.dstack([grey, rgba[..., 3]])
        for interlaced in (False, True):
            how = " interlaced" if interlaced else ""
            given = {"bits": bits, "interlaced": interlaced}
            yield f"grey of {bits} bits{how}", lambda v=grey, g=given: png(v, colour=0, **g), GREY3
            yield f"grey with alpha of {bits} bits{how}", lambda v=pair, g=given: png(v, colour=4, **g), on_white(GREY3)
            yield f"RGB of {bits} bits{how}", lambda v=rgb, g=given: png(v, colour=2, **g), PIXELS
            yield f"RGBA of {bits} bits{how}", lambda v=rgba, g=given: png(v, colour=6, **g), on_white(PIXELS)


def _jpeg():
    forms = {"4:4:4": {"subsampling": 0}, "4:2:2": {"subsampling": 1}, "4:2:0": {"subsampling": 2}}
    forms |= {"progressive": {"progressive": True}, "restarts": {"restart_marker_blocks": 4}}
    forms |= {"stored as RGB": {"keep_rgb": True}}
    for form, options in forms.items():
        yield form, lambda o=options: packed(RGB, "jpeg", quality=97, **o), PIXELS, 6
    for form, progressive in (("grey", False), ("grey progressive", True)):
        yield form, lambda p=progressive: packed(Image.fromarray(GREY), "jpeg", quality=97, progressive=p), GREY3, 2
    inks = RGB.convert("CMYK")
    yield "CMYK", lambda: packed(inks, "jpeg", quality=97), np.asarray(inks.convert("RGB")), 4


SAMPLES = {"8 bits": (np.uint8, 255), "16 bits": (np.uint16, 65535), "signed 16 bits": (np.int16, 32767)}
SAMPLES |= {"32 bits": (np.uint32, 2**32 - 1), "signed 32 bits": (np.int32, 2**31 - 1), "float": (np.float32, 1)}
RAMP = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1))
RAMP3 = np.repeat(RAMP[..., None], 3, axis=-1)
COMPRESSIONS = {"LZW": "tiff_lzw", "Deflate": "tiff_adobe_deflate", "PackBits": "packbits"}


def _tiff():
    for order, name in (("<", ""), (">", " big-endian")):
        for form, (kind, top) in SAMPLES.items():
            if (form, order) == ("32 bits", ">"):
                continue
            values = (RAMP / 255.0 * top).astype(kind)
            yield f"grey of {form}{name}", lambda v=values, o=order: tiff([{"pixels": v}], o), RAMP3, 1
        for form, values in (("8", PIXELS), ("16", PIXELS * np.uint16(257))):
            one = [{"pixels": values, "photometric": 2}]
            yield f"RGB of {form} bits{name}", lambda p=one, o=order: tiff(p, o), PIXELS
    yield "white is zero", lambda: tiff([{"pixels": 255 - GREY, "photometric": 0}]), GREY3
    yield "BigTIFF", lambda: tiff([{"pixels": PIXELS, "photometric": 2}], big=True), PIXELS
    yield "RGBA", lambda: packed(Image.fromarray(RGBA), "tiff"), on_white(PIXELS)
    yield "palette", lambda: packed(palette_image(), "tiff"), COLOURS[INDEX]
    inks = RGB.convert("CMYK")
    yield "CMYK", lambda: packed(inks, "tiff"), np.asarray(inks.convert("RGB"))
    lab = np.rint(lab_of(PIXELS / 255.0) * (2.55, 1, 1)).astype(int).astype(np.uint8)
    yield "CIELAB", lambda: packed(Image.frombytes("LAB", (64, 48), lab.tobytes()), "tiff"), PIXELS, 2.5
    for form, compression in COMPRESSIONS.items():
        yield form, lambda c=compression: packed(RGB, "tiff", compression=c), PIXELS
    yield "JPEG inside", lambda: packed(RGB, "tiff", compression="jpeg", quality=97), PIXELS, 6
    bits, shown = levels(1)
    for form in ("group3", "group4"):
        black = Image.fromarray(bits.astype(bool))
        yield f"fax {form}", lambda f=form, b=black: packed(b, "tiff", compression=f), shown


def palette_image():
    image = Image.fromarray(INDEX, "P")
    image.putpalette(COLOURS.tobytes())
    return image


def _jpeg2000():
    for form, options in (("", {}), (" as a codestream", {"no_jp2": True})):
        made = {"irreversible": False, **options}
        yield f"RGB of 8 bits{form}", lambda m=made: packed(RGB, "jpeg2000", **m), PIXELS
        yield f"grey of 8 bits{form}", lambda m=made: packed(Image.fromarray(GREY), "jpeg2000", **m), GREY3
        deep = Image.fromarray(GREY.astype(np.uint16) * 257)
        yield f"grey of 16 bits{form}", lambda m=made, d=deep: packed(d, "jpeg2000", **m), GREY3
    yield "RGBA of 8 bits", lambda: packed(Image.fromarray(RGBA), "jpeg2000", irreversible=False), on_white(PIXELS)
    lossy = {"quality_mode": "dB", "quality_layers": [45]}
    yield "lossy", lambda: packed(RGB, "jpeg2000", irreversible=True, **lossy), PIXELS, 2


def bmp(body, bits, palette=None, masks=None):
    colours = b"" if palette is None else np.column_stack([palette[:, ::-1], 0 * palette[:, :1]]).tobytes()
    extra = colours + (b"" if masks is None else struct.pack("<3I", *masks))
    head = struct.pack("<IiiHHIIiiII", 40, 64, 48, 1, bits, 3 if masks else 0, len(body), 0, 0, len(colours) // 4, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(extra) + len(body), 0, 0, 54 + len(extra)) + head + extra + body


def _bmp():
    for bits in (1, 4, 8):
        index = (INDEX.astype(int) % 2**bits).astype(np.uint8)
        body = b"".join(packed_rows(index[::-1], bits))
        palette = COLOURS[: 2**bits]
        yield f"palette of {bits} bits", lambda b=body, n=bits, p=palette: bmp(b, n, p), COLOURS[index]
    five = (PIXELS >> 3).astype(np.uint16)
    shown = np.rint(five * (255 / 31)).astype(np.uint8)
    body = ((five[..., 0] << 10) | (five[..., 1] << 5) | five[..., 2])[::-1].astype("<u2").tobytes()
    yield "RGB of 15 bits", lambda: bmp(body, 16, masks=(0x7C00, 0x3E0, 0x1F)), shown, 1
    yield "RGB of 24 bits", lambda: packed(RGB, "bmp"), PIXELS
    four = np.dstack([PIXELS[..., ::-1], 0 * ALPHA])[::-1].tobytes()
    yield "RGB of 32 bits", lambda: bmp(four, 32), PIXELS


def _others():
    for form, image, shown in (("RGB", RGB, PIXELS), ("grey", Image.fromarray(GREY), GREY3)):
        for rle in (None, "tga_rle"):
            yield (
                "TGA",
                f"{form}{' packed' if rle else ''}",
                lambda i=image, r=rle: packed(i, "tga", compression=r),
                shown,
            )
        yield "SGI", form, lambda i=image: packed(i, "sgi"), shown
        yield "PCX", form, lambda i=image: packed(i, "pcx"), shown
        yield "DDS", form, lambda i=image: packed(i, "dds"), shown
    yield "TGA", "RGBA", lambda: packed(Image.fromarray(RGBA), "tga"), on_white(PIXELS)
    yield "TGA", "palette", lambda: packed(palette_image(), "tga"), COLOURS[INDEX]
    yield "PCX", "palette", lambda: packed(palette_image(), "pcx"), COLOURS[INDEX]
    yield "GIF", "palette", lambda: packed(palette_image(), "gif", interlace=0), COLOURS[INDEX]
    yield "GIF", "interlaced", lambda: packed(palette_image(), "gif", interlace=1), COLOURS[INDEX]
    clear = np.where((INDEX == 5)[..., None], 255, COLOURS[INDEX]).astype(np.uint8)
    yield "GIF", "transparent", lambda: packed(palette_image(), "gif", transparency=5), clear
    yield "WebP", "lossless", lambda: packed(RGB, "webp", lossless=True), PIXELS
    yield (
        "WebP",
        "lossless with alpha",
        lambda: packed(Image.fromarray(RGBA), "webp", lossless=True, exact=True),
        on_white(PIXELS),
    )
    yield "WebP", "lossy", lambda: packed(RGB, "webp", quality=97), PIXELS, 6
    yield "AVIF", "4:4:4", lambda: packed(RGB, "avif", quality=95, subsampling="4:4:4"), PIXELS, 3
    yield "AVIF", "4:2:0", lambda: packed(RGB, "avif", quality=95, subsampling="4:2:0"), PIXELS, 6
    yield "AVIF", "grey", lambda: packed(Image.fromarray(GREY), "avif", quality=95, subsampling="4:0:0"), GREY3, 3
    yield (
        "AVIF",
        "with alpha",
        lambda: packed(Image.fromarray(RGBA), "avif", quality=95, subsampling="4:4:4"),
        on_white(PIXELS),
        3,
    )
    square = picture(64, 64)
    for form, options in (("PNG inside", {}), ("BMP inside", {"bitmap_format": "bmp"})):
        made = {"sizes": [(64, 64)], **options}
        yield "ICO", form, lambda m=made: packed(Image.fromarray(square), "ico", **m), square


def netpbm(kind, body, top=255):
    return b"P%d\n64 48\n" % kind + (b"" if kind in (1, 4) else b"%d\n" % top) + body


def _netpbm():
    bits, shown = levels(1)
    text = "\n".join(" ".join(map(str, row)) for row in 1 - bits.astype(int)).encode()
    yield "P1", lambda: netpbm(1, text), shown
    yield "P4", lambda: netpbm(4, b"".join(packed_rows(1 - bits, 1))), shown
    for kind, values, as_shown in ((5, GREY, GREY3), (6, PIXELS, PIXELS)):
        words = " ".join(map(str, values.reshape(-1))).encode()
        yield f"P{kind - 3}", lambda k=kind, w=words: netpbm(k - 3, w), as_shown
        yield f"P{kind}", lambda k=kind, v=values: netpbm(k, v.tobytes()), as_shown
        wide = values.astype(">u2") * np.uint16(257)
        yield f"P{kind} of 16 bits", lambda k=kind, v=wide: netpbm(k, v.astype(">u2").tobytes(), 65535), as_shown


def cases() -> list[Case]:
    named = {"PNG": _png, "JPEG": _jpeg, "TIFF": _tiff, "JPEG 2000": _jpeg2000, "BMP": _bmp, "PPM, PGM, PBM": _netpbm}
    found = [Case(container, *row) for container, rows in named.items() for row in rows()]
    return found + [Case(*row) for row in _others()]


CASES = cases()
DOUBLE = (GREY / 255.0).astype(np.float64)
UNREAD = {  # healthy files that are not read: the error says so
    ("TIFF", "float RGB"): lambda: tiff([{"pixels": (PIXELS / 255.0).astype(np.float32), "photometric": 2}]),
    ("TIFF", "RGB of 32 bits"): lambda: tiff([{"pixels": PIXELS.astype(np.uint32), "photometric": 2}]),
    ("TIFF", "grey of 32 bits big-endian"): lambda: tiff([{"pixels": RAMP.astype(np.uint32)}], ">"),
    ("TIFF", "64 bits"): lambda: tiff([{"pixels": DOUBLE}]),
    ("TIFF", "ICCLAB"): lambda: tiff([{"pixels": PIXELS, "photometric": 9}]),
    ("TIFF", "BigTIFF with the high byte first"): lambda: tiff([{"pixels": PIXELS, "photometric": 2}], ">", big=True),
}


def table() -> str:
    """The table of docs/pictures.md."""
    lines = ["| container | forms that are read | healthy forms that are not |", "|---|---|---|"]
    for container in dict.fromkeys(case.container for case in CASES):
        read = "; ".join(case.form for case in CASES if case.container == container)
        unread = "; ".join(form for name, form in UNREAD if name == container)
        lines.append(f"| {container} | {read} | {unread} |")
    return "\n".join(lines) + "\n"


def written(text: str) -> str:
    """The page with today's table in it."""
    return re.sub(
        r"(?<=<!-- the table of tests/pictures/matrix.py -->\n).*?(?=<!-- end -->)", table(), text, flags=re.S
    )


if __name__ == "__main__":
    DOCS.write_text(written(DOCS.read_text(encoding="utf-8")), encoding="utf-8")

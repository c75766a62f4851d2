"""What a white margin does to scores, and what `trim` gives back.

    python benchmarks/margin.py PHOTO... [--share 0.3] [--quality 90]

Each photo is scored alone and in the middle of a white page, both as JPEG, the page also with its margin trimmed. Then:
how many of the photos as they are lose a margin.
"""

from __future__ import annotations

import argparse
import io

import numpy as np
from PIL import Image

import noref
from noref.decoding.margin import trimmed
from noref.images import read


def as_jpeg(image: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "jpeg", quality=quality)
    return file.getvalue()


def on_page(photo: Image.Image, share: float) -> Image.Image:
    left, top = round(share * photo.width), round(share * photo.height)
    page = Image.new("RGB", (photo.width + 2 * left, photo.height + 2 * top), "white")
    page.paste(photo, (left, top))
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="+", metavar="PHOTO")
    parser.add_argument("--share", type=float, default=0.3, help="of width and height, on every side")
    parser.add_argument("--quality", type=int, default=90)
    given = parser.parse_args()
    whole, cut = noref.Scorer(), noref.Scorer(trim=True)
    photos = [Image.fromarray(read(path)) for path in given.photos]
    pages = [as_jpeg(on_page(photo, given.share), given.quality) for photo in photos]
    alone = np.array(whole.score_many(as_jpeg(photo, given.quality) for photo in photos))
    for name, scorer in (("on a margin", whole), ("trimmed", cut)):
        moved = np.array(scorer.score_many(pages)) - alone
        print(f"{name}: moved by {np.abs(moved).mean():.2f} on average, {np.abs(moved).max():.2f} at most")
    print(f"of {len(photos)} photos as they are, trimmed: {sum(trimmed(photo, []) is not photo for photo in photos)}")


if __name__ == "__main__":
    main()

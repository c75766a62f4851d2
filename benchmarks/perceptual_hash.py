"""Error rate of the perceptual hash: python benchmarks/perceptual_hash.py FOLDER [FOLDER ...] [--json FILE]

Every pair of different photos gives the false alarms. Every photo beside a changed version of itself gives the misses:
recompressed, resized, written in another format, cut at its borders. The threshold is the largest one at which a false
alarm in one comparison is less likely than --rate. So far below the closest pair this rate can only be extrapolated:
with a straight line through log10(share of pairs) over the distance. The curve bends down, so the line is too high and
the true rate lower.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from noref import images
from noref.data.perceptual_hash import BITS, SMALL, THRESHOLD, hash_images, hash_pixels
from noref.data.readers import photos
from noref.data.threads import in_threads

SAME = [  # one photo under two names, then two shots of one scene: their distance says nothing about different photos
    {"246.jpg", "333.jpg"},
    {"246.bmp", "333.bmp"},
    {"cid22_train_3316926_opo25u.jpg", "cid22_valid_844297.jpg"},
    {"824.JPG", "825.JPG"},
    {"clothing_9fba5065-dc5e-40b8-9548-40d2d498d7a2.jpg", "clothing_b0d71fba-23a7-4912-b6c6-16b7d8a5bd43.jpg"},
]
THRESHOLDS = (16, 20, 24, 28, 32, 40)
MOST = 1000  # pairs that the line is fitted to


def saved(image: Image.Image, kind: str, **options: int) -> bytes:
    """The image as a file."""
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def resized(image: Image.Image, share: float) -> Image.Image:
    """Width and height times `share`."""
    return image.resize((max(1, round(image.width * share)), max(1, round(image.height * share))))


def cut(image: Image.Image, share: float) -> Image.Image:
    """Without `share` of its width and height, half of it at each border."""
    left, top = round(image.width * share / 2), round(image.height * share / 2)
    return image.crop((left, top, image.width - left, image.height - top))


VERSIONS: dict[str, Callable[[Image.Image], bytes]] = {
    "BMP": lambda image: saved(image, "BMP"),
    "PNG": lambda image: saved(image, "PNG", compress_level=1),
    "JPEG 75": lambda image: saved(image, "JPEG", quality=75),
    "JPEG 50": lambda image: saved(image, "JPEG", quality=50),
    "JPEG 30": lambda image: saved(image, "JPEG", quality=30),
    "JPEG 10": lambda image: saved(image, "JPEG", quality=10),
    "200 %": lambda image: saved(resized(image, 2), "BMP"),
    "50 %": lambda image: saved(resized(image, 0.5), "BMP"),
    "25 %": lambda image: saved(resized(image, 0.25), "BMP"),
    "25 %, JPEG 30": lambda image: saved(resized(image, 0.25), "JPEG", quality=30),
    "384 x 384": lambda image: saved(image.resize((384, 384)), "JPEG", quality=95),
    "cut 1 %": lambda image: saved(cut(image, 0.01), "JPEG", quality=90),
    "cut 2 %": lambda image: saved(cut(image, 0.02), "JPEG", quality=90),
    "cut 5 %": lambda image: saved(cut(image, 0.05), "JPEG", quality=90),
    "cut 10 %": lambda image: saved(cut(image, 0.1), "JPEG", quality=90),
}


def changed(path: Path) -> list[int]:
    """How many bits of a photo's hash differ in each of its versions."""
    image = Image.fromarray(images.read(path))
    own = hash_images([path])[0]
    hashes = [hash_pixels(images.read(version(image), preprocessing=SMALL)) for version in VERSIONS.values()]
    return [int((own != other).sum()) for other in hashes]


def apart(files: list[Path]) -> NDArray[np.int64]:
    """The distances of all pairs of different photos, the smallest first."""
    bits = hash_images(files)
    signs = np.where(bits, np.float32(1), np.float32(-1))
    distances = ((BITS - signs @ signs.T) / 2).astype(np.int64)
    rows, columns = np.triu_indices(len(files), 1)
    known = [{files[row].name, files[column].name} in SAME for row, column in zip(rows, columns, strict=True)]
    return np.sort(distances[rows, columns][~np.array(known)])


def false_alarm_line(distances: NDArray[np.int64]) -> tuple[float, float]:
    """Slope and height of log10(share of pairs at most so far apart) over the distance, at its lower end."""
    reach = np.unique(distances[:MOST])
    count = np.searchsorted(distances, reach, side="right")
    slope, height = np.polyfit(reach, np.log10(count / len(distances)), 1)
    return float(slope), float(height)


def choose_threshold(distances: NDArray[np.int64], rate: float) -> int:
    """The largest threshold at which a false alarm in one comparison is less likely than `rate`."""
    slope, height = false_alarm_line(distances)
    return int((np.log10(rate) - height) // slope)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="folders of photos")
    parser.add_argument("--rate", type=float, default=1e-11, help="of false alarms in one comparison")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    files = [path for folder in chosen.folders for path in photos(folder)]
    distances = apart(files)
    slope, height = false_alarm_line(distances)
    print(f"{len(files)} photos, {len(distances)} pairs of different ones, {BITS} bits")
    print(f"bits that differ: {distances.mean():.1f} in the mean, closest pairs {distances[:8].tolist()}")
    print(f"chosen for a rate of {chosen.rate:g}: {choose_threshold(distances, chosen.rate)} bits; in use: {THRESHOLD}")
    found = np.array(in_threads(changed, files))
    rows: dict[str, list[float]] = {
        "pairs at most so far apart": [int((distances <= threshold).sum()) for threshold in THRESHOLDS],
        "log10 of the extrapolated rate": [round(slope * threshold + height, 1) for threshold in THRESHOLDS],
    }
    for column, name in enumerate(VERSIONS):
        rows[f"missed, {name}, %"] = [
            round(100 * float((found[:, column] > threshold).mean()), 2) for threshold in THRESHOLDS
        ]
    print("\t".join(["threshold", *map(str, THRESHOLDS)]))
    for name, values in rows.items():
        print("\t".join([name, *(f"{value:g}" for value in values)]))
    if chosen.json:
        chosen.json.write_text(json.dumps({"thresholds": THRESHOLDS, **rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()

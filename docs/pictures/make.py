"""Draw the README's picture, score.png: drawn scenes as the photos of a folder, and what `noref score` prints of them.

    python docs/pictures/make.py [FILE]

Runs the real command in a terminal of its own. Needs `pip install 'noref[report]'` (for matplotlib's font).
"""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont
from rich.color import Color
from rich.text import Text

from noref.demo import degrade, scene

COMMAND = ["noref", "score", "photos/", "--min", "50"]
COLUMNS = 74
PHOTOS = (  # file, distortion of the demo and its step, caption
    ("1_clean.png", "blur", 0, "as it was drawn"),
    ("2_noise.png", "noise", 12, "noise"),
    ("3_jpeg.png", "jpeg", 5, "JPEG at quality 5"),
    ("4_blur.png", "blur", 3, "blur"),
)
BACKGROUND, FOREGROUND, DIM = "#1b1e23", "#d7dae0", "#8b929e"
ANSI = {1: "#dd6f68", 2: "#7cb66c", 3: "#d6a950"}  # red, green, yellow
SIZE, MARGIN, GAP = 26, 36, 20  # pixels: of the font, around everything, between photos


def write_photos(folder: Path) -> None:
    """Write the scenes, and a file that is cut off in its middle."""
    for seed, (name, distortion, step, _) in enumerate(PHOTOS):
        Image.fromarray(degrade(scene(seed), distortion, step)).save(folder / name)
    (folder / "5_cut.png").write_bytes((folder / PHOTOS[0][0]).read_bytes()[:40_000])


def terminal_output(folder: Path) -> str:
    """What the command prints on a terminal of `COLUMNS` columns, with its colours; then stderr."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, COLUMNS))
    environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    command = [sys.executable, "-m", *COMMAND]
    process = subprocess.Popen(command, cwd=folder, stdout=theirs, stderr=subprocess.PIPE, env=environment)
    os.close(theirs)
    _, messages = process.communicate(timeout=120)
    return b"".join(_chunks(ours)).decode() + messages.decode()


def _chunks(terminal: int) -> Iterator[bytes]:
    try:
        while chunk := os.read(terminal, 65536):
            yield chunk
    except OSError:  # on Linux the end of a terminal that nobody has open any more
        return


def draw(lines: list[Text], photos: Path) -> Image.Image:
    """The photos with captions side by side, below them the lines of the terminal."""
    font = ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSansMono.ttf"), SIZE)
    cell, height = int(font.getlength("0")), round(SIZE * 1.5)
    width = cell * COLUMNS + 2 * MARGIN
    side = (width - 2 * MARGIN - (len(PHOTOS) - 1) * GAP) // len(PHOTOS)
    top = MARGIN + side * 3 // 4 + 2 * height
    canvas = Image.new("RGB", (width, top + len(lines) * height + MARGIN), BACKGROUND)
    pen = ImageDraw.Draw(canvas)
    for column, (name, _, _, caption) in enumerate(PHOTOS):
        left = MARGIN + column * (side + GAP)
        canvas.paste(Image.open(photos / name).resize((side, side * 3 // 4)), (left, MARGIN))
        pen.text((left, MARGIN + side * 3 // 4 + 10), caption, DIM, font=font.font_variant(size=SIZE * 4 // 5))
    for row, line in enumerate(lines):
        colours = [FOREGROUND] * len(line.plain)
        for span in line.spans:
            color = getattr(span.style, "color", None)
            if isinstance(color, Color):
                colours[span.start : span.end] = [ANSI[color.number or 0]] * (span.end - span.start)
        for column, character in enumerate(line.plain):
            pen.text((MARGIN + column * cell, top + row * height), character, colours[column], font=font)
    return canvas


def main(out: Path) -> None:
    """Draw the picture into the file `out`."""
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder, "photos")
        photos.mkdir()
        write_photos(photos)
        printed = terminal_output(Path(folder)).replace("\r\n", "\n").splitlines()
        lines = [Text(f"$ {' '.join(COMMAND)}"), *(Text.from_ansi(line) for line in printed)]
        draw(lines, photos).quantize(256).save(out, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("score.png"))

"""Draw restore.jpg: a degraded scene, and what gradient steps on its quality make of it.

    python docs/pictures/restore.py [--out FILE] [--photo FILE] [--steps 60]

Without a photo, the scene of `noref demo` is taken. Needs `pip install 'noref[train,report]'` (for matplotlib's font).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

import noref
from noref.demo import scene
from noref.images import read
from noref.scoring.twin import TorchModel

NOISE, BLUR = 20 / 255, 2.0  # deviation of a level, and of the blur in pixels
LOOSE, TIGHT = 10.0, 0.1  # weights of quality beside a fidelity of about 1 for a picture that fits the degraded one
RATE = 1 / 255  # of Adam, in the range of pixels
CUT = (slice(120, 312), slice(150, 406))  # rows and columns that are shown
AMPLIFIED = 8
GAP, LINE = 12, 64  # pixels


def blurred(image: Tensor, sigma: float) -> Tensor:
    """(B, 3, H, W) with a Gaussian blur."""
    size = 2 * round(3 * sigma) + 1
    found: Tensor = gaussian_blur(image, [size, size], [sigma, sigma])
    return found


def by_pixels(
    model: TorchModel, start: Tensor, fidelity: Callable[[Tensor], Tensor], weight: float, steps: int
) -> Tensor:
    """Every pixel is free: Adam on fidelity minus weighted quality."""
    image = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([image], lr=RATE)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = fidelity(image) - weight * model(image).mean()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            image.clamp_(0, 1)
    return image.detach()


def by_filter(model: TorchModel, start: Tensor, steps: int) -> Tensor:
    """Two numbers are free: how much of each of two blurs is added (a negative share sharpens)."""
    shares = torch.zeros(2, requires_grad=True)
    layers = torch.stack([blurred(start, sigma) - start for sigma in (0.8, 2.0)])
    optimizer = torch.optim.Adam([shares], lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        (-model((start + (shares.view(2, 1, 1, 1, 1) * layers).sum(dim=0)).clamp(0, 1)).mean()).backward()
        optimizer.step()
    with torch.no_grad():
        print("shares of the two blurs:", [round(share, 2) for share in shares.tolist()])
        return (start + (shares.view(2, 1, 1, 1, 1) * layers).sum(dim=0)).clamp(0, 1)


def pixels(image: Tensor) -> np.ndarray:
    """(H, W, 3) uint8 of (1, 3, H, W)."""
    return (255 * image[0].permute(1, 2, 0)).round().byte().numpy()


def words(image: Tensor, clean: Tensor) -> str:
    """Score of the rounded picture, and its distance from the clean one."""
    psnr = -10 * torch.log10(((image - clean) ** 2).mean()).item()
    return f"score {noref.score(pixels(image)).value:.0f}" + ("" if psnr == float("inf") else f", {psnr:.1f} dB")


def row(model: TorchModel, clean: Tensor, kind: str, steps: int) -> list[tuple[str, Tensor, str]]:
    """Caption, picture and numbers of each column."""
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    bad = clean + NOISE * noise if kind == "noise" else blurred(clean, BLUR) + noise / 255
    bad = bad.clamp(0, 1)

    def fidelity(image: Tensor) -> Tensor:
        if kind == "noise":
            return ((image - bad) ** 2).mean() / NOISE**2
        return ((blurred(image, BLUR) - bad) ** 2).mean() * 255**2

    found = [("clean", clean, ""), (kind, bad, "")]
    for weight, caption in ((LOOSE, "pixels, loose"), (TIGHT, "pixels, tight")):
        free = by_pixels(model, bad, fidelity, weight, steps)
        found.append((caption, free, ""))
        if weight == LOOSE:
            found.append((f"its change x {AMPLIFIED}", (0.5 + AMPLIFIED * (free - bad)).clamp(0, 1), "-"))
    found.append(("two numbers", by_filter(model, bad, steps), ""))
    return [(caption, image, "" if text else words(image, clean)) for caption, image, text in found]


def draw(rows: list[list[tuple[str, Tensor, str]]]) -> Image.Image:
    """All rows below each other, a cut of each picture, with its caption."""
    font = ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), 21)
    height, width = CUT[0].stop - CUT[0].start, CUT[1].stop - CUT[1].start
    size = ((width + GAP) * len(rows[0]) + GAP, (height + LINE + GAP) * len(rows) + GAP)
    canvas = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(canvas)
    for down, columns in enumerate(rows):
        for across, (caption, image, numbers) in enumerate(columns):
            left, top = GAP + across * (width + GAP), GAP + down * (height + LINE + GAP)
            canvas.paste(Image.fromarray(pixels(image)[CUT]), (left, top))
            pen.text((left, top + height + 4), f"{caption}\n{numbers}", "black", font=font)
            print(f"{caption:16} {numbers}")
    return canvas


def main() -> None:
    """Restore, print the numbers and draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("restore.jpg"))
    parser.add_argument("--photo", type=Path)
    parser.add_argument("--steps", type=int, default=60)
    arguments = parser.parse_args()
    model = noref.load_torch()
    photo, sizing = arguments.photo, model.card.preprocessing
    picture = scene() if photo is None else read(photo, preprocessing=sizing)
    clean = torch.from_numpy(picture).permute(2, 0, 1)[None] / 255
    figure = draw([row(model, clean, kind, arguments.steps) for kind in ("noise", "blur")])
    figure.save(arguments.out, quality=93, subsampling=0)


if __name__ == "__main__":
    main()

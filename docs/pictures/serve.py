"""Take the picture of the service's page, serve.png: drawn scenes, one with its map, and a file that is cut off.

    python docs/pictures/serve.py [FILE]

Runs `noref serve` and Chromium. Needs `pip install 'noref[serve]' playwright` and Debian's chromium.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from make import write_photos
from PIL import Image
from playwright.sync_api import sync_playwright

from noref.demo import degrade, scene

WIDTH, HEIGHT = 1280, 900


def write_half_blurred(path: Path) -> None:
    """A scene whose left half is blurred, for the map."""
    sharp, blurred = scene(7), degrade(scene(7), "blur", 6)
    half = sharp.shape[1] // 2
    Image.fromarray(np.concatenate([np.asarray(blurred)[:, :half], sharp[:, half:]], axis=1)).save(path)


def take(url: str, photos: Path, out: Path) -> None:
    """The page with the photos, and the map of the first."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.set_default_timeout(300_000)
        page.goto(url)
        page.set_input_files("#files", sorted(photos.iterdir()))
        page.locator(".waiting").first.wait_for(state="detached")
        page.get_by_role("button", name="Map of 0_half_blurred.png").click()
        page.locator(".legend:visible").wait_for(timeout=120_000)
        page.get_by_label("Order").select_option("worst first")
        page.screenshot(path=out)
        browser.close()
    Image.open(out).convert("RGB").quantize(256).save(out, optimize=True)


def main(out: Path) -> None:
    """Take the picture into the file `out`."""
    command = [sys.executable, "-m", "noref", "serve", "--port", "0"]
    pipes = {"stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL}
    with tempfile.TemporaryDirectory() as folder, subprocess.Popen(command, text=True, **pipes) as service:
        photos = Path(folder)
        write_photos(photos)
        write_half_blurred(photos / "0_half_blurred.png")
        found = re.search(r"http://\S+", service.stderr.readline() if service.stderr else "")
        try:
            take(found[0] if found else "", photos, out)
        finally:
            service.terminate()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("serve.png"))

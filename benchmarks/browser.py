"""Scores in Chromium, by an exported folder and onnxruntime-web, beside `noref score`.

    npm install --prefix /tmp/web onnxruntime-web
    python benchmarks/browser.py /tmp/web/node_modules/onnxruntime-web/dist photos/*.jpg

Needs `pip install playwright` and Debian's `chromium`. `canvas` is the score where the browser's canvas draws the
picture smaller, instead of the folder's rule.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

import noref
from noref.cli import run

PAGE = """<!doctype html><meta charset="utf-8"><script type="module">
import * as folder from "/folder/score.mjs";
window.folder = folder;
try { window.ort = await import("/web/ort.wasm.min.mjs"); } catch { }
window.ready = true;
window.judge = async (path, byCanvas) => {
  window.model ??= await folder.load(window.ort, "/folder");
  const blob = await (await fetch(path)).blob();
  if (!byCanvas) return folder.score(window.model, blob);
  const image = await createImageBitmap(blob);
  const size = folder.targetSize(image.width, image.height, window.model.card.input_rule.size);
  const canvas = Object.assign(document.createElement("canvas"), size);
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = byCanvas;
  context.drawImage(image, 0, 0, size.width, size.height);
  return folder.score(window.model, canvas);
};
</script>"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    """No line for each request."""

    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript"}  # noqa: RUF012

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def page_on(root: Path) -> Iterator[Page]:
    """A page in Chromium at which `root` is served, with an exported model in `root/folder`; as `window.folder`."""
    if run(["export", "default", "--out", str(root / "folder"), "--overwrite"]):
        raise SystemExit(1)
    (root / "index.html").write_text(PAGE, encoding="utf-8")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(root)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{server.server_port}/index.html")
        page.wait_for_function("window.ready")
        yield page
        browser.close()
    server.shutdown()


def main() -> None:
    """Print a table of scores and the largest differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("web", type=Path, help="onnxruntime-web's folder dist")
    parser.add_argument("photos", type=Path, nargs="+")
    arguments = parser.parse_args()
    scorer, worst = noref.Scorer(), {"rule": 0.0, "low": 0.0, "high": 0.0}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "web").symlink_to(arguments.web.resolve())
        with page_on(root) as page:
            print(f"{'photo':30} {'noref':>7} {'rule':>7} {'canvas low':>11} {'canvas high':>12} {'s':>5}")
            for i, photo in enumerate(arguments.photos):
                shutil.copy(photo, root / f"{i}{photo.suffix}")
                expected, start = scorer.score(photo).value, time.perf_counter()
                found: dict[str, Any] = {"rule": page.evaluate("judge", f"/{i}{photo.suffix}")}
                seconds = time.perf_counter() - start
                for quality in ("low", "high"):
                    found[quality] = page.evaluate(f"judge('/{i}{photo.suffix}', '{quality}')")
                worst = {key: max(worst[key], abs(found[key] - expected)) for key in worst}
                numbers = f"{found['rule']:7.2f} {found['low']:11.2f} {found['high']:12.2f}"
                print(f"{photo.name:30.30} {expected:7.2f} {numbers} {seconds:5.1f}", flush=True)
            print("largest difference from noref", {key: round(value, 3) for key, value in worst.items()})


if __name__ == "__main__":
    main()

"""The page in Chromium, as people use it."""

from __future__ import annotations

import base64
import csv
import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect, sync_playwright

PAGES = Path(__file__).parents[2] / "src" / "noref" / "serve" / "pages"
WAIT = 180_000  # milliseconds until a browser on a busy machine is given up
LEVELS = [15 * i for i in range(17)]  # of grey: scores 0 to 94.1
DROP = """([files, kind]) => {
    const transfer = new DataTransfer();
    for (const [name, text] of files)
        transfer.items.add(new File([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], name, {type: "image/png"}));
    const event = kind === "paste" ? new ClipboardEvent("paste", {clipboardData: transfer, bubbles: true})
                                   : new DragEvent("drop", {dataTransfer: transfer, bubbles: true, cancelable: true});
    document.body.dispatchEvent(event);
}"""


@pytest.fixture(scope="module")
def browser():
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert found, "the page is tested in Chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        expect.set_options(timeout=WAIT)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, service):
    """Open the page; at the end, nothing was asked of any other place, and the browser had nothing to complain of."""
    contexts, wrong = [], []

    def open_page(path="/", width=1280, height=900, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        context.set_default_timeout(WAIT)
        page = context.new_page()
        page.on(
            "request", lambda one: wrong.append(one.url) if not one.url.startswith((service.url, "blob:")) else None
        )
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if "Security Policy" in said.text else None)
        page.goto(service.url + path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not wrong


def give(page, files, kind="drop"):
    page.evaluate(DROP, [[[name, base64.b64encode(content).decode()] for name, content in files], kind])


def greys(grey, levels=LEVELS):
    return [(f"grey {level:03}.png", grey(level)) for level in levels]


def names(page):
    return page.locator(".card h3").all_inner_texts()


def scores(page):
    return [float(text) for text in page.locator(".card .score").all_inner_texts() if text]


def test_twenty_pictures_three_of_them_broken(open_page, grey):
    page = open_page()
    broken = [("broken.jpg", b"\xff\xd8\xff"), ("empty.png", b""), ("text.png", b"hello")]
    good = greys(grey)
    mixed = [*good[:5], broken[0], *good[5:11][::-1], broken[1], *good[11:], broken[2]]
    give(page, mixed)
    expect(page.locator("#count")).to_have_text("17 scored · 3 without a score")
    expect(page.locator("#said")).to_have_text("17 scored, 3 without a score")  # what a screen reader says

    assert names(page) == [name for name, _ in mixed]
    for name, card in zip(names(page), page.locator(".card").all(), strict=True):
        if name.startswith("grey"):
            level = int(name[5:8])
            assert float(card.locator(".score").inner_text()) == pytest.approx(100 * level / 255, abs=0.051)
            word = "good" if level >= 179 else "acceptable" if level >= 128 else "poor" if level >= 77 else "bad"
            assert card.locator(".word").inner_text() == word
        else:
            assert card.locator(".word").inner_text() == "no score"
            assert card.locator(".error").inner_text() in ("not an image that can be read", "empty file")

    page.get_by_label("Order").select_option("worst first")
    assert scores(page) == sorted(scores(page))
    assert {*names(page)[-3:]} == {name for name, _ in broken}
    page.get_by_label("Order").select_option("best first")
    assert scores(page) == sorted(scores(page), reverse=True)
    page.get_by_label("Order").select_option("by name")
    assert names(page) == sorted(name for name, _ in mixed)

    page.get_by_label("Order").select_option("worst first")
    page.get_by_label("Threshold in points").fill("30")
    expect(page.get_by_label("Only below")).to_be_checked()
    below = [f"grey {level:03}.png" for level in LEVELS if 100 * level / 255 < 30]
    assert names(page) == below
    assert page.locator("#count").inner_text().endswith(f"{len(below)} below 30")

    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    assert download.value.suggested_filename == "scores.csv"
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))
    assert [row["name"] for row in rows] == below
    assert [float(row["score"]) for row in rows] == pytest.approx([100 * int(name[5:8]) / 255 for name in below])

    page.get_by_label("Only below").uncheck()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))
    assert len(rows) == 20
    assert sum(bool(row["error"]) for row in rows) == 3
    page.get_by_role("button", name="Clear").click()
    expect(page.locator(".card")).to_have_count(0)


def test_the_map_is_laid_over_the_picture_and_fades(open_page, grey):
    page = open_page()
    halves = np.full((240, 320), 100)
    halves[:, 160:] = 160
    give(page, [("halves.png", grey(halves))])
    page.get_by_role("button", name="Map of halves.png").click()
    legend = page.locator(".legend")
    expect(legend).to_be_visible()
    expect(legend.locator(".low")).to_have_text("39 worse")  # 100 * 100 / 255
    expect(legend.locator(".high")).to_have_text("better 63")  # 100 * 160 / 255
    layer, photo = page.locator(".layer"), page.locator(".photo")
    assert photo.bounding_box() == layer.bounding_box()
    assert layer.get_attribute("alt") == "Map of halves.png: where it looks worse and where better"
    strength = page.get_by_label("Strength of the map")
    shades = {}
    for value in ("0", "100"):
        strength.fill(value)
        shades[value] = colours(page)
    assert shades["0"] == ((100, 100, 100), (160, 160, 160))
    (worse, better) = shades["100"]
    assert worse[0] > worse[2] + 40  # red
    assert better[2] > better[0] + 40  # blue
    page.get_by_role("button", name="Map of halves.png").click()
    expect(layer).to_be_hidden()
    assert colours(page) == ((100, 100, 100), (160, 160, 160))


def colours(page):
    """Of the picture's left and right."""
    from PIL import Image

    shot = Image.open(io.BytesIO(page.locator(".frame").screenshot())).convert("RGB")
    return tuple(shot.getpixel((round(shot.width * share), shot.height // 2)) for share in (0.08, 0.92))


def test_without_a_mouse(open_page, grey, tmp_path):
    (tmp_path / "a.png").write_bytes(grey(200))
    (tmp_path / "b.png").write_bytes(grey(50))
    page = open_page()
    page.on("filechooser", lambda _: None)  # choosers are caught from here on; `expect` alone may begin too late
    expect(page.locator("#bar")).to_be_hidden()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Choose pictures")).to_be_focused()
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files([tmp_path / "a.png", tmp_path / "b.png"])
    expect(page.locator("#count")).to_have_text("2 scored")
    page.keyboard.press("Tab")
    expect(page.get_by_label("Order")).to_be_focused()
    page.keyboard.press("ArrowDown")
    assert names(page) == ["b.png", "a.png"]
    expect(page.get_by_label("Order")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert names(page) == ["b.png"]
    page.keyboard.press("Tab")
    for _ in range(25):
        page.keyboard.press("ArrowLeft")
    expect(page.locator("#none")).to_have_text("No picture is below 15.")
    for control in page.locator("button, input:not([hidden]), select, summary").all():
        if control.is_visible():
            assert control.evaluate("e => e.ariaLabel || e.labels?.[0]?.textContent.trim() || e.textContent.trim()")


def test_pasted_pictures_and_pictures_that_the_browser_cannot_show(open_page, grey):
    page = open_page()
    give(page, [("scan.tif", grey(51, form="TIFF"))], kind="paste")
    expect(page.locator(".score")).to_have_text("20.0")
    expect(page.locator(".cannot")).to_have_text("This browser cannot show this kind of file.")
    expect(page.locator(".photo")).to_be_hidden()


def test_reasons_and_interval_are_shown_and_what_is_unknown_is_shown_plainly(open_page, grey):
    page = open_page()

    def later(route):
        answer = route.fetch()
        body = answer.json()
        body["results"][0] |= {
            "interval": [12.5, 31.0],
            "reasons": [
                {"name": "motion_blur", "group": "blur", "severity": 0.81, "text": "motion blur (strong)"},
                {"name": "white_noise", "group": "noise", "severity": 0.3},
                {"name": "jpeg", "group": "compression", "severity": 0.1},
            ],
            "sense_of_light": {"warm": 0.25, "sure": True},
            "cautions": ["a part is missing", "<b>not bold</b>"],
        }
        route.fulfill(response=answer, json=body)

    page.route("**/v1/score", later)
    give(page, [("<img src=x onerror=alert(1)>.png", grey(51))])
    expect(page.locator(".interval")).to_have_text("13 to 31 in 9 of 10 cases")
    assert page.locator(".reasons li").all_inner_texts() == ["motion blur (strong)", "white noise (30 %)"]
    page.get_by_text("More", exact=True).click()
    assert page.locator("dl").inner_text().split("\n")[:2] == ["sense of light", "warm 0.25, sure true"]
    expect(page.locator(".caution")).to_have_text("a part is missing, <b>not bold</b>")
    assert names(page) == ["<img src=x onerror=alert(1)>.png"]
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    (row,) = csv.DictReader(io.StringIO(Path(download.value.path()).read_text()))
    assert (row["low"], row["high"]) == ("12.5", "31")
    assert row["reasons"] == "motion blur (strong); white_noise; jpeg"


def test_a_busy_service_is_asked_again_and_a_lost_one_says_so(open_page, grey):
    page = open_page()
    answers = [503, 503]
    page.route(
        "**/v1/score",
        lambda route: (
            route.fulfill(status=answers.pop(), headers={"Retry-After": "0"}) if answers else route.continue_()
        ),
    )
    give(page, greys(grey, [51]))
    expect(page.locator(".score")).to_have_text("20.0")
    page.unroute("**/v1/score")
    page.route("**/v1/score", lambda route: route.abort())
    give(page, greys(grey, [102]))
    expect(page.locator(".error").last).to_have_text("noref cannot be reached, or the file cannot be read")
    page.unroute("**/v1/score")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".score").last).to_have_text("40.0")


def test_a_key_is_asked_for_and_kept(browser, serving, brightness, grey, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("open-sesame")
    with serving("--model", brightness, "--api-key-file", keys) as locked:
        page = browser.new_page()
        page.set_default_timeout(WAIT)
        page.goto(locked.url)
        give(page, greys(grey, [51]))
        field = page.get_by_label("This noref asks for an API key")
        for key in ("wrong", "open-sesame"):
            field.fill(key)
            field.press("Enter")
        expect(page.locator(".score")).to_have_text("20.0")
        page.reload()
        give(page, greys(grey, [102]))
        expect(page.locator(".score")).to_have_text("40.0")
        expect(field).to_be_hidden()
        page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("path", ["/", "/docs"])
def test_it_fits_phone_and_desk_in_light_and_dark(open_page, grey, scheme, width, path):
    page = open_page(path, width=width, height=844, color_scheme=scheme, has_touch=width == 390)
    if path == "/":
        give(page, [*greys(grey, [0, 200]), ("a-very-long-name-" * 20 + ".png", b"")])
        expect(page.locator("#count")).to_have_text("2 scored · 1 without a score")
        camera = page.get_by_role("button", name="Take a photo")
        assert camera.is_visible() == (width == 390)
        assert page.locator("#photo").get_attribute("capture") == "environment"
    else:
        expect(page.locator(".path")).to_have_count(6)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    level = int(ground.removeprefix("rgb(").split(",")[0])
    assert level > 200 if scheme == "light" else level < 50


def test_the_docs_name_every_path_and_status(open_page, service):
    page = open_page("/docs")
    expect(page.locator(".path")).to_have_count(6)
    text = page.locator("main").inner_text()
    for path, methods in service.client.get("/openapi.json").json()["paths"].items():
        assert path in text
        for call in methods.values():
            assert set(call["responses"]) <= set(text.split())


def test_no_page_has_code_or_style_inside(open_page):
    for page in PAGES.glob("*.html"):
        text = page.read_text()
        assert "<style" not in text
        assert " style=" not in text
        assert " on" not in text.replace(" one", "").replace(" only", "").replace(" on average", "")
        assert text.count("<script") == text.count('<script type="module" src="/assets/')
        assert "//" not in text

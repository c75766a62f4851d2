"""docs/serve.md and deploy/ say what is so."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from noref.cli.serving import serve

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs" / "serve.md").read_text()
OPTIONS = {option.opts[0]: option for option in serve.params}


def test_every_option_has_the_default_that_the_docs_say():
    limits = re.findall(r"^\| `(--[\w-]+)` \| (\d+)", DOCS, re.MULTILINE)
    assert {name: float(number) for name, number in limits} == {
        name: float(OPTIONS[name].default) for name in ("--max-mb", "--max-pictures", "--max-megapixels", "--seconds")
    }
    assert set(re.findall(r"(?<=[`\s])--[a-z-]+", DOCS)) <= {*OPTIONS, "--data-binary", "--output"}


def test_every_path_and_status_is_described(service):
    described = service.client.get("/openapi.json").json()["paths"]
    for path, methods in described.items():
        assert path in DOCS
        for method in methods:
            assert f"`{method.upper()} {path}`" in DOCS or path == "/readyz"
    statuses = {status for methods in described.values() for call in methods.values() for status in call["responses"]}
    rows = " ".join(re.findall(r"^\| ([\d, ]+) \|", DOCS, re.MULTILINE))
    assert set(re.findall(r"\d+", rows)) == statuses - {"500"}


def test_the_unit_and_the_image_call_the_command_rightly():
    unit = (ROOT / "deploy" / "noref.service").read_text()
    words = shlex.split(re.search(r"^ExecStart=(.*)$", unit, re.MULTILINE)[1])
    assert words[0].endswith("/bin/noref")
    assert words[1] == "serve"
    serve.make_context("serve", words[2:])
    image = (ROOT / "deploy" / "Dockerfile").read_text()
    (words,) = re.findall(r'^ENTRYPOINT \["noref", "serve", (.*)\]$', image, re.MULTILINE)
    serve.make_context("serve", [word.strip(' "') for word in words.split(",")])
    assert "Not built" in image
    for copied in re.findall(r"^COPY (.*) \S+$", image, re.MULTILINE):
        assert all((ROOT / name).exists() for name in copied.split())


def test_nginx_needs_two_lines():
    lines = (ROOT / "deploy" / "nginx.conf").read_text().splitlines()
    assert len([line for line in lines if line and not line.startswith("#")]) == 2

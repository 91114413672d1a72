"""The page in a real browser, over a real server."""

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from export.client import Client

ROOT = Path(__file__).resolve().parents[3]
CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


def test_candidates_as_html():
    from export.app import format_candidates
    from export.client import Candidates

    found = Candidates("ok", ("a <b> dog", "a cat"), (-1.0, -1.0))
    shown = format_candidates(found, 2)
    assert "a &lt;b&gt; dog" in shown and shown.count("width: 50.0%") == 2
    assert "a cat" not in format_candidates(found, 1)
    assert "unsupported &lt;x&gt;" in format_candidates(Candidates("unsupported <x>"), 2)


def test_the_page_starts_where_a_proxy_is_set(urls, monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")  # which the page changes
    from export.app import run_app

    run_app(urls["http"], port=0, block=False).close()


@pytest.fixture
def page(urls, tmp_path):
    """The page of a process of its own, in a browser that reaches nothing but this machine."""
    playwright = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM.exists():
        pytest.fail(f"{CHROMIUM} is missing: apt-get install chromium")
    arguments = ["app", "--server", urls["grpc"], "--port", "0"]
    code = f"import sys; from export.cli import main; sys.exit(main({arguments!r}))"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        url = re.search(r"http://\S+", line)[0]
        with playwright.sync_playwright() as driver:
            context = driver.chromium.launch_persistent_context(
                str(tmp_path / "profile"), executable_path=str(CHROMIUM), args=list(FLAGS), headless=True
            )
            page = context.new_page()
            page.outside = []

            def only_here(route):
                if urlsplit(route.request.url).hostname in ("127.0.0.1", "localhost", None):
                    route.continue_()
                else:
                    page.outside.append(route.request.url)
                    route.abort()

            page.route("**/*", only_here)
            page.set_default_timeout(60_000)
            page.goto(url)
            yield page
            context.close()
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.slow
def test_a_photo_is_captioned_and_explained(page, urls, images, tmp_path):
    photo = tmp_path / "landscape.jpg"
    photo.write_bytes(images["landscape.jpg"])
    with Client(urls["grpc"]) as client:
        expected, explained = client.candidates(photo), client.explain(photo)
    page.locator("input[type=file]").first.set_input_files(photo)
    page.locator(".candidate").first.wait_for()
    assert page.locator(".candidate .caption").all_inner_texts() == list(expected.captions)
    assert page.locator(".candidate .score").all_inner_texts() == [f"{score:.3f}" for score in expected.scores]
    tiles = page.locator("#attention .thumbnail-item, #attention .gallery-item")
    tiles.first.wait_for()
    words = page.locator("#attention .caption-label").all_inner_texts()
    assert tuple(words) == explained.words
    slider = page.locator("input[type=range]")
    slider.focus()
    slider.press("ArrowLeft")
    page.wait_for_function("document.querySelectorAll('.candidate').length == 2")
    # The web fonts and analytics of the framework would be here.
    assert [url for url in page.outside if "font" in url or "analytics" in url] == []


@pytest.mark.slow
def test_a_photo_that_the_model_refuses(page, images, tmp_path):
    photo = tmp_path / "cut.jpg"
    photo.write_bytes(images["grey.jpg"][: len(images["grey.jpg"]) // 2])
    page.locator("input[type=file]").first.set_input_files(photo)
    page.locator(".refused").wait_for()
    assert "damaged" in page.locator(".refused").inner_text()

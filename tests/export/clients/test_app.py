"""The page in a real browser, over a real server."""

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest

from export.app import build_page, format_answer, run_app
from export.client import Client
from export.client.results import Metadata, Signature
from export.errors import ExportError
from export.page_questions import PageAnswer, ask, default_questions, needed_inputs, questions

ROOT = Path(__file__).resolve().parents[3]
CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


STRING, FLOAT = "DT_STRING", "DT_FLOAT"


def signature(inputs, **outputs):
    """A `Signature` of texts and image bytes; an output's value is its shape after the rows, or None for a text."""
    shapes = {"status": None, **outputs}
    return Signature(
        "tensorflow/serving/predict",
        {name: (STRING, (None,)) for name in inputs.split()},
        {name: (STRING if shape is None else FLOAT, (None, *(shape or ()))) for name, shape in shapes.items()},
    )


EMBED = signature("image_bytes", embedding=(5,))
ANSWER = signature("image_bytes question", answer=None, score=(), answers=None, scores=(3,))
# The served signatures of each kind of model, the default first; what the page begins with; and the inputs of that.
MODELS = {
    "captions": (
        {
            "caption": signature("image_bytes", caption=None, score=()),
            "caption_candidates": signature("image_bytes", captions=None, scores=(3,)),
            "caption_explain": signature("image_bytes", caption=None, score=(), tokens=None, attention=(4, 2, 3)),
            "embed_image": EMBED,
            "caption_with_context": signature("image_bytes context", caption=None, score=()),
        },
        ["caption_candidates", "caption_explain"],
        ["image_bytes"],
    ),
    "answers": ({"answer": ANSWER, "embed_image": EMBED}, ["answer"], ["image_bytes", "question"]),
    "matches": (
        {"match": signature("image_bytes text", probability=()), "embed_image": EMBED},
        ["match"],
        ["image_bytes", "text"],
    ),
    "vectors": (
        {"embed_image": EMBED, "embed_text": signature("text", embedding=(5,))},
        ["similarity"],
        ["image_bytes", "text"],
    ),
    "an unknown task": (
        {"count": signature("image_bytes thing", number=()), "sound": signature("sound_bytes", caption=None)},
        ["count"],
        ["image_bytes", "thing"],
    ),
}


@pytest.fixture(params=MODELS)
def model(request):
    """`Metadata` of one kind of model, the questions that its page begins with, and their inputs."""
    signatures, first, inputs = MODELS[request.param]
    default = next(iter(signatures.values()))
    return Metadata("<b>", 3, {"serving_default": default, **signatures}), first, inputs


def test_the_inputs_follow_from_the_signatures(model):
    metadata, first, inputs = model
    known = questions(metadata)
    assert default_questions(metadata, known) == first
    assert needed_inputs(first, known) == inputs
    assert set(known) - {"similarity"} == set(metadata.signatures) - {"serving_default", "sound"}


def test_a_page_for_every_kind_of_model(model):
    metadata, first, inputs = model
    page = build_page(SimpleNamespace(metadata=lambda: metadata))
    assert page.delete_cache == (60, 600)
    parts = {part["props"].get("label"): part for part in page.config["components"]}
    shown = {label for label, part in parts.items() if label and part["props"].get("visible", True)}
    assert {"image", *inputs} - {"image_bytes"} <= shown
    assert not {"question", "text", "context", "thing"} & shown - set(inputs)
    assert parts["Ask for"]["props"]["value"] == first


def test_a_model_that_no_page_can_ask_is_refused():
    metadata = Metadata("radio", 1, {"hear": signature("sound_bytes", caption=None)})
    with pytest.raises(ExportError, match="`hear` takes sound_bytes"):
        questions(metadata)


@pytest.fixture(scope="module")
def tiny(urls):
    """A client of a model with every signature, and its questions."""
    with Client(urls["grpc"]) as client:
        yield client, questions(client.metadata())


@pytest.mark.parametrize(
    "chosen, words",
    [
        (["caption_candidates", "caption_explain"], ["captions, the best first", "log-probability of the caption"]),
        (["answer"], ["probability of the answer"]),
        (["match"], ["probability that image and text match"]),
        (["similarity"], ["cosine similarity of image and text"]),
        (["embed_text"], ["5 numbers"]),
        (["caption", "match"], ["log-probability of the caption", "probability that image and text match"]),
    ],
)
def test_outputs_are_called_what_they_are(tiny, images, tmp_path, chosen, words):
    photo = tmp_path / "landscape.jpg"
    photo.write_bytes(images["landscape.jpg"])
    texts = {"question": "what?", "text": "a <b> dog", "context": "noon"}
    found = ask(*tiny, chosen, str(photo), texts)
    shown = format_answer(found)
    assert found.refused == "" and all(word in shown for word in words) and "<b>" not in shown
    assert (len(found.maps) > 0) == ("caption_explain" in chosen)
    if found.maps:  # the explained caption is the first candidate, and is shown once
        assert shown.count("log-probability") == 1
        assert [word for _, word in found.maps] == list(tiny[0].explain(photo).words)


@pytest.mark.parametrize(
    "chosen, image, texts, reason",
    [
        (["match"], None, {}, "Give an image, text."),
        (["answer"], "landscape.jpg", {"question": " "}, "Give question."),
        ([], "landscape.jpg", {}, "Choose what to ask for."),
        (["caption"], "cut.jpg", {}, "damaged"),
    ],
)
def test_what_is_missing_or_refused_is_said(tiny, images, tmp_path, chosen, image, texts, reason):
    (tmp_path / "landscape.jpg").write_bytes(images["landscape.jpg"])
    (tmp_path / "cut.jpg").write_bytes(images["grey.jpg"][: len(images["grey.jpg"]) // 2])
    found = ask(*tiny, chosen, image and str(tmp_path / image), texts)
    assert reason in found.refused and not found.blocks
    assert "&lt;x&gt;" in format_answer(PageAnswer("<x>"))


def test_uploads_are_limited_in_size(urls, monkeypatch):
    launched = {}
    monkeypatch.setattr(
        "gradio.Blocks.launch", lambda page, **named: launched.update(named) or (None, "http://x", None)
    )
    run_app(urls["grpc"], port=0, block=False, max_upload_mb=3)
    assert launched["max_file_size"] == "3mb" and launched["share"] is False
    with pytest.raises(ExportError, match="max_upload_mb"):
        run_app(urls["grpc"], max_upload_mb=0)


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
    assert page.locator(".candidate .text").all_inner_texts() == list(expected.captions)
    assert page.locator(".candidate .score").all_inner_texts() == [f"{score:.3f}" for score in expected.scores]
    tiles = page.locator("#attention .thumbnail-item, #attention .gallery-item")
    tiles.first.wait_for()
    words = page.locator("#attention .caption-label").all_inner_texts()
    assert tuple(words) == explained.words
    # The web fonts and analytics of the framework would be here.
    assert [url for url in page.outside if "font" in url or "analytics" in url] == []


@pytest.mark.slow
def test_a_photo_that_the_model_refuses(page, images, tmp_path):
    photo = tmp_path / "cut.jpg"
    photo.write_bytes(images["grey.jpg"][: len(images["grey.jpg"]) // 2])
    page.locator("input[type=file]").first.set_input_files(photo)
    page.locator(".refused").wait_for()
    assert "damaged" in page.locator(".refused").inner_text()

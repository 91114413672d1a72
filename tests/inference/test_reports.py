"""Reports: one HTML file that holds everything, escapes every text, and fits a phone."""

import base64
import io
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vl_keras.cli.main import main
from vl_keras.drawing.page import check_page
from vl_keras.errors import RunError
from vl_keras.inference import reports
from vl_keras.inference.prediction import Prediction
from vl_keras.inference.reports import write_evaluation_report, write_prediction_report

CHROMIUM = Path("/usr/bin/chromium")
EVIL = '<script>alert("x")</script>&'
VOID = {"meta", "img", "br", "link"}


class Page(HTMLParser):
    """Tags, texts and sources of a page; fails if tags do not nest."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.sources, self._open = [], [], [], []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.sources += [value for name, value in attributes if name in ("src", "href")]
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


def read(path):
    page = Page(path.read_text("utf-8"))
    assert "script" not in page.tags and "viewport" in path.read_text("utf-8")
    assert all(source.startswith("data:image/webp;base64,") for source in page.sources)  # nothing lies elsewhere
    return page


def picture(source):
    return Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2])))


@pytest.fixture
def photos(tmp_path):
    """Paths of two images with names that need care."""
    paths = [tmp_path / f"{name}.png" for name in ("<b>one & two", "n" * 200)]
    for number, path in enumerate(paths):
        Image.fromarray(np.full((90, 1200, 3), 80 * number, np.uint8)).save(path)
    return [str(path) for path in paths]


def test_predictions_with_thumbnails_scores_and_explanations(photos, tmp_path):
    captions = {"caption": EVIL, "score": -1.5, "captions": [EVIL, "b"], "scores": [-1.5, -2.0]}
    predictions = [
        Prediction(photos[0], "ok", EVIL, captions, explanation=photos[1]),
        Prediction(photos[1], "ok", "", {"text": "a", "probability": 0.5}),
        Prediction(photos[1], "ok", "", {"text": "b", "probability": 0.125}),
        Prediction("gone.jpg", EVIL),
    ]
    path = write_prediction_report(tmp_path / "new" / "out.html", predictions, tmp_path, "captioning", "best: <i>")
    page = read(path)
    assert page.tags.count("section") == 3 and len(page.sources) == 3  # two thumbnails, one explanation
    assert max(picture(page.sources[0]).size) <= 480
    for text in (EVIL, photos[0], photos[1], "best: <i>", "-2.000", "log-probability", "50.0 %", "12.5 %"):
        assert text in page.text
    assert "3 images, 3 predictions; 1 could not be read" in page.text


def test_a_page_counts_the_images_that_it_leaves_out(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(reports, "_MOST_IMAGES", 1)
    predictions = [Prediction(name, "ok", "", {"caption": "c", "score": 0.0}) for name in photos]
    path = write_prediction_report(tmp_path / "out.html", predictions, tmp_path, "captioning", "best", out="all.jsonl")
    page = read(path)
    assert page.tags.count("section") == 1
    assert "and 1 more: this page shows the first 1 images. All predictions are in all.jsonl." in page.text


@pytest.fixture
def result(photos):
    """What `evaluate` returns, with texts from elsewhere."""
    return {
        "task": "captioning",
        "weights": "best",
        "overrides": [f"data.manifest={EVIL}"],
        "signature": {"split": "dev"},
        "signature_text": "shapes dev",
        "measures": {
            "BLEU-4": {"score": 30.05, "low": 28.0, "high": 32.0},
            "METEOR": {"score": 25.0, "low": None, "high": None},
        },
        "notes": [EVIL],
        "unreadable": [[f"{EVIL}{number}", "cut short"] for number in range(60)],
        "files": {"scores": "dev.json", "contact_sheet": photos[0]},
        "when": "2026-01-01",
    }


def test_an_evaluation_has_its_metrics_sheets_curves_and_notes(result, photos, tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "curves.png")
    page = read(write_evaluation_report(tmp_path / "out.html", result, tmp_path))
    assert [picture(source).size for source in page.sources] == [(1200, 90), (30, 20)]
    for text in ("BLEU-4 30.1 28.0 to 32.0", "METEOR 25.0", EVIL, "shapes dev", "and 10 more", "training curves"):
        assert text in page.text
    (tmp_path / "curves.png").unlink()
    assert len(read(write_evaluation_report(tmp_path / "out.html", result, tmp_path)).sources) == 1


@pytest.mark.parametrize("name", ["out.pdf", "out", "html"])
def test_a_report_that_is_no_html_file_is_refused_before_anything_is_loaded(name):
    with pytest.raises(RunError, match=r"does not end in \.html"):
        check_page(name)


def test_the_commands_write_reports_and_say_where(trained_run, photos, tmp_path, capsys):
    out = tmp_path / "out.html"
    assert main(["predict", str(trained_run), "--image", *photos, "--report", str(out)]) == 0
    assert f"report: {out}" in capsys.readouterr().err
    assert len(read(out).sources) == 2
    assert main(["predict", str(trained_run), "--image", photos[0], "--report", str(tmp_path / "out.txt")]) == 2
    assert ".html" in capsys.readouterr().err
    assert main(["evaluate", str(trained_run), "--report", str(out)]) == 0
    assert str(out) in capsys.readouterr().out
    page = read(out)
    assert "CIDEr-D" in page.text and len(page.sources) == 2


@pytest.mark.slow
def test_no_page_is_wider_than_a_phone(result, photos, tmp_path):
    """A browser of 390 pixels: nothing but the sheet, which scrolls in itself, goes beyond the edge."""
    if not CHROMIUM.exists():
        pytest.fail(f"{CHROMIUM} is missing: apt-get install chromium")
    predictions = [Prediction(photos[0], "ok", "", {"caption": "w" * 300, "score": 0.0}, explanation=photos[1])]
    for path in (
        write_prediction_report(tmp_path / "one.html", predictions, tmp_path, "captioning", "best"),
        write_evaluation_report(tmp_path / "two.html", result, tmp_path),
    ):
        text = path.read_text("utf-8").replace(
            "</body>",
            "<script>document.title = `wide ${document.documentElement.scrollWidth} ${innerWidth}`</script></body>",
        )
        path.write_text(text, "utf-8")
        flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
        command = [str(CHROMIUM), *flags, "--window-size=390,900", "--dump-dom", f"file://{path}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        needed, there = map(int, re.search(r"<title>wide (\d+) (\d+)", done.stdout).groups())
        assert needed <= there <= 500  # headless Chromium may be no narrower than that

"""The command that asks a served model about files."""

import json
import os
import sys

import numpy as np
import pytest
from PIL import Image

from export.cli import main
from export.client import Client
from export.errors import ExportError
from export.request import format_rows, request

DOORS = pytest.mark.parametrize("door", ["grpc", "http"])


@pytest.fixture
def photos(images, tmp_path):
    """Folder with two good images and a broken one."""
    folder = tmp_path / "photos"
    (folder / "deeper").mkdir(parents=True)
    for name in ("landscape.jpg", "deeper/turned.jpg"):
        (folder / name).write_bytes(images[name.split("/")[-1]])
    (folder / "broken.jpg").write_bytes(images["grey.jpg"][:200])
    return folder


@DOORS
def test_rows_are_what_the_client_gives(door, urls, photos, capsys):
    assert main(["request", urls[door], "--image", str(photos), "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    paths = sorted(str(path) for path in photos.rglob("*.jpg"))
    assert [row["image"] for row in rows] == paths
    with Client(urls[door]) as client:
        for row, expected in zip(rows, client.caption(paths), strict=True):
            assert row["status"] == expected.status
            if expected.status == "ok":
                assert row["caption"] == expected.caption
                assert row["score"] == pytest.approx(expected.score, abs=1e-6)


def test_a_table(urls, photos, capsys):
    assert main(["request", urls["grpc"], "--image", str(photos), "--candidates"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 3 + 3
    assert lines[0].split("  ")[0] == "broken.jpg" and "damaged" in lines[0]
    with Client(urls["grpc"]) as client:
        found = client.candidates(photos / "landscape.jpg")
    assert lines[-3].startswith("landscape.jpg") and f"{found.scores[0]:.4f}" in lines[-3]
    assert [found.captions[k] in lines[-3 + k] for k in range(3)] == [True] * 3
    assert len({line.index("-") for line in lines[-3:]}) == 1  # scores stand below each other


def test_control_characters_are_printed_escaped(tmp_path, capsys):
    """A name or an answer can neither add a line nor control the terminal."""
    rows = [
        {"image": "a\nb\x1b[2J.jpg", "status": "ok", "caption": "one\ntwo\u202e", "tokens": ["one\r"]},
        {"image": "c\td.jpg", "status": "damaged: \x07"},
    ]
    table = format_rows(rows)
    assert table.splitlines() == [
        "a\\nb\\x1b[2J.jpg  one\\ntwo\\u202e  one\\r",
        "c\\td.jpg         damaged: \\x07",
    ]
    (tmp_path / "em\n\x1bpty").mkdir()
    assert main(["request", "grpc://localhost:1", "--image", str(tmp_path / "em\n\x1bpty")]) == 1
    assert "em\\n\\x1bpty" in capsys.readouterr().err


@pytest.mark.parametrize("text", [["--context", "a wall"], ["--input-text", "context=a wall"]])
def test_a_context_finds_its_signature(urls, photos, capsys, text):
    assert main(["request", urls["http"], "--image", str(photos / "landscape.jpg"), *text]) == 0
    assert "beside a wall" in capsys.readouterr().out


def test_large_outputs_are_named(urls, photos):
    rows = request(urls["grpc"], [photos / "landscape.jpg"], signature="embed_image")
    assert len(rows[0]["embedding"]) == 5
    rows[0]["embedding"] *= 10
    assert "embedding: 50 values" in format_rows(rows)


def test_explanations_are_drawn(urls, photos, tmp_path):
    rows = request(urls["grpc"], [photos], explain=tmp_path / "new" / "out.png")
    drawn = [row.get("explanation") for row in rows]
    assert drawn == [None, str(tmp_path / "new/out-turned.png"), str(tmp_path / "new/out-landscape.png")]
    image = np.asarray(Image.open(drawn[1]))
    assert image.std() > 10  # something is drawn


def test_what_cannot_be_asked_is_said(urls, photos, tmp_path):
    image = [photos / "landscape.jpg"]
    with pytest.raises(ExportError, match="nothing to send"):
        request(urls["grpc"])
    with pytest.raises(ExportError, match="no image in"):
        request(urls["grpc"], [_empty(tmp_path)])
    with pytest.raises(ExportError, match="No signature takes image_bytes and question and text; choose"):
        request(urls["grpc"], image, {"question": "where?", "text": "a dog"})
    with pytest.raises(ExportError, match="has no signature `dialogue`; it has .*caption, "):
        request(urls["grpc"], image, signature="dialogue")
    with pytest.raises(ExportError, match="`caption` takes image_bytes; given: context and image_bytes"):
        request(urls["grpc"], image, {"context": "x"}, signature="caption")
    with pytest.raises(ExportError, match="drawing.png` is one of the images and would be drawn over"):
        request(urls["grpc"], [photos / "drawing.png"], explain=photos / "drawing.png")
    with pytest.raises(ExportError, match="does not end in .png"):
        request(urls["grpc"], image, explain="out.jpg")


def test_any_text_input_of_a_signature_can_be_sent(urls, photos, capsys):
    texts = ["--input-text", "question=how many?", "mood=calm=fine"]
    assert main(["request", urls["grpc"], "--image", str(photos / "landscape.jpg"), *texts]) == 1
    assert "No signature takes image_bytes and mood and question" in capsys.readouterr().err


def test_errors_cost_one_line(photos, capsys):
    image = str(photos / "landscape.jpg")
    assert main(["request", "grpc://127.0.0.1:1", "--image", image, "--timeout", "0.3"]) == 1
    assert capsys.readouterr().err.startswith("vl-export request: UNAVAILABLE: ")
    assert main(["request", "host:1", "--image", image]) == 1
    assert "grpc://HOST:PORT" in capsys.readouterr().err
    (photos / "token").write_bytes(b"\xff\xfe")
    assert main(["request", "grpc://host", "--image", image, "--token-file", str(photos / "token")]) == 1
    assert "token` contains no token: it is not text." in capsys.readouterr().err
    assert main(["request", "grpc://host", "--text", os.fsdecode(b"caf\xe9")]) == 1
    assert "--text must be UTF-8; got b'caf\\xe9'." in capsys.readouterr().err


def test_the_exit_status_tells_that_nothing_could_be_read(urls, photos, capsys):
    assert main(["request", urls["grpc"], "--image", str(photos / "broken.jpg")]) == 1
    assert "damaged" in capsys.readouterr().out


def test_asking_needs_no_tensorflow(urls, photos):
    import os
    import subprocess

    url, drawing = urls["grpc"], str(photos / "x.png")
    code = (
        "import sys; from export.cli import main\n"
        f"code = main(['request', {url!r}, '--image', {str(photos)!r}, '--explain', {drawing!r}])\n"
        "assert code == 0\nassert 'tensorflow' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ})
    assert done.returncode == 0, done.stderr


def _empty(tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir(exist_ok=True)
    return folder

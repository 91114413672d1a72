"""An index of images follows the files: what is new is read, what is not is left alone, what is gone can go."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from color_run import COLORS, SIZE, ColorTask, make_color_run
from PIL import Image

from tests.failing_files import failing
from vl_keras.cli.main import main
from vl_keras.errors import RetrievalError, RunError
from vl_keras.progress import Progress
from vl_keras.retrieval.vector_index import VectorIndex
from vl_keras.search import image_embedder
from vl_keras.search import index_images as module
from vl_keras.search.index_images import format_indexing, format_troubles, index_images

ROOT = Path(__file__).resolve().parents[2]


def held(out):
    """Path below the folder of photos -> vector."""
    index = VectorIndex.open(out)
    return {row["path"].partition("photos/")[2]: v for row, v in zip(index.rows, np.array(index.vectors), strict=True)}


def expected(path):
    """The vector of an image file, by itself."""
    image = np.asarray(Image.open(path).convert("RGB").resize(SIZE[::-1]))
    return ColorTask(1.0).embed_images(None, image[None]).numpy()[0]


def counts(indexing):
    return indexing.count, indexing.added, indexing.changed, indexing.unchanged, indexing.deleted


def test_every_image_has_its_own_vector(color_run, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(image_embedder, "_BATCH", 5)
    monkeypatch.setattr(module, "_KEPT_AT_ONCE", 5)
    out = tmp_path / "new" / "index"
    indexing = index_images(color_run, [photos], out)
    assert counts(indexing) == (12, 12, 0, 0, 0) and indexing.failed == indexing.gone == []
    assert list(held(out)) == [f"{color}/{number}.bmp" for color in sorted(COLORS) for number in range(3)]
    for name, vector in held(out).items():
        np.testing.assert_allclose(vector, expected(photos / name), atol=1e-6)
    assert sorted(path.name for path in out.iterdir()) == [".lock", "current", "generation-000001"]
    assert format_indexing("i", indexing) == "i: 12 images; 12 added, 0 changed, 0 unchanged, 0 deleted (exact search)"
    assert format_troubles(indexing) == ""


def test_the_querybank_is_embedded_before_the_images_are_counted(color_run, photos, tmp_path, monkeypatch):
    shown = []

    class Seen(Progress):
        def __enter__(self):
            shown.append(f"{self.name} begins")
            return super().__enter__()

        def __exit__(self, *error):
            shown.append(f"{self.name} ends")
            super().__exit__(*error)

    for of in (module, image_embedder):
        monkeypatch.setattr(of, "Progress", Seen)
    index_images(color_run, [photos], tmp_path / "index", overrides=["retrieval.querybank=2"])
    expected = ["querybank begins", "querybank ends", "images begins", "images ends"]
    assert shown[:4] == expected
    # What needs no vector needs no bank.
    shown.clear()
    index_images(color_run, [photos], tmp_path / "index", overrides=["retrieval.querybank=2"])
    assert not [line for line in shown if line.startswith("querybank")]


def test_only_what_changed_is_read_again(color_run, photos, tmp_path, paint):
    out = tmp_path / "index"
    index_images(color_run, [photos / "red", photos / "blue"], out)
    before = held(out)
    paint(photos / "red" / "0.bmp", "green", keep_time=True)  # nothing tells that it changed, unless it is read
    paint(photos / "red" / "1.bmp", "green")
    paint(photos / "red" / "new.png", "yellow")
    paint(photos / "blue" / "0.bmp", "yellow")  # not looked for
    indexing = index_images(color_run, [photos / "red", photos / "red" / "1.bmp"], out)
    assert counts(indexing) == (7, 1, 1, 2, 0)
    after = held(out)
    assert set(after) == set(before) | {"red/new.png"}
    for name in ("red/1.bmp", "red/new.png"):
        np.testing.assert_allclose(after.pop(name), expected(photos / name), atol=1e-6)
    for name, vector in after.items():
        np.testing.assert_array_equal(vector, before[name])


def test_nothing_new_writes_nothing(color_run, photos, tmp_path, monkeypatch):
    out = tmp_path / "index"
    index_images(color_run, [photos], out)
    before = (out / "current").stat().st_mtime_ns
    monkeypatch.chdir(photos)
    assert counts(index_images(str(color_run), ["red", "blue"], out)) == (12, 0, 0, 6, 0)
    assert (out / "current").stat().st_mtime_ns == before


def test_a_bad_image_costs_itself(color_run, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(image_embedder, "_BATCH", 3)
    out = tmp_path / "index"
    (photos / "red" / "1.bmp").write_bytes((photos / "red" / "1.bmp").read_bytes()[:1000])
    (photos / "green" / "words.jpg").write_text("no image")
    indexing = index_images(color_run, [photos, photos / "absent.jpg"], out)
    assert counts(indexing) == (11, 11, 0, 0, 0)
    reasons = {path.partition("photos/")[2]: reason for path, reason in indexing.failed}
    assert set(reasons) == {"red/1.bmp", "green/words.jpg", "absent.jpg"}
    assert "No such file" in reasons["absent.jpg"] and "no JPEG" in reasons["green/words.jpg"]
    assert format_troubles(indexing).startswith("3 images could not be read:\n")
    for name, vector in held(out).items():
        np.testing.assert_allclose(vector, expected(photos / name), atol=1e-6)


def test_an_image_that_goes_bad_leaves(color_run, photos, tmp_path):
    out = tmp_path / "index"
    index_images(color_run, [photos], out)
    (photos / "red" / "1.bmp").write_bytes(b"")
    indexing = index_images(color_run, [photos], out)
    assert counts(indexing) == (11, 0, 0, 11, 1) and len(indexing.failed) == 1
    assert "red/1.bmp" not in held(out)


def test_files_that_are_gone_stay_until_it_is_asked(color_run, photos, tmp_path):
    out = tmp_path / "index"
    index_images(color_run, [photos], out)
    before = held(out)
    for path in (photos / "red" / "0.bmp", photos / "blue" / "2.bmp"):
        path.unlink()
    indexing = index_images(color_run, [photos / "red"], out)
    assert counts(indexing) == (12, 0, 0, 2, 0) and len(indexing.gone) == 2
    assert "2 files in the index are gone; --delete-missing" in format_troubles(indexing)
    indexing = index_images(None, [], out, delete_missing=True)  # no run is wanted for that
    assert counts(indexing) == (10, 0, 0, 0, 2) and indexing.gone == []
    after = held(out)
    assert set(before) - set(after) == {"red/0.bmp", "blue/2.bmp"}
    for name, vector in after.items():
        np.testing.assert_array_equal(vector, before[name])


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
def test_files_that_cannot_be_asked_for_are_not_gone(color_run, photos, tmp_path, monkeypatch, number):
    out = tmp_path / "index"
    index_images(color_run, [photos], out)
    failing(monkeypatch, os, "stat", photos / "red", number)
    indexing = index_images(None, [], out, delete_missing=True)
    assert (indexing.count, indexing.deleted, indexing.gone) == (12, 0, [])
    monkeypatch.undo()


def test_files_and_folders_are_deleted_by_name(color_run, photos, tmp_path, paint):
    out = tmp_path / "index"
    paint(photos / "reddish.bmp", "red")
    index_images(color_run, [photos], out)
    indexing = index_images(None, [], out, delete=[photos / "red", f"{photos}/blue/2.bmp"])
    assert counts(indexing) == (9, 0, 0, 0, 4)
    assert not any(name.startswith("red/") or name == "blue/2.bmp" for name in held(out))
    assert "reddish.bmp" in held(out)
    with pytest.raises(RunError, match="Nothing in the index .*`.*photos/red` or lies below it"):
        index_images(None, [], out, delete=[photos / "red"])
    with pytest.raises(RetrievalError, match="slip` holds no index to delete from"):
        index_images(None, [], tmp_path / "slip", delete=[photos / "blue"])
    assert not (tmp_path / "slip").exists()
    indexing = index_images(color_run, [photos], out, delete=[photos / "green"])  # which wins over `images`
    assert counts(indexing) == (10, 4, 0, 6, 3)
    assert counts(index_images(None, [], out, delete=[photos])) == (0, 0, 0, 0, 10)
    assert counts(index_images(color_run, [photos], out)) == (13, 13, 0, 0, 0)


def test_another_encoder_is_refused_and_the_index_stays(color_run, photos, tmp_path):
    out = tmp_path / "index"
    index_images(color_run, [photos / "red"], out)
    other = make_color_run(tmp_path / "other", scale=2.0)
    with pytest.raises(RetrievalError, match="holds vectors of another encoder .* than the run `.*other`"):
        index_images(other, [photos], out)
    assert len(held(out)) == 3
    twin = make_color_run(tmp_path / "twin")  # the same encoder in another place
    index_images(twin, [photos], out)
    assert len(held(out)) == 12 and VectorIndex.open(out).description["run"] == str(twin)


@pytest.mark.parametrize(
    "scale, images, message",
    [
        (1.0, "empty", "no image in .*empty; folders are searched for .jpg"),
        (1.0, None, "no image in an empty list"),
        ("none", "photos", "is a captioning run; images are searched with a retrieval run"),
        (float("nan"), "photos", "returns vectors that are not finite"),
    ],
)
def test_what_cannot_be_done_is_said(color_run, photos, tmp_path, scale, images, message, monkeypatch):
    (tmp_path / "empty").mkdir()
    (color_run / "scale").write_text(str(scale))
    monkeypatch.setattr(ColorTask, "fingerprint", lambda self, model: "f" * 64)
    with pytest.raises(RunError, match=message):
        index_images(color_run, [tmp_path / images] if images else [], tmp_path / "index")


def test_an_index_of_nothing_but_bad_images(color_run, photos, tmp_path, capsys):
    for path in photos.rglob("*.bmp"):
        path.write_bytes(b"")
    assert main(["index", str(color_run), "--images", str(photos), "--out", str(tmp_path / "index")]) == 1
    printed = capsys.readouterr()
    assert "12 images could not be read" in printed.err and "0 images; 0 added" in printed.out


def test_names_that_are_not_utf_8(color_run, photos, tmp_path, capsys):
    name = os.fsdecode(b"caf\xe9.bmp")
    (photos / "red" / "0.bmp").rename(photos / name)
    (photos / os.fsdecode(b"bad\xe9.bmp")).write_bytes(b"")
    assert main(["index", str(color_run), "--images", str(photos), "--out", str(tmp_path / "index")]) == 0
    assert name in held(tmp_path / "index")
    assert "bad?.bmp: empty: there are no image bytes" in capsys.readouterr().err


def test_a_killed_build_leaves_the_old_index_and_is_gone_on_with(color_run, photos, tmp_path, paint, capsys):
    out, more = tmp_path / "index", photos / "more"
    index_images(color_run, [photos], out)
    before = held(out)
    for number in range(40):
        paint(more / f"{number:02d}.bmp", "red", seed=100 + number)
    script = Path(__file__).with_name("run_index_images.py")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(script), str(color_run), str(photos), str(out), "0.2"]
    process = subprocess.Popen(command, env=environment)
    try:
        until = time.monotonic() + 300
        while len(list(out.glob("unfinished/*.npz"))) < 3:  # parts of four images
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    assert held(out).keys() == before.keys()
    read, changed = more / "00.bmp", more / "01.bmp"
    old = expected(read)
    paint(read, "blue", keep_time=True)  # what was read before a kill is not read again
    paint(changed, "blue")  # unless it changed since
    assert main(["index", str(color_run), "--images", str(photos), "--out", str(out)]) == 0
    assert "52 images; 40 added, 0 changed, 12 unchanged" in capsys.readouterr().out
    after = held(out)
    np.testing.assert_allclose(after.pop("more/00.bmp"), old, atol=1e-6)
    for name, vector in after.items():
        np.testing.assert_allclose(vector, expected(photos / name), atol=1e-6)
    assert not (out / "unfinished").exists()

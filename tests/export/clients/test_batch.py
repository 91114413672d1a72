"""A batch run writes what the server answers, once for each image, and goes on after any stop."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from export import batch
from export.batch import run_batch
from export.cli import main
from export.client import Client
from export.errors import ExportError
from vl_keras import progress
from vl_keras.data.modalities.golden_images import golden_images

ROOT = Path(__file__).resolve().parents[3]


GOOD = 2 * len(golden_images())  # images in the folder of photos


@pytest.fixture
def photos(images, tmp_path):
    """Folder with the golden images twice, at two depths, and two files that are no images."""
    folder = tmp_path / "photos"
    (folder / "deeper").mkdir(parents=True)
    for name, data in images.items():
        (folder / name).write_bytes(data)
        (folder / "deeper" / f"Hündin {name}").write_bytes(data)
    (folder / "notes.txt").write_text("no image")
    (folder / "deeper" / "cut.jpg").write_bytes(images["grey.jpg"][:400])
    return folder


def _rows(output):
    return {row["image"]: row for row in pq.read_table(output).to_pylist()}


def test_what_is_written_is_what_the_server_answers(tiny_models, photos, tmp_path, urls, capsys):
    output = tmp_path / "captions.parquet"
    arguments = ["--model", str(tiny_models), "--input", f"{photos}/**", "--output", str(output), "--batch-size", "3"]
    assert main(["batch", *arguments]) == 0
    said = capsys.readouterr().out
    assert f"{GOOD} written" in said and "2 could not be read" in said
    rows = _rows(output)
    paths = sorted(str(path) for path in photos.rglob("*") if path.is_file())
    with Client(urls["grpc"]) as client:
        online = dict(zip(paths, client.caption(paths), strict=True))
    assert set(rows) == {path for path, row in online.items() if row.status == "ok"}
    for path, row in rows.items():
        assert row["caption"] == online[path].caption
        assert row["score"] == pytest.approx(online[path].score, abs=1e-4)
    bad = [json.loads(line) for line in (tmp_path / "captions.quarantine.jsonl").read_text().splitlines()]
    assert {row["image"]: row["reason"] for row in bad} == {
        path: row.status for path, row in online.items() if row.status != "ok"
    }


def test_its_progress_foretells_nothing_before_a_file_is_written(tiny_models, photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress, "_LOG_SECONDS", 0)
    monkeypatch.setattr(batch, "_POLL_S", 0.05)
    run_batch(tiny_models, f"{photos}/**", str(tmp_path / "captions.parquet"), shard_size=4)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("images: ")]
    assert lines[0] == f"images: image 0/{GOOD + 2}" and lines[-1].startswith(f"images: image {GOOD + 2}/{GOOD + 2}, ")
    assert all(" left" in line for line in lines if "/s" in line)


def test_lists_and_maps_are_columns(tiny_models, photos, tmp_path, answers):
    import tensorflow as tf

    output = str(tmp_path / "maps.parquet")
    run_batch(tiny_models, f"{photos}/*.png", output, "caption_explain")
    (name, row), *_ = sorted(_rows(output).items())
    expected = answers["caption_explain"](image_bytes=tf.constant([Path(name).read_bytes()]))
    np.testing.assert_allclose(row["attention"], expected["attention"][0], atol=1e-6)
    assert [word.encode() for word in row["tokens"]] == expected["tokens"][0].numpy().tolist()
    output = str(tmp_path / "context.parquet")
    run_batch(tiny_models, f"{photos}/*.png", output, "caption_with_context", {"context": "a wall"})
    assert all(row["caption"].endswith("beside a wall") for row in _rows(output).values())


def test_a_second_run_does_only_what_is_new(tiny_models, photos, tmp_path, images):
    output = str(tmp_path / "captions.parquet")
    first = run_batch(tiny_models, str(photos), output, shard_size=4)
    assert (first.written, first.skipped, first.quarantined) == (GOOD, 0, 2)
    before = {path: path.stat().st_mtime_ns for path in Path(output).glob("*.parquet")}
    assert len(before) >= 5
    (photos / "new.jpg").write_bytes(images["landscape.jpg"])
    (photos / "deeper" / "cut.jpg").write_bytes(images["grey.jpg"])  # mended
    second = run_batch(tiny_models, str(photos), output, shard_size=4)
    assert (second.written, second.skipped, second.quarantined) == (2, GOOD, 1)
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    assert len(_rows(output)) == len(pq.read_table(output)) == GOOD + 2
    (photos / "notes.txt").unlink()
    third = run_batch(tiny_models, str(photos), output)
    assert (third.written, third.skipped, third.quarantine) == (0, GOOD + 2, None)
    assert not (tmp_path / "captions.quarantine.jsonl").exists()


def test_a_run_that_stops_leaves_whole_files_and_is_gone_on_with(tiny_models, photos, tmp_path, monkeypatch):
    output = str(tmp_path / "captions.parquet")
    write, written = batch._write_whole, []

    def failing(path, data):
        if path.endswith(".parquet"):
            written.append(path)
            if len(written) == 3:
                Path(path).with_name("_half.parquet.1.tmp").write_bytes(data[:20])
                raise OSError("the disk is full")
        write(path, data)

    monkeypatch.setattr(batch, "_write_whole", failing)
    with pytest.raises(Exception, match="the disk is full"):
        run_batch(tiny_models, str(photos), output, shard_size=4)
    there = _rows(output)
    assert 0 < len(there) < GOOD
    monkeypatch.setattr(batch, "_write_whole", write)
    found = run_batch(tiny_models, str(photos), output, shard_size=4)
    assert (found.written, found.skipped) == (GOOD - len(there), len(there))
    assert len(pq.read_table(output)) == len(_rows(output)) == GOOD
    assert not list(Path(output).rglob("*.tmp"))


def test_what_cannot_be_done_is_said(tiny_models, photos, tmp_path):
    output = str(tmp_path / "out.parquet")
    with pytest.raises(ExportError, match="No file matches"):
        run_batch(tiny_models, f"{photos}/*.tiff", output)
    with pytest.raises(ExportError, match="has no signature `dialogue`; it has .*caption, "):
        run_batch(tiny_models, str(photos), output, "dialogue")
    with pytest.raises(ExportError, match="takes context and image_bytes; given: image_bytes"):
        run_batch(tiny_models, str(photos), output, "caption_with_context")
    with pytest.raises(ExportError, match="contains no SavedModel"):
        run_batch(tmp_path / "nothing", str(photos), output)
    run_batch(tiny_models / "1", f"{photos}/*.png", output)
    with pytest.raises(ExportError, match="was written with a different model"):
        run_batch(tiny_models / "2", f"{photos}/*.png", output)
    with pytest.raises(ExportError, match="different signature"):
        run_batch(tiny_models / "1", f"{photos}/*.png", output, "caption_candidates")
    with pytest.raises(ExportError, match="`batch_size` must be at least 1; got -3"):
        run_batch(tiny_models, str(photos), output, batch_size=-3)
    with pytest.raises(ExportError, match="Beam does not accept --runner=Nobody: "):
        run_batch(tiny_models, str(photos), str(tmp_path / "new"), beam_flags=["--runner=Nobody"])
    with pytest.raises(ExportError, match=r"must not contain \*, \? or \["):
        run_batch(tiny_models, str(photos), str(tmp_path / "out [1].parquet"))
    with pytest.raises(ExportError, match="did not write"):
        run_batch(tiny_models, f"{photos}/*.png", str(photos))


@pytest.mark.parametrize("pattern", ["**.png", "ph*/*.png", "ph*/**.png"])
def test_patterns_may_begin_in_the_current_folder(photos, monkeypatch, pattern):
    monkeypatch.chdir(photos.parent)
    deep = sorted(str(path.relative_to(photos.parent)) for path in photos.rglob("*.png"))
    assert batch._images(pattern) == ([path for path in deep if "deeper" not in path] if "/*." in pattern else deep)


def test_a_folder_may_have_wildcards_in_its_name(tmp_path):
    for name in ("new [1]", "new 1", "new x1]"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "small.bmp").touch()
    assert batch._images(f"{tmp_path}/new [1]/") == [f"{tmp_path}/new [1]/small.bmp"]


def test_a_name_that_is_not_utf8_costs_itself(tiny_models, images, tmp_path):
    folder, output = tmp_path / "photos", tmp_path / "out.parquet"
    folder.mkdir()
    names = [folder / "good.bmp", folder / os.fsdecode(b"caf\xe9.bmp")]
    for name in names:
        name.write_bytes(images["small.bmp"])
    assert run_batch(tiny_models, str(folder), str(output))[:3] == (1, 0, 1)
    assert set(_rows(output)) == {str(names[0])}
    (bad,) = (tmp_path / "out.quarantine.jsonl").read_text("utf-8").splitlines()
    assert json.loads(bad)["image"] == str(names[1]) and "not UTF-8" in bad


def test_a_full_disk_is_said_and_gone_on_from(tiny_models, photos, tmp_path, monkeypatch):
    output, rename = tmp_path / "out.parquet", batch.FileSystems.rename

    def full(sources, targets):
        if targets[0].endswith(".parquet"):
            raise OSError(errno.ENOSPC, "No space left on device")
        rename(sources, targets)

    with monkeypatch.context() as patched:
        patched.setattr(batch.FileSystems, "rename", full)
        with pytest.raises(ExportError, match=r"part-.*parquet` cannot be written: No space left on device\."):
            run_batch(tiny_models, f"{photos}/*.png", str(output))
    assert run_batch(tiny_models, f"{photos}/*.png", str(output))[:2] == (2, 0)
    assert len(_rows(output)) == 2


@pytest.mark.slow
def test_kill_at_any_moment(tiny_models, images, tmp_path):
    photos, output = tmp_path / "photos", tmp_path / "captions.parquet"
    photos.mkdir()
    for number in range(400):
        (photos / f"{number}.jpg").write_bytes(images["landscape.jpg"])
    code = f"from export.batch import run_batch; run_batch({str(tiny_models)!r}, {str(photos)!r}, {str(output)!r}, "
    code += "shard_size=8, batch_size=4)"
    seen = 0
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.DEVNULL)
        limit = time.monotonic() + 300
        while process.poll() is None and len(list(output.glob("part-*"))) <= seen and time.monotonic() < limit:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        for path in output.glob("part-*"):
            assert len(pq.read_table(path)) == 8
        seen = len(list(output.glob("part-*")))
        assert seen
    run_batch(tiny_models, str(photos), str(output), shard_size=8)
    names = pq.read_table(output)["image"].to_pylist()
    assert len(names) == len(set(names)) == 400

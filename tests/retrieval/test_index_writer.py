"""Whatever happens to a writer, the index is the old one or the new one, and it is whole."""

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from write_index import FINGERPRINT, content, write

from vl_keras.errors import RetrievalError
from vl_keras.retrieval import index_writer
from vl_keras.retrieval.index_writer import IndexWriter
from vl_keras.retrieval.vector_index import VectorIndex

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def start():
    """Function that starts `write_index.py` in a process of its own."""
    processes = []

    def start(what, folder):
        command = [sys.executable, str(Path(__file__).with_name("write_index.py")), what, str(folder)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def whole(folder):
    """The number whose content an index holds, all of it and nothing else."""
    index = VectorIndex.open(folder)
    number = index.description["number"]
    rows, vectors = content(number)
    assert index.rows == rows
    np.testing.assert_array_equal(index.vectors, vectors)
    found, _ = index.search(vectors, 1)
    np.testing.assert_array_equal(found[:, 0], np.arange(len(rows)))
    return number


def test_a_writer_killed_at_any_touch_of_a_file_leaves_the_index_whole(tmp_path, start):
    folder = tmp_path / "index"
    write(folder, 0)
    assert start("die", folder).wait() == 0
    copies = sorted(tmp_path.glob("index-*"), key=lambda path: int(path.name.partition("-")[2]))
    assert len(copies) > 25
    numbers = [whole(copy) for copy in copies]
    assert numbers == sorted(numbers) and set(numbers) == {0, 1}
    assert [VectorIndex.open(copies[place]).kind for place in (0, -1)] == ["exact", "hnsw"]
    for copy in copies:  # and the next one finds nothing in its way, and cleans up
        write(copy, 3)
        assert whole(copy) == 3
        assert sorted(path.name for path in copy.iterdir()) == [".lock", "current", (copy / "current").read_text()[:-1]]


def test_a_first_build_that_is_killed_leaves_no_index(tmp_path, start):
    folder = tmp_path / "index"
    folder.mkdir()
    assert start("die", folder).wait() == 0
    copies = sorted(tmp_path.glob("index-*"), key=lambda path: int(path.name.partition("-")[2]))
    for copy in copies[:-1]:
        if not (copy / "current").exists():
            with pytest.raises(RetrievalError, match="holds no index"):
                VectorIndex.open(copy)
        else:
            assert whole(copy) == 1
        write(copy, 3)
        assert whole(copy) == 3


def test_kill_9_at_any_time_while_another_process_reads(tmp_path, start):
    folder = tmp_path / "index"
    write(folder, 1)
    rng, limit = np.random.default_rng(0), time.monotonic() + 120
    seen = set()
    for _ in range(6):
        process = start("loop", folder)
        assert process.stdout.readline() == "ready\n"
        until = time.monotonic() + rng.uniform(0.2, 0.8)
        # On a busy machine the writer is slow to get anywhere.
        while time.monotonic() < until or (len(seen) < 6 and time.monotonic() < limit):
            seen.add(whole(folder))
        process.kill()
        process.wait()
        seen.add(whole(folder))
    assert len(seen) > 5


def test_two_writers_at_once(tmp_path, start):
    write(tmp_path / "index", 0)
    first = start("hold", tmp_path / "index")
    assert first.stdout.readline() == "ready\n"
    with pytest.raises(RetrievalError, match="Another process changes the index .*Wait until it is done"):
        write(tmp_path / "index", 1)
    assert whole(tmp_path / "index") == 0
    first.kill()
    first.wait()
    write(tmp_path / "index", 1)
    assert whole(tmp_path / "index") == 1


@pytest.mark.parametrize("hnsw_from", [10, 1000], ids=["hnsw", "exact"])
def test_a_full_disk_costs_nothing(tmp_path, monkeypatch, hnsw_from):
    monkeypatch.setattr(index_writer, "HNSW_FROM", hnsw_from)
    write(tmp_path, 0)
    before = sorted(tmp_path.rglob("*"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    rows, vectors = content(1)
    for size in (100, 500, 2000):  # bytes that a file may have
        with IndexWriter(tmp_path) as writer:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
            try:
                for act in (
                    lambda: writer.keep(rows, vectors, FINGERPRINT),
                    lambda: writer.write(rows, vectors, FINGERPRINT, {"number": 1}),
                ):
                    if size < 2000 or hnsw_from == 10:
                        with pytest.raises(RetrievalError, match="cannot be written .*as it was"):
                            act()
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    (tmp_path / "unfinished").rmdir()
    assert sorted(tmp_path.rglob("*")) == before
    assert whole(tmp_path) == 0


def test_what_was_put_aside_is_there_until_it_is_written(tmp_path):
    rows, vectors = content(0)
    for start, stop in ((0, 7), (7, 9)):
        with IndexWriter(tmp_path) as writer:
            writer.keep(rows[start:stop], vectors[start:stop], FINGERPRINT)
    with IndexWriter(tmp_path) as writer:
        kept_rows, kept_vectors = writer.kept(FINGERPRINT)
        assert kept_rows == rows[:9]
        np.testing.assert_array_equal(kept_vectors, vectors[:9])
        writer.write(rows, vectors, FINGERPRINT, {})
        assert writer.kept(FINGERPRINT) == ([], [])


def test_what_was_put_aside_by_another_encoder_or_is_torn_goes(tmp_path):
    rows, vectors = content(0)
    with IndexWriter(tmp_path) as writer:
        writer.keep(rows, vectors, FINGERPRINT)
        assert writer.kept("another") == ([], [])
        assert writer.kept(FINGERPRINT) == ([], [])
        writer.keep(rows, vectors, FINGERPRINT)
        (path,) = (tmp_path / "unfinished").iterdir()
        path.write_bytes(path.read_bytes()[:300])
        assert writer.kept(FINGERPRINT) == ([], [])


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"an image")
    with pytest.raises(RetrievalError, match="not empty and holds no index"):
        write(tmp_path, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]
    with pytest.raises(RetrievalError, match="holiday.jpg` is a file; an index is a folder"):
        write(tmp_path / "holiday.jpg", 0)


def test_names_that_are_not_utf_8_are_kept(tmp_path):
    name = os.fsdecode(b"caf\xe9 \xf0\x9f\x90\x95.jpg")
    rows, vectors = [{"path": name}], np.ones((1, 1), np.float32)
    with IndexWriter(tmp_path) as writer:
        writer.keep(rows, vectors, FINGERPRINT)
        assert writer.kept(FINGERPRINT)[0] == rows
        writer.write(rows, vectors, FINGERPRINT, {})
    assert VectorIndex.open(tmp_path).rows == rows


@pytest.mark.parametrize("value", [np.nan, 0.5])
def test_vectors_without_length_1_are_refused(tmp_path, value):
    rows, vectors = content(0)
    vectors[3] *= value
    with IndexWriter(tmp_path) as writer, pytest.raises(ValueError, match="must have length 1"):
        writer.write(rows, vectors, FINGERPRINT, {})
    with IndexWriter(tmp_path) as writer, pytest.raises(ValueError, match="for N rows"):
        writer.write(rows[1:], vectors, FINGERPRINT, {})

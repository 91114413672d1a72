"""An index finds the nearest vectors, and refuses what is not its own."""

import json
import sys

import numpy as np
import pytest

from vl_keras.errors import RetrievalError
from vl_keras.retrieval import exact_search as exact_module
from vl_keras.retrieval import index_writer
from vl_keras.retrieval.exact_search import exact_search
from vl_keras.retrieval.index_writer import IndexWriter
from vl_keras.retrieval.vector_index import VectorIndex

FINGERPRINT = "abc123" * 8
D = 11


def unit(count, seed=0, width=D):
    """`(count, width)` float32 of length 1, in clumps."""
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(99).normal(size=(30, width))
    vectors = centers[rng.integers(30, size=count)] + 0.7 * rng.normal(size=(count, width))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def named(count, start=0):
    return [{"path": f"{number}.jpg"} for number in range(start, start + count)]


def build(folder, vectors, rows=None):
    with IndexWriter(folder) as writer:
        return writer.write(rows or named(len(vectors)), vectors, FINGERPRINT, {"run": "there"})


def recall(found, vectors, queries, count=10):
    best = np.argsort(-(queries.astype(np.float64) @ vectors.T.astype(np.float64)), axis=1)[:, :count]
    return np.mean([len(set(row) & set(right)) / count for row, right in zip(found, best, strict=True)])


@pytest.fixture
def graph_from_300(monkeypatch):
    monkeypatch.setattr(index_writer, "HNSW_FROM", 300)


@pytest.mark.parametrize("scores_at_once", [2**24, 500])
def test_exact_search_is_brute_force(tmp_path, monkeypatch, scores_at_once):
    monkeypatch.setattr(exact_module, "_SCORES_AT_ONCE", scores_at_once)
    vectors, queries = unit(137), unit(5, seed=1)
    index = build(tmp_path / "index", vectors)
    products = queries.astype(np.float64) @ vectors.T.astype(np.float64)
    order = np.argsort(-products, axis=1)
    for count in (1, 7, 137, 1000):
        rows, scores = VectorIndex.open(tmp_path / "index").search(queries, count)
        np.testing.assert_array_equal(rows, order[:, :count])
        np.testing.assert_allclose(scores, np.take_along_axis(products, rows, axis=1), atol=1e-6)
    assert index.kind == "exact" and index.note == ""


def test_equal_vectors_come_in_the_order_of_their_rows():
    vectors = np.repeat(np.eye(3, dtype=np.float32), 4, axis=0)
    rows, scores = exact_search(vectors, np.eye(3, dtype=np.float32)[[1]], 6)
    assert rows[0].tolist()[:4] == [4, 5, 6, 7] and scores[0].tolist() == [1, 1, 1, 1, 0, 0]


def test_an_empty_index_finds_nothing(tmp_path):
    build(tmp_path, unit(0), [])
    rows, scores = VectorIndex.open(tmp_path).search(unit(2), 3)
    assert rows.shape == scores.shape == (2, 0)


def test_a_query_of_another_width_is_refused(tmp_path):
    index = build(tmp_path, unit(5))
    for queries in (unit(1, width=D + 1), unit(1)[0]):
        with pytest.raises(ValueError, match=rf"must be \(Q, {D}\)"):
            index.search(queries)


def test_a_large_index_has_a_graph_that_nearly_finds_the_same(tmp_path, graph_from_300):
    vectors, queries = unit(2000), unit(100, seed=1)
    build(tmp_path, vectors)
    index = VectorIndex.open(tmp_path)
    assert index.kind == "hnsw" and index.note == ""
    rows, scores = index.search(queries)
    assert recall(rows, vectors, queries) >= 0.99
    np.testing.assert_allclose(scores, np.einsum("qd,qkd->qk", queries, vectors[rows]), atol=1e-6)
    assert (np.diff(scores, axis=1) <= 0).all()


def test_more_than_the_graph_can_reach_are_found_all_the_same(tmp_path, graph_from_300):
    vectors = np.repeat(unit(4), 100, axis=0)  # clumps of equals, hard for any graph
    build(tmp_path, vectors)
    rows, scores = VectorIndex.open(tmp_path).search(unit(3, seed=1), 350)
    assert (rows >= 0).all() and all(len(set(row)) == 350 for row in rows)


def test_vectors_are_added_to_a_graph_and_leave_it(tmp_path, graph_from_300):
    vectors = unit(900)
    rows = named(900)
    build(tmp_path, vectors[:400], rows[:400])
    build(tmp_path, vectors, rows)
    grown = VectorIndex.open(tmp_path)
    np.testing.assert_array_equal(grown.search(vectors, 1)[0][:, 0], np.arange(900))
    kept = np.setdiff1d(np.arange(900), np.arange(100, 350))
    build(tmp_path, vectors[kept], [rows[place] for place in kept])
    shrunk = VectorIndex.open(tmp_path)
    found, scores = shrunk.search(vectors, 1)
    names = [shrunk.rows[row]["path"] for row in found[:, 0]]
    assert [names[place] for place in kept] == [rows[place]["path"] for place in kept]
    assert scores[100:350].max() < 0.9999  # those that left are found no more
    build(tmp_path, vectors[:200], rows[:200])
    assert VectorIndex.open(tmp_path).kind == "exact"


def test_growing_goes_on_with_the_old_graph(tmp_path, graph_from_300):
    vectors, seen = unit(4300), []
    build(tmp_path, vectors[:4100])
    with IndexWriter(tmp_path) as writer:
        writer.write(named(4300), vectors, FINGERPRINT, {}, seen.append)
    assert seen == [4300]  # 4,100 were there; 200 in one go


def test_without_faiss_every_vector_is_looked_at(tmp_path, graph_from_300, monkeypatch):
    vectors, queries = unit(500), unit(20, seed=1)
    build(tmp_path / "with", vectors)
    monkeypatch.setitem(sys.modules, "faiss", None)  # as if it were not installed
    written = build(tmp_path / "without", vectors)
    opened = VectorIndex.open(tmp_path / "with")
    assert (written.kind, opened.kind) == ("exact", "hnsw")
    for index in (written, opened):
        assert "pip install 'vl_keras[retrieval]'" in index.note
        assert recall(index.search(queries)[0], vectors, queries) == 1.0


def test_another_encoder_is_refused_by_name(tmp_path):
    index = build(tmp_path / "photos.index", unit(4))
    index.check_encoder(FINGERPRINT, "the run `runs/new`")
    with pytest.raises(RetrievalError) as refused:
        index.check_encoder("def456" * 8, "the run `runs/new`")
    for word in ("photos.index", "runs/new", FINGERPRINT[:12], "def456def456", "new index in another folder"):
        assert word in str(refused.value)


def test_what_is_no_index_is_said(tmp_path):
    with pytest.raises(RetrievalError, match="absent` holds no index.$"):
        VectorIndex.open(tmp_path / "absent")
    with pytest.raises(RetrievalError, match="holds no index.$"):  # a folder of something else
        VectorIndex.open(tmp_path)
    with IndexWriter(tmp_path / "begun"), pytest.raises(RetrievalError, match="was stopped"):
        VectorIndex.open(tmp_path / "begun")


@pytest.mark.parametrize("kind", ["exact", "hnsw"])
@pytest.mark.parametrize("file", ["meta.json", "rows.jsonl", "vectors.npy", "graph.faiss"])
@pytest.mark.parametrize("size", [None, 0, 90], ids=["absent", "empty", "cut"])
def test_a_damaged_index_is_named(tmp_path, monkeypatch, kind, file, size):
    monkeypatch.setattr(index_writer, "HNSW_FROM", 1000 if kind == "exact" else 10)
    path = build(tmp_path / "photos.index", unit(20)).generation / file
    if kind == "exact" and file == "graph.faiss":
        assert not path.exists()
        return
    if size is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(RetrievalError, match="photos.index` is damaged"):
        VectorIndex.open(tmp_path / "photos.index")


def test_an_index_of_another_format_is_refused(tmp_path):
    meta = build(tmp_path, unit(4)).generation / "meta.json"
    meta.write_text(json.dumps({**json.loads(meta.read_text()), "format": 2}))
    with pytest.raises(RetrievalError, match="format 2, and this vl_keras reads format 1"):
        VectorIndex.open(tmp_path)

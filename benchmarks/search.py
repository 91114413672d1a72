"""Speed of image search: exact search in a small collection; graph and exact search in a large one.

    taskset -c 1 python benchmarks/search.py [--rounds 7]

The vectors are synthetic, of size 512, with a distribution like image embeddings: 2,000 clusters whose sizes follow
Zipf's law, and a decreasing spectrum in which about 30 directions have most of the variance. A query is a new sample
with so much noise that the cosine of its nearest vector is about 0.55, because a text is never as similar to an image
as another image. Indexes are written to a folder and opened like those of a user. The variants alternate in every
round; a time is the median over rounds and queries, a ratio the median over rounds.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from vl_keras.retrieval.exact_search import exact_search
from vl_keras.retrieval.index_writer import IndexWriter
from vl_keras.retrieval.vector_index import VectorIndex

WIDTH, SMALL, LARGE, TOP = 512, 8_000, 100_000, 10
CLUSTERS = 2_000
RECALL_QUERIES = 1_000
TIMED = 20  # queries per variant and round
EXACT_MS, RECALL, TIMES_FASTER = 2.0, 0.98, 10.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=7, help="number of rounds (at least 5)")
    rounds = max(parser.parse_args(arguments).rounds, 5)
    print(f"{len(os.sched_getaffinity(0))} CPUs, NumPy {np.__version__}, median of {rounds} rounds")
    with tempfile.TemporaryDirectory() as folder:
        held = [exact(folder, rounds), graph(folder, rounds)]
    return 0 if all(held) else 1


def exact(folder: str, rounds: int) -> bool:
    """Measures exact search; returns whether the targets hold."""
    vectors, queries = made(SMALL, rounds * TIMED)
    index = built(f"{folder}/small", vectors)
    assert index.kind == "exact"
    vectors = np.asarray(index.vectors)  # the same memory: two copies would evict each other from the CPU cache

    def plain(query: np.ndarray) -> np.ndarray:
        return np.argsort(-(vectors @ query[0]))[:TOP]

    for query in queries:
        found, _ = index.search(query[None], TOP)
        if not np.array_equal(found[0], plain(query[None])):
            raise SystemExit("Exact search and argsort found different vectors; the comparison is invalid.")
    seconds = alternate(rounds, queries, {"ours": lambda query: index.search(query, TOP), "argsort": plain})
    print(f"exact search, {SMALL:,} x {WIDTH}")
    ours, base = (1e3 * statistics.median(seconds[name]) for name in ("ours", "argsort"))
    print(f"  np.argsort(-(vectors @ query)): {base:.2f} ms")
    held = verdict("one query, ms", ours, most=EXACT_MS)
    return verdict("ours / argsort", ratio(seconds, "ours", "argsort"), most=1.0) and held


def graph(folder: str, rounds: int) -> bool:
    """Measures the graph; returns whether the targets hold."""
    vectors, queries = made(LARGE, RECALL_QUERIES)
    begun = time.perf_counter()
    index = built(f"{folder}/large", vectors)
    print(f"graph, {LARGE:,} x {WIDTH}, built and written in {time.perf_counter() - begun:.0f} s")
    assert index.kind == "hnsw", index.note
    right, scores = exact_search(index.vectors, queries, TOP)
    print(f"  cosine of the nearest vector: {scores[:, 0].mean():.2f}, of the tenth: {scores[:, -1].mean():.2f} (mean)")
    found = np.concatenate([index.search(query[None], TOP)[0] for query in queries])
    recall = np.mean([len(set(row) & set(best)) / TOP for row, best in zip(found, right, strict=True)])
    sides = {
        "graph": lambda query: index.search(query, TOP),
        "exact": lambda query: exact_search(index.vectors, query, TOP),
    }
    seconds = alternate(rounds, queries, sides)
    for name, values in seconds.items():
        print(f"  {name}: {1e3 * statistics.median(values):.2f} ms per query")
    held = verdict(f"recall@{TOP}", recall, least=RECALL)
    return verdict("exact / graph: times faster", ratio(seconds, "exact", "graph"), least=TIMES_FASTER) and held


def made(count: int, num_queries: int) -> tuple[np.ndarray, np.ndarray]:
    """Synthetic vectors `(count, 512)` and queries `(num_queries, 512)`, float32 of length 1."""
    rng = np.random.default_rng(0)
    spectrum = np.arange(1, WIDTH + 1, dtype=np.float32) ** -0.5
    centers = rng.standard_normal((CLUSTERS, WIDTH), dtype=np.float32) * spectrum
    share = 1 / np.arange(1, CLUSTERS + 1)

    def draw(rows: int) -> np.ndarray:
        cluster = rng.choice(CLUSTERS, size=rows, p=share / share.sum())
        return unit(0.8 * centers[cluster] + rng.standard_normal((rows, WIDTH), dtype=np.float32) * spectrum)

    vectors = draw(count)
    noise = unit(rng.standard_normal((num_queries, WIDTH), dtype=np.float32))
    return vectors, unit(draw(num_queries) + 0.5 * noise)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Scales rows to length 1."""
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def built(folder: str, vectors: np.ndarray) -> VectorIndex:
    """Writes an index and opens it."""
    with IndexWriter(folder) as writer:
        writer.write([{"path": f"{number}.jpg"} for number in range(len(vectors))], vectors, "made", {})
    return VectorIndex.open(folder)


def alternate(
    rounds: int, queries: np.ndarray, sides: Mapping[str, Callable[[np.ndarray], Any]]
) -> dict[str, list[float]]:
    """Times the variants in turn: name -> median seconds per query in each round."""
    seconds = {name: [] for name in sides}
    for number in range(rounds):
        times = {name: [] for name in sides}
        for place in range(number * TIMED, (number + 1) * TIMED):
            query = queries[place : place + 1]
            for name, search in sides.items():
                begun = time.perf_counter()
                search(query)
                times[name].append(time.perf_counter() - begun)
        for name, values in times.items():
            seconds[name].append(statistics.median(values))
    return seconds


def ratio(seconds: Mapping[str, Sequence[float]], name: str, other: str) -> float:
    """Median ratio of the times of two variants."""
    return statistics.median(a / b for a, b in zip(seconds[name], seconds[other], strict=True))


def verdict(name: str, value: float, least: float | None = None, most: float | None = None) -> bool:
    """Prints a value with its target; returns whether the target holds."""
    holds = value >= least if most is None else value <= most
    target = f"at least {least:g}" if most is None else f"at most {most:g}"
    print(f"  {name:<32}{value:8.3f}   target {target}: {'holds' if holds else 'MISSED'}")
    return holds


if __name__ == "__main__":
    sys.exit(main())

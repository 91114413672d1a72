"""Image search: exact search over a small collection, and the graph against exact search over a large one.

    taskset -c 1 python benchmarks/search.py [--rounds 7]

The vectors are made, 512 wide, in the shape that embeddings of images have: 2,000 clusters whose sizes follow Zipf's
law, and a spectrum that falls, so that about 30 directions hold most of the variance. A query is a fresh draw with as
much noise in all directions that its nearest vector has a cosine of about 0.55: a text is never as near to an image as
another image is. Indexes are written to a folder and opened as a user's are. Sides alternate in every round; a time
is a median over rounds and queries, a ratio a median over rounds.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time

import numpy as np

from vl_keras.retrieval.exact_search import exact_search
from vl_keras.retrieval.index_writer import IndexWriter
from vl_keras.retrieval.vector_index import VectorIndex

WIDTH, SMALL, LARGE, TOP = 512, 8_000, 100_000, 10
CLUSTERS = 2_000
JUDGED = 1_000  # queries that recall is measured with
TIMED = 20  # queries of each side in a round
EXACT_MS, RECALL, TIMES_FASTER = 2.0, 0.98, 10.0


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=7, help="each figure is a median over them (at least 5)")
    rounds = max(parser.parse_args(arguments).rounds, 5)
    print(f"{len(os.sched_getaffinity(0))} CPUs, NumPy {np.__version__}, median of {rounds} rounds")
    with tempfile.TemporaryDirectory() as folder:
        held = [exact(folder, rounds), graph(folder, rounds)]
    return 0 if all(held) else 1


def exact(folder, rounds):
    vectors, queries = made(SMALL, rounds * TIMED)
    index = built(f"{folder}/small", vectors)
    assert index.kind == "exact"
    vectors = np.asarray(index.vectors)  # the same memory: two copies would drive each other out of the cache

    def plain(query):
        return np.argsort(-(vectors @ query[0]))[:TOP]

    for query in queries:
        found, _ = index.search(query[None], TOP)
        if not np.array_equal(found[0], plain(query[None])):
            raise SystemExit("Exact search and argsort found different vectors, so there is no comparison.")
    seconds = alternate(rounds, queries, {"ours": lambda query: index.search(query, TOP), "argsort": plain})
    print(f"exact search, {SMALL:,} x {WIDTH}")
    ours, base = (1e3 * statistics.median(seconds[name]) for name in ("ours", "argsort"))
    print(f"  np.argsort(-(vectors @ query)): {base:.2f} ms")
    held = verdict("one query, ms", ours, most=EXACT_MS)
    return verdict("ours / argsort", ratio(seconds, "ours", "argsort"), most=1.0) and held


def graph(folder, rounds):
    vectors, queries = made(LARGE, JUDGED)
    begun = time.perf_counter()
    index = built(f"{folder}/large", vectors)
    print(f"graph, {LARGE:,} x {WIDTH}, built and written in {time.perf_counter() - begun:.0f} s")
    assert index.kind == "hnsw", index.note
    right, scores = exact_search(index.vectors, queries, TOP)
    print(f"  cosine of the nearest: {scores[:, 0].mean():.2f}, of the tenth: {scores[:, -1].mean():.2f} (mean)")
    found = np.concatenate([index.search(query[None], TOP)[0] for query in queries])
    recall = np.mean([len(set(row) & set(best)) / TOP for row, best in zip(found, right, strict=True)])
    sides = {
        "graph": lambda query: index.search(query, TOP),
        "exact": lambda query: exact_search(index.vectors, query, TOP),
    }
    seconds = alternate(rounds, queries, sides)
    for name, values in seconds.items():
        print(f"  {name}: {1e3 * statistics.median(values):.2f} ms a query")
    held = verdict(f"recall@{TOP}", recall, least=RECALL)
    return verdict("exact / graph: times faster", ratio(seconds, "exact", "graph"), least=TIMES_FASTER) and held


def made(count, num_queries):
    """`(count, 512)` vectors and `(num_queries, 512)` queries, float32 of length 1."""
    rng = np.random.default_rng(0)
    spectrum = np.arange(1, WIDTH + 1, dtype=np.float32) ** -0.5
    centers = rng.standard_normal((CLUSTERS, WIDTH), dtype=np.float32) * spectrum
    share = 1 / np.arange(1, CLUSTERS + 1)

    def draw(rows):
        cluster = rng.choice(CLUSTERS, size=rows, p=share / share.sum())
        return unit(0.8 * centers[cluster] + rng.standard_normal((rows, WIDTH), dtype=np.float32) * spectrum)

    vectors = draw(count)
    noise = unit(rng.standard_normal((num_queries, WIDTH), dtype=np.float32))
    return vectors, unit(draw(num_queries) + 0.5 * noise)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def built(folder, vectors):
    with IndexWriter(folder) as writer:
        writer.write([{"path": f"{number}.jpg"} for number in range(len(vectors))], vectors, "made", {})
    return VectorIndex.open(folder)


def alternate(rounds, queries, sides):
    """Name -> median seconds of a query in each round."""
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


def ratio(seconds, name, other):
    return statistics.median(a / b for a, b in zip(seconds[name], seconds[other], strict=True))


def verdict(name, value, least=None, most=None):
    holds = value >= least if most is None else value <= most
    target = f"at least {least:g}" if most is None else f"at most {most:g}"
    print(f"  {name:<32}{value:8.3f}   target {target}: {'holds' if holds else 'MISSED'}")
    return holds


if __name__ == "__main__":
    sys.exit(main())

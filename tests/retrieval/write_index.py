"""Run as a process of its own: changes an index and dies, or waits to be killed.

python write_index.py die INDEX     writes content 1 into INDEX-0, INDEX-1, …, copies of INDEX, by a process that is
                                    killed at its first, second, … touch of a file, up to one that comes through
python write_index.py hold INDEX    takes the lock, says so, and waits
python write_index.py loop INDEX    writes content after content for ever
"""

import contextlib
import itertools
import os
import shutil
import signal
import sys
import time

import numpy as np

from vl_keras.retrieval import hnsw, index_writer
from vl_keras.retrieval.index_writer import IndexWriter

FINGERPRINT = "c0ffee" * 8
EVENTS = ("open", "os.", "shutil.")


def content(number, count=40, width=6):
    """`(rows, vectors)` that tell which number they were made from."""
    count += 3 * (number % 7)
    vectors = np.random.default_rng(number).normal(size=(count, width)).astype(np.float32)
    rows = [{"path": f"{number}/{place}"} for place in range(count)]
    return rows, vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def write(folder, number):
    """Writes `content(number)`; half of it is put aside first."""
    rows, vectors = content(number)
    with IndexWriter(folder) as writer:
        writer.keep(rows[:20], vectors[:20], FINGERPRINT)
        writer.write(rows, vectors, FINGERPRINT, {"number": number})


def die_everywhere(folder):
    for touch in itertools.count():
        copy = f"{folder}-{touch}"
        shutil.copytree(folder, copy)
        child = os.fork()
        if child == 0:
            _die_at(touch, copy)
            write(copy, 1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            return os.WEXITSTATUS(status)


def _die_at(touch, folder):
    touches = itertools.count()

    def hook(event, arguments):
        if event.startswith(EVENTS) and folder in str(arguments) and next(touches) == touch:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def main(what, folder):
    if what == "die":
        index_writer.HNSW_FROM = 30
        hnsw.is_installed()  # loads faiss before the forks
        sys.exit(die_everywhere(folder))
    with IndexWriter(folder) if what == "hold" else contextlib.nullcontext():
        print("ready", flush=True)
        if what == "hold":
            time.sleep(600)
    for number in itertools.count(2):
        write(folder, number)


if __name__ == "__main__":
    main(*sys.argv[1:])

import json

import numpy as np
import pytest

from vl_keras.errors import RetrievalError
from vl_keras.retrieval.caption_memory import CaptionMemory


@pytest.fixture
def memory():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(3, 5)).astype("float32")
    head = [rng.normal(size=(2, 7)).astype("float32"), np.arange(4, dtype="float32"), np.float32(3.5)]
    texts = ["a dog", "two\u2028lines\nof text", "犬が走る"]
    return CaptionMemory(["1.jpg", "1.jpg", "é.jpg"], texts, vectors, 20.5, {"backbone": "x"}, {"width": 7}, head)


def test_what_is_read_is_what_was_written(memory, tmp_path):
    memory.save(tmp_path / "deep" / "memory")
    read = CaptionMemory.load(tmp_path / "deep" / "memory")
    assert read._replace(vectors=0, head_weights=0) == memory._replace(vectors=0, head_weights=0)
    np.testing.assert_array_equal(read.vectors, memory.vectors)
    for one, other in zip(read.head_weights, memory.head_weights, strict=True):
        np.testing.assert_array_equal(one, other)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["memory"]


def test_a_folder_that_is_there_is_kept(memory, tmp_path):
    with pytest.raises(RetrievalError, match="is there already"):
        memory.save(tmp_path)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RetrievalError, match="cannot be written"):
        memory.save(tmp_path / "file" / "memory")


def _other_format(folder):
    meta = json.loads((folder / "memory.json").read_text())
    (folder / "memory.json").write_text(json.dumps({**meta, "format": 9}))


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda folder: (folder / "memory.json").unlink(), "holds no memory of captions; make one with"),
        (lambda folder: (folder / "memory.json").write_text("{"), "cannot be read"),
        (_other_format, "has format 9"),
        (lambda folder: (folder / "captions.jsonl").write_text('{"image": "a", "caption": "b"}\n'), "1 captions and 3"),
        (lambda folder: (folder / "vectors.npy").write_bytes(b"junk"), "cannot be read"),
        (lambda folder: (folder / "image_head.npz").write_bytes(b"PK junk"), "cannot be read"),
        (lambda folder: (folder / "image_head.npz").unlink(), "cannot be read"),
    ],
)
def test_a_damaged_memory_is_refused(memory, tmp_path, damage, message):
    memory.save(tmp_path / "memory")
    damage(tmp_path / "memory")
    with pytest.raises(RetrievalError, match=message):
        CaptionMemory.load(tmp_path / "memory")

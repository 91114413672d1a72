"""A trained retrieval run's images are found with its own vectors."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from vl_keras.config import load_config
from vl_keras.data.builders.shapes_scene import draw_scene, sample_scene
from vl_keras.errors import RetrievalError
from vl_keras.retrieval.vector_index import VectorIndex
from vl_keras.runs.load_run import load_run
from vl_keras.search.image_search import ImageSearch
from vl_keras.search.index_images import index_images
from vl_keras.training.train import train

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "configs" / "retrieval" / "tiny.yaml"
SMALL = ("data.shapes.scenes=64", "data.batch_size=16", "training.epochs=1", "training.evaluate_examples=6")


@pytest.fixture(scope="module")
def run(data_dir, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("runs") / "retrieval"
    train(load_config(TINY, (*SMALL, f"data.data_dir={data_dir}")), run_dir)
    return run_dir


@pytest.mark.slow
def test_search_ranks_by_the_cosines_of_the_task(run, tmp_path):
    for number in range(35):  # a batch and a bit, of other sizes than the run's
        draw_scene(sample_scene(f"search {number}", 48 + number, 64)).save(tmp_path / f"{number:02d}.png")
    index_images(run, [tmp_path], tmp_path / "index")
    search = ImageSearch(tmp_path / "index")
    _, task, model, _ = load_run(run)
    paths = sorted(tmp_path.glob("*.png"))
    images = [tf.image.resize(np.asarray(Image.open(path)), (48, 64), antialias=True) for path in paths]
    vectors = np.concatenate([task.embed_images(model, pixels[None]).numpy() for pixels in images])
    text = "a red circle above a blue square"
    query = task.embed_texts(model, tf.constant([text])).numpy()[0]
    results = search.by_text(text, 35)
    scores = {result.path: result.score for result in results}
    np.testing.assert_allclose([scores[str(path)] for path in paths], vectors @ query, atol=0.01)  # rounded to uint8
    assert [result.score for result in results] == sorted(scores.values(), reverse=True)
    for path in paths[:3]:
        assert search.by_image(path, 1)[0].path == str(path)
    # Another process, which draws its own random numbers, gives the same vectors and says that they are the same.
    command = [
        sys.executable,
        "-m",
        "vl_keras.cli.main",
        "search",
        str(tmp_path / "index"),
        "--text",
        text,
        "--top",
        "35",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [float(score) for _, score, _ in lines] == pytest.approx([result.score for result in results], abs=1e-4)


@pytest.mark.slow
def test_a_querybank_takes_its_part_off_images_that_texts_find(data_dir, tmp_path):
    run = tmp_path / "run"
    train(load_config(TINY, (*SMALL, f"data.data_dir={data_dir}", "retrieval.querybank=40")), run)
    for number in range(9):
        draw_scene(sample_scene(f"search {number}", 48, 64)).save(tmp_path / f"{number}.png")
    index_images(run, [tmp_path], tmp_path / "index")
    _, task, model, _ = load_run(run)
    assert task.querybank_texts == [own[0] for own in task.texts("train")[:40]]
    texts = task.embed_texts(model, tf.constant(task.querybank_texts)).numpy().astype(float)
    query = task.embed_texts(model, tf.constant(["a red circle"])).numpy()[0].astype(float)
    scale = task.similarity_scale(model)
    search = ImageSearch(tmp_path / "index")
    index = VectorIndex.open(tmp_path / "index")
    vectors = {row["path"]: vector for row, vector in zip(index.rows, index.vectors, strict=True)}
    for found in search.by_text("a red circle", 9):
        vector = vectors[found.path][:-1].astype(float)
        near = np.log(np.mean(np.exp(scale * texts @ vector))) / scale
        np.testing.assert_allclose(found.score, vector @ query - near / 2, atol=1e-4)
    for path in sorted(tmp_path.glob("*.png")):
        best = search.by_image(path, 1)[0]
        assert best.path == str(path) and best.score == pytest.approx(1.0, abs=1e-4)
    # The run explains itself: without its training data, and another bank is another encoder.
    data = load_config(run / "config.yaml").data.data_dir
    index_images(
        run,
        [tmp_path / "0.png"],
        tmp_path / "plain",
        overrides=["retrieval.querybank=0", f"data.data_dir={data}/absent"],
    )
    assert ImageSearch(tmp_path / "plain").by_text("a red circle", 1)[0].score == pytest.approx(
        float(vectors[str(tmp_path / "0.png")][:-1] @ query), abs=1e-4
    )
    with pytest.raises(RetrievalError, match="another encoder"):
        index_images(run, [tmp_path], tmp_path / "index", overrides=["retrieval.querybank=20"])

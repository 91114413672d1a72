"""Models of two inputs beat whatever one of them tells: here one coloured shape an image, asked two things."""

import collections
import json
import random
from pathlib import Path

import pytest

from vl_keras.config import load_config
from vl_keras.data.builders.shapes_scene import Scene, SceneObject, encode_scene
from vl_keras.layers.fusion import FUSIONS
from vl_keras.metrics.caption_scores import score_captions
from vl_keras.training.train import train

pytestmark = pytest.mark.usefixtures("no_sample_images")
CONFIGS = Path(__file__).resolve().parents[2] / "configs"
MARGIN = 0.1
HEIGHT, WIDTH = 32, 48
RUN = ("training.epochs=6", "training.evaluate_examples=0")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Folder of 500 images, and of each its name, split, colour and shape."""
    folder, rng, rows = tmp_path_factory.mktemp("one_shape"), random.Random(0), []
    for number in range(500):
        color, shape = rng.choice(("red", "green", "blue")), rng.choice(("circle", "square", "cross"))
        radius = rng.uniform(0.25, 0.35)
        x, y = rng.uniform(radius, WIDTH / HEIGHT - radius), rng.uniform(radius, 1 - radius)
        item = SceneObject("large", color, shape, x, y, radius, rng.uniform(-0.2, 0.2), 0, 0)
        ground = tuple(rng.randint(205, 245) for _ in range(3))
        (folder / f"{number}.jpg").write_bytes(encode_scene(Scene((item,), ground, HEIGHT, WIDTH)))
        rows.append((f"{number}.jpg", "train" if number < 400 else "dev", color, shape))
    return folder, rows


@pytest.fixture(scope="module")
def questions(images):
    """Manifest that asks for colour and shape of each image, and the most that one input can tell."""
    folder, rows = images
    asked = [(name, split, "what color is it?", color) for name, split, color, _ in rows]
    asked += [(name, split, "what shape is it?", shape) for name, split, _, shape in rows]
    manifest = folder / "questions.jsonl"
    _write(manifest, [dict(zip(("image", "split", "question", "answer"), row, strict=True)) for row in asked])
    dev = [row for row in asked if row[1] == "dev"]
    return manifest, max(_best_from_one(dev, key=2), _best_from_one(dev, key=0))


@pytest.fixture(scope="module")
def captions(images):
    """Manifest with a caption of each image, and those of the development images by name."""
    folder, rows = images
    manifest = folder / "captions.jsonl"
    rows = [{"image": name, "split": split, "captions": [f"a {color} {shape}"]} for name, split, color, shape in rows]
    _write(manifest, rows)
    return manifest, {row["image"]: row["captions"] for row in rows if row["split"] == "dev"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Function of a task, a manifest and overrides to the best measures of a run of the task's tiny config."""

    def run(task, manifest, *overrides):
        size = (f"data.manifest={manifest}", f"data.data_dir={manifest.parent}", f"data.image_size=[{HEIGHT},{WIDTH}]")
        config = load_config(CONFIGS / task / "tiny.yaml", (*size, *RUN, *overrides))
        return train(config, tmp_path_factory.mktemp("runs") / task)["best"]["measures"]

    return run


@pytest.mark.parametrize(
    "fusion", [name if name == "product" else pytest.param(name, marks=pytest.mark.slow) for name in FUSIONS]
)
def test_every_fusion_answers_more_than_one_input_tells(questions, trained, fusion):
    manifest, alone = questions
    metrics = trained("vqa", manifest, "data.captions_per_image=2", f"model.fusion={fusion}")
    assert metrics["accuracy"] > alone + MARGIN


@pytest.mark.slow
@pytest.mark.parametrize("reads", ["text", "image"])
def test_a_model_shown_one_input_answers_no_more_than_it_tells(questions, trained, reads):
    manifest, alone = questions
    metrics = trained("vqa", manifest, "data.captions_per_image=2", f"model.reads={reads}")
    assert 0.25 < metrics["accuracy"] <= alone


def test_captions_say_more_than_any_caption_for_all(captions, trained):
    manifest, references = captions
    metrics = trained("captioning", manifest, "data.captions_per_image=1")
    constants = {caption for own in references.values() for caption in own}
    constants = [score_captions(references, dict.fromkeys(references, caption)) for caption in constants]
    blind = max(scores.metrics["CIDEr-D"] for scores in constants)
    assert metrics["CIDEr-D"] > 1.5 * blind


def test_matching_tells_more_than_one_input(captions, trained):
    manifest, _ = captions
    metrics = trained("matching", manifest, "data.captions_per_image=1", "model.fusion=product")
    # Every image and every caption comes with a match and without: from one of them alone, it is half at best.
    assert metrics["balanced_accuracy"] > 0.5 + MARGIN


@pytest.mark.slow  # trains for most of a minute; test_free_form_vqa.py trains for less
def test_written_answers_tell_more_than_one_input(questions, trained):
    manifest, alone = questions
    metrics = trained("free_form_vqa", manifest, "data.captions_per_image=2", "training.epochs=10")
    assert metrics["accuracy"] > alone + MARGIN


def test_retrieval_finds_more_than_a_model_that_sees_one_side(captions, trained):
    manifest, references = captions
    metrics = trained("retrieval", manifest, "data.captions_per_image=1", "data.batch_size=16")
    # Without the image, or without the text, every order of the images is as good as any other.
    blind = 100 * sum(k / len(references) for k in (1, 5, 10)) / 3
    assert metrics["mean_recall"] > 3 * blind


def _best_from_one(rows, key):
    """The largest share of answers that are right where the answer depends on one column only."""
    answers = collections.defaultdict(collections.Counter)
    for row in rows:
        answers[row[key]][row[3]] += 1
    return sum(max(counts.values()) for counts in answers.values()) / len(rows)


def _write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))

"""Answers and matches for anybody's images."""

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from vl_keras.data.builders.shapes_scene import draw_scene, sample_scene
from vl_keras.errors import RunError
from vl_keras.inference.predict import format_failures, predict
from vl_keras.runs.load_run import load_run

TEXTS = ["is there a red circle?", "what shape is to the left of the star?", "Größe 图"]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder with images of the run's size, so that a file is what the model sees, and with one that is none."""
    folder = tmp_path_factory.mktemp("images")
    for number in range(3):
        draw_scene(sample_scene(f"predict {number}", 24, 32)).save(folder / f"{number}.png")
    (folder / "bad.jpg").write_text("no image")
    return folder


@pytest.fixture(scope="module", params=["vqa", "matching"])
def predicted(request, task_run, images, tmp_path_factory):
    """Task's name, predictions, rows of the JSONL file, folder of the explanations."""
    out = tmp_path_factory.mktemp("out")
    seen = []
    inputs = {"question" if request.param == "vqa" else "text": TEXTS}
    settings = {"out": out / "new" / "said.jsonl", "explain": out / "drawn" / "x.png", "report": seen.append}
    predictions = predict(task_run(request.param), [images], inputs, **settings)
    assert seen == predictions
    lines = (out / "new" / "said.jsonl").read_text("utf-8").splitlines()
    return request.param, predictions, [json.loads(line) for line in lines], out / "drawn"


def test_each_image_with_each_text_and_a_bad_one_costs_itself(predicted, images):
    name, predictions, rows, _ = predicted
    key = "question" if name == "vqa" else "text"
    good = [(str(images / f"{number}.png"), text) for number in range(3) for text in TEXTS]
    assert [(p.path, p.output[key]) for p in predictions if p.status == "ok"] == good
    (bad,) = [p for p in predictions if p.status != "ok"]
    assert bad.path == str(images / "bad.jpg") and bad.line == "" and bad.output == {}
    assert format_failures(predictions).startswith("1 of 4 images could not be read:\n  ")
    for prediction, row in zip(predictions, rows, strict=True):
        assert row == {"image": prediction.path, "status": prediction.status, **prediction.output}


def test_it_says_what_is_served(predicted, task_run):
    """Line and output against the serving signature's function, an image alone."""
    name, predictions, _, _ = predicted
    _, task, model, _ = load_run(task_run(name))
    served = task.serving_signatures(model)["answer" if name == "vqa" else "match"]
    for prediction in predictions:
        if prediction.status != "ok":
            continue
        image = np.asarray(Image.open(prediction.path), np.float32)[None]
        text = prediction.output[served.inputs[1]]
        outputs = served.function({"image": tf.constant(image), served.inputs[1]: tf.constant([text])})
        for key, value in outputs.items():
            if value.dtype == tf.string:
                found = [item.decode() for item in np.ravel(value.numpy()[0])]
                assert found == list(np.ravel(prediction.output[key]))
            else:
                np.testing.assert_allclose(prediction.output[key], value.numpy()[0], atol=1e-5)
        if name == "vqa":
            said = f"{prediction.output['answer']} ({prediction.output['score']:.2f})"
        else:
            chance = prediction.output["probability"]
            said = f"{'match' if chance >= 0.5 else 'no match'} ({chance:.2f})"
        assert prediction.line == f"{text}\t{said}"


def test_explanations_are_named_after_image_and_text(predicted, images):
    _, predictions, _, folder = predicted
    drawn = [p.explanation for p in predictions if p.status == "ok"]
    wanted = [str(folder / f"x-{image}-{text}.png") for image in range(3) for text in (1, 2, 3)]
    assert drawn == wanted and sorted(map(str, folder.iterdir())) == sorted(wanted)
    for path in drawn:
        assert np.asarray(Image.open(path)).std() > 10


def test_an_answer_below_the_threshold_is_withheld(task_run, images, monkeypatch):
    from vl_keras.tasks.vqa import VqaTask

    plain = predict(task_run("vqa"), [images / "0.png"], inputs={"question": TEXTS[:1]})[0]
    own = VqaTask.use_metrics
    monkeypatch.setattr(VqaTask, "use_metrics", lambda task, metrics: own(task, {**metrics, "threshold": 1.0}))
    withheld = predict(task_run("vqa"), [images / "0.png"], inputs={"question": TEXTS[:1]})[0]
    assert withheld.output == {**plain.output, "answer": ""}
    assert withheld.line == f"{TEXTS[0]}\tno answer ({plain.output['answer']} {plain.output['score']:.2f})"


@pytest.mark.parametrize(
    "task, inputs, message",
    [
        ("vqa", {}, "is a vqa run: give it something to read with --question"),
        ("matching", {"text": ["a red circle", " "]}, "is a matching run: give it something to read with --text"),
        ("vqa", {"question": TEXTS, "text": ["a"]}, "is a vqa run: it takes --question, not --text"),
        ("matching", {"question": TEXTS, "context": ["a"]}, "it takes --text, not --question or --context"),
        ("retrieval", {}, "A retrieval run finds images instead.*vl-keras index .*vl-keras search"),
    ],
)
def test_what_does_not_belong_to_the_task_is_said(task_run, images, task, inputs, message):
    with pytest.raises(RunError, match=message):
        predict(task_run(task), [images / "0.png"], inputs)

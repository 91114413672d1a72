"""What ensembles, captioners with a memory and other tasks answer when they are exported: the laws captions keep."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from export.savedmodel import export_savedmodel
from export.signatures import serving_functions
from vl_keras.data.image_ops import decode_image, resize
from vl_keras.data.modalities.golden_images import golden_images
from vl_keras.runs.load_run import load_run

pytestmark = (
    pytest.mark.slow
)  # six models are exported and asked for every number of rows; the contract of tasks is quick

EMBEDDING = ({"image_bytes"}, {"embedding", "status"})
ANSWER = ({"image_bytes", "question"}, {"answer", "score", "answers", "scores", "status"})
CAPTION = {"caption", "score", "status"}
# The default first.
CAPTIONING = {
    "caption": ({"image_bytes"}, CAPTION),
    "caption_candidates": ({"image_bytes"}, {"captions", "scores", "status"}),
    "caption_explain": ({"image_bytes"}, {*CAPTION, "tokens", "attention"}),
    "embed_image": EMBEDDING,
}
SIGNATURES = {
    "ensemble": CAPTIONING,
    "consensus": CAPTIONING,
    "vqa": {"answer": ANSWER, "embed_image": EMBEDDING},
    "free_form_vqa": {"answer": ANSWER, "embed_image": EMBEDDING},
    "matching": {"match": ({"image_bytes", "text"}, {"probability", "status"}), "embed_image": EMBEDDING},
    "retrieval": {"embed_image": EMBEDDING, "embed_text": ({"text"}, {"embedding", "status"})},
}
IMAGES = list(golden_images().values())[:5]
# Of other letters, empty, too long, and no UTF-8 at all.
TEXTS = [b"what color is the square?", "Größe 图?".encode(), b"", b"a red star " * 40, b"a \xff\xfe star"]
BAD = {1: b"junk", 3: b"", 4: IMAGES[0][:2000]}  # by row


@pytest.fixture(scope="module", params=SIGNATURES)
def exported(request, tmp_path_factory):
    """The task's name, its exported signatures, and the same in memory with the size of its images."""
    value, overrides = request.getfixturevalue, ()
    if request.param == "consensus":
        run, overrides = value("member_runs")[1], [f"generation.memory={value('memory_folder')}"]
    else:
        run = value("ensemble_run") if request.param == "ensemble" else value("task_run")(request.param)
    out = tmp_path_factory.mktemp("models") / request.param
    path = export_savedmodel(run, out, batch_sizes=(1,), overrides=overrides, log=lambda line: None).path
    config, task, model, _ = load_run(run, overrides=overrides, precision="float32")
    served = tf.saved_model.load(str(path)).signatures
    return request.param, served, task.serving_signatures(model), config.data.image_size


def _ask(signature, contents, texts):
    """The answer as arrays; whatever beside `image_bytes` the signature takes is a text."""
    names = signature.structured_input_signature[1]
    given = {name: tf.constant(contents if name == "image_bytes" else texts, tf.string) for name in names}
    return {key: value.numpy() for key, value in signature(**given).items()}


def _assert_alike(row, other, tolerance):
    for key, value in row.items():
        if isinstance(value, bytes) or value.dtype == object:
            np.testing.assert_array_equal(value, other[key])
        else:
            np.testing.assert_allclose(value, other[key], atol=tolerance)


def _row(answer, number):
    return {key: value[number] for key, value in answer.items()}


def test_each_task_has_its_signatures(exported):
    name, served, _, _ = exported
    wanted = SIGNATURES[name]
    assert set(served) == {*wanted, "serving_default"}
    for signature, (inputs, outputs) in {**wanted, "serving_default": next(iter(wanted.values()))}.items():
        assert set(served[signature].structured_input_signature[1]) == inputs
        assert set(served[signature].structured_outputs) == outputs


def test_served_is_in_memory(exported):
    _, served, in_memory, size = exported
    images = tf.stack([resize(decode_image(image), size) for image in IMAGES])
    for signature, how in in_memory.items():
        answer = _ask(served[signature], IMAGES, TEXTS)
        assert set(answer.pop("status")) == {b"ok"}
        inputs = {key: images if key == "image" else tf.constant(TEXTS) for key in how.inputs}
        expected = {key: value.numpy() for key, value in how.function(inputs).items()}
        _assert_alike(answer, expected, 1e-5)
        assert all(np.isfinite(value).all() for value in answer.values() if value.dtype != object)
        assert any(len({str(row.tolist()) for row in value}) > 1 for value in answer.values())


def test_a_bad_row_fails_alone(exported):
    name, served, _, _ = exported
    mixed = [BAD.get(number, image) for number, image in enumerate(IMAGES)]
    for signature, (inputs, _) in SIGNATURES[name].items():
        if "image_bytes" not in inputs:
            continue
        good, answer = (_ask(served[signature], contents, TEXTS) for contents in (IMAGES, mixed))
        for number in range(len(IMAGES)):
            if number not in BAD:
                _assert_alike(_row(answer, number), _row(good, number), 1e-5)
                continue
            row = _row(answer, number)
            assert row.pop("status").split(b":")[0] in (b"unsupported", b"empty", b"damaged")
            assert not any(
                np.any(value != (b"" if np.asarray(value).dtype.kind in "SO" else 0)) for value in row.values()
            )


def test_any_number_of_rows(exported):
    name, served, _, _ = exported
    for signature in SIGNATURES[name]:
        whole = _ask(served[signature], IMAGES, TEXTS)
        for count in (0, 1, 3):
            answer = _ask(served[signature], IMAGES[:count], TEXTS[:count])
            assert all(len(value) == count for value in answer.values())
            for number in range(count):
                _assert_alike(_row(answer, number), _row(whole, number), 1e-4)


@pytest.mark.parametrize("task", ["vqa", "free_form_vqa"])
def test_an_answer_below_the_threshold_is_withheld(task_run, tmp_path, task):
    run = shutil.copytree(task_run(task), tmp_path / "run")
    answers = []
    for threshold in (0.0, 1.1):
        metrics = json.loads((run / "measures.json").read_text("utf-8"))
        metrics["best"]["measures"]["threshold"] = threshold
        (run / "measures.json").write_text(json.dumps(metrics), "utf-8")
        config, loaded, model, _ = load_run(run, precision="float32")
        ask = serving_functions(loaded.serving_signatures(model), config.data)["answer"]
        answers.append({key: value.numpy() for key, value in ask(IMAGES[:3], TEXTS[:3]).items()})
    given, withheld = answers
    np.testing.assert_array_equal(given["answer"], given["answers"][:, 0])
    assert set(withheld.pop("answer")) == {b""}
    _assert_alike(withheld, given, 1e-6)

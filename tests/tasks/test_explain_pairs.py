"""Which words looked where, and what spoke for an answer of a fusion that has no attention."""

import numpy as np
import pytest
import tensorflow as tf

from vl_keras.encoders.hub_tokenizer import HubTokenizer
from vl_keras.models.token_reader import MaskedTokens
from vl_keras.tasks.matching import MatchingTask
from vl_keras.tasks.pairing.explain_pairs import PairExplainer
from vl_keras.tasks.vqa import VqaTask

QUESTION = "what is to the left of the star?"
TASKS = {"vqa": VqaTask, "matching": MatchingTask}


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 256, (1, 24, 32, 3), np.uint8)


def _built(task_config, name, fusion):
    task = TASKS[name](task_config(name, f"model.fusion={fusion}", "text.max_length=40"))
    return task, task.build()


@pytest.mark.parametrize("fusion", ["cross_modal", "early"])
def test_words_have_the_attention_of_their_tokens(task_config, image, fusion):
    task, model = _built(task_config, "vqa", fusion)
    text = "what is tothel left of the starring star?"  # some words are several pieces
    found = PairExplainer(task, model)(image, text, "yes", "asked")
    assert found.words == text.split() and found.grad_cam is None and found.caption == "asked"
    ids = task.encode_texts([text])
    outputs = model.answer(model.read_images({"image": image}), ids)
    weights = outputs["attention"].numpy()[0].reshape(-1, 3, 4)
    pieces = [task.tokenizer.tokenize([word])[0].shape[0] for word in text.split()]
    assert max(pieces) > 1
    ends = np.cumsum(pieces)
    for word, (start, end) in enumerate(zip(ends - pieces, ends, strict=True)):
        np.testing.assert_allclose(found.attention[word], weights[start:end].mean(axis=0), atol=1e-6)
    if fusion == "cross_modal":
        np.testing.assert_allclose(found.attention.sum(axis=(1, 2)), 1, atol=1e-5)


@pytest.mark.parametrize("name, fusion", [("vqa", "product"), ("vqa", "late"), ("matching", "gated")])
def test_without_attention_it_is_grad_cam_of_the_log_odds(task_config, image, name, fusion):
    """From the gradient on in float64; the gradient itself against differences of the log-odds."""
    task, model = _built(task_config, name, fusion)
    explainer = PairExplainer(task, model)
    found = explainer(image, QUESTION, "said", "asked")
    assert found.attention is None and found.words == ["said"] and fusion in explainer.note
    regions = model.read_images({"image": image})
    ids = task.encode_texts([QUESTION])

    def log_odds(tokens):
        regions = MaskedTokens(tokens, tf.ones(tokens.shape[:2], tf.bool))
        logits = model.answer(regions, tf.repeat(ids, len(tokens), axis=0))["logits"].numpy().astype(np.float64)
        if name == "matching":
            return logits[:, 0] * sign
        chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        return np.log(chances[:, best] / (1 - chances[:, best]))

    logits = model.answer(regions, ids)["logits"].numpy()[0]
    best, sign = int(logits.argmax()), np.sign(logits[0])
    place, step = regions.tokens.numpy()[0], 0.05
    changed = place[None] + step * np.concatenate(
        [direction * np.eye(place.size).reshape(-1, *place.shape) for direction in (1, -1)]
    )
    up, down = np.split(log_odds(tf.constant(changed, tf.float32)), 2)
    gradient = ((up - down) / (2 * step)).reshape(place.shape)
    relative = place - place.mean(axis=0)
    wanted = np.maximum((relative * gradient.mean(axis=0)).sum(axis=1), 0).reshape(3, 4)
    assert wanted.max() > 0
    np.testing.assert_allclose(found.grad_cam[0], wanted, atol=0.02 * wanted.max())


def test_a_model_that_reads_no_image_has_no_bright_place(task_config, image):
    task = VqaTask(task_config("vqa", "model.fusion=product", "model.reads=text"))
    found = PairExplainer(task, task.build())(image, QUESTION, "said", "asked")
    np.testing.assert_array_equal(found.grad_cam, np.zeros((1, 3, 4)))


class _Pieces:
    """A hub tokenizer whose words are as many pieces as they have letters."""

    PAD, END, is_learned = 0, 3, False

    @staticmethod
    def tokenize(strings):
        letters = tf.strings.unicode_split(strings, "UTF-8")
        return tf.concat([tf.fill([letters.nrows(), 1], 2), tf.cast(letters != "", tf.int32) * 9], axis=1)


def test_words_of_a_hub_module_are_those_that_spaces_part():
    explainer = PairExplainer.__new__(PairExplainer)
    explainer._task = type("Task", (), {"tokenizer": _Pieces()})()
    ids = np.array([2, 9, 9, 9, 9, 9, 9, 3, 0, 0])
    assert explainer._words("ab c def", ids) == (["ab", "c", "def"], [slice(1, 3), slice(3, 4), slice(4, 7)])
    cut = np.array([2, 9, 9, 9, 9, 3])  # the text was longer than the module reads
    assert explainer._words("ab c def ghi", cut) == (["ab", "c", "def"], [slice(1, 3), slice(3, 4), slice(4, 5)])
    assert explainer._words("", np.array([2, 3])) == ([], [])
    assert hasattr(HubTokenizer, "tokenize") and HubTokenizer.is_learned is False


@pytest.mark.parametrize("name", TASKS)
def test_samples_for_the_board_follow_the_weights(task_config, name):
    task, model = _built(task_config, name, "interactive")
    sample = task.sample_images(model, "dev")
    images, lines = sample()
    assert len(images) == len(lines) == 4
    assert all(image.dtype == np.uint8 and image.std() > 10 for image in images)
    first = task.texts("dev")[0][0]
    assert lines[0].startswith(f"{first}: ")
    (bias,) = [weight for weight in model.pair_reader.weights if "logits/bias" in weight.name]
    bias.assign(tf.one_hot(2, bias.shape[0]) * 50 if name == "vqa" else [50.0])
    _, changed = sample()
    assert changed != lines
    assert all(line.endswith(f"{task.answers[2]} (1.00)" if name == "vqa" else "match (1.00)") for line in changed)

"""Where the model looked: attention and Grad-CAM against transcriptions, and the images drawn of them."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from vl_keras.data.text_ops import CaptionTokenizer
from vl_keras.drawing.attention_drawing import draw_explanation
from vl_keras.drawing.attention_map import fit, overlay
from vl_keras.runs.load_run import load_run
from vl_keras.tasks.writing.explain_captions import Explainer, Explanation, by_word, words_of_tokens
from vl_keras.tasks.writing.pointing import play_pointing_game

BATCH = 3


@pytest.fixture(scope="module")
def loaded(trained_run):
    """Task, captioner and an explainer; a minimum length, since a run of seconds writes next to nothing."""
    _, task, captioner, _ = load_run(trained_run, overrides=["generation.min_length=6", "generation.no_repeat_ngram=2"])
    return task, captioner, Explainer(task, captioner, BATCH)


@pytest.fixture(scope="module")
def batch(loaded):
    inputs, _ = next(iter(loaded[0].evaluation_data(loaded[1], "dev", BATCH)))
    return dict(inputs)


@pytest.fixture(scope="module")
def explained(loaded, batch):
    """Explanations of the batch with Grad-CAM, which the small CNN would otherwise go without."""
    explainer = loaded[2]
    explainer._has_grad_cam = True
    return explainer(batch, in_depth=True)


def test_attention_is_a_share_of_every_grid_cell(explained):
    for explanation in explained[0]:
        assert explanation.attention.shape == (len(explanation.words), 3, 4)  # images of 24 x 32, cells of 8 pixels
        np.testing.assert_allclose(explanation.attention.sum(axis=(1, 2)), 1.0, atol=1e-5)
        assert "".join(explanation.words) == explanation.caption.replace(" ", "")  # "a ," is written "a,"


def test_probabilities_equal_those_of_the_training_model(loaded, batch, explained):
    task, captioner, _ = loaded
    explanations, (_, written) = explained
    tokens = written.tokens[:, :1]
    read = np.concatenate([np.full((BATCH, 1, 1), task.tokenizer.START), tokens[..., :-1]], axis=-1)
    read[read == task.tokenizer.END] = task.tokenizer.PAD
    logits = captioner.training_model({**batch, "caption_ids": read}, training=False).numpy().astype(np.float64)
    shares = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    for row, explanation in enumerate(explanations):
        count = len(explanation.words)
        assert count >= 5
        wanted = shares[row, 0, np.arange(count), tokens[row, 0, :count]]
        np.testing.assert_allclose(explanation.probabilities, wanted, rtol=1e-4)


def test_grad_cam_equals_its_formula(loaded, batch, explained):
    """Selvaraju et al. (2017), equations 1 and 2, one token at a time, in float64 from the gradient on."""
    task, captioner, _ = loaded
    explanations, (_, written) = explained
    row = 1
    tokens = written.tokens[row, 0, : len(explanations[row].words)]
    features = captioner.image_encoder(batch["image"][row : row + 1], training=False)["image_tokens"]
    read = np.concatenate([[task.tokenizer.START], tokens[:-1]])[None, None]
    for place, token in enumerate(tokens):
        with tf.GradientTape() as tape:
            tape.watch(features)
            memory = captioner.read({"image_tokens": features})
            logits = captioner.decoder.model([read, memory["memory"], memory["memory_mask"]], training=False)
            log_probability = tf.nn.log_softmax(logits)[0, 0, place, token]
        gradient = tape.gradient(log_probability, features).numpy()[0].astype(np.float64)
        alpha = gradient.mean(axis=0)
        wanted = np.maximum((features.numpy()[0] * alpha).sum(axis=-1), 0).reshape(3, 4)
        np.testing.assert_allclose(explanations[row].grad_cam[place], wanted, atol=1e-6)


def test_a_batch_neighbour_changes_nothing(loaded, batch, explained):
    alone, _ = loaded[2]({name: value[1:2] for name, value in batch.items()})
    assert alone[0].caption == explained[0][1].caption
    np.testing.assert_allclose(alone[0].attention, explained[0][1].attention, atol=1e-5)
    assert alone[0].probabilities is None and alone[0].grad_cam is None


def test_pieces_of_a_word_are_one_word():
    tokenizer = CaptionTokenizer([*CaptionTokenizer.SPECIALS, "dog", "##s", "a", "##.", "##"])
    words, places = words_of_tokens(tokenizer, np.array([6, 4, 5, 7, 8, 4]))
    assert words == ["a", "dogs.", "##", "dog"]
    maps = np.arange(6.0)[:, None, None] * np.ones((6, 2, 3))
    np.testing.assert_array_equal(by_word(maps, places)[:, 0, 0], [0, 2, 4, 5])
    assert by_word(maps[:0], []).shape == (0, 2, 3)


def test_the_pointing_game_counts_the_words_for_objects(loaded, explained):
    task, _, explainer = loaded
    game = play_pointing_game(task, explainer, "dev", limit=BATCH)
    words = 0
    for index, explanation in enumerate(explained[0]):
        nouns = {item["label"].split()[-1] for item in task.source("dev").objects[index]}
        words += sum(
            bool({word, word.removesuffix("s"), word.removesuffix("es")} & nouns) for word in explanation.words
        )
    assert 0 <= game["words"] <= words
    assert 0 <= game["hits"] <= 1


@pytest.mark.parametrize("row, column", [(0, 0), (2, 1), (1, 3)])
def test_the_overlay_is_brightest_in_the_cell_that_was_looked_at(row, column):
    weights = np.zeros((3, 4))
    weights[row, column] = 0.3
    drawn = np.asarray(overlay(Image.new("RGB", (80, 60), "white"), weights, mark=False)).astype(int).sum(axis=-1)
    heat = drawn - drawn.min()
    y, x = (np.indices(heat.shape) * heat).sum(axis=(1, 2)) / heat.sum()
    assert row / 3 <= (y + 0.5) / 60 <= (row + 1) / 3
    assert column / 4 <= (x + 0.5) / 80 <= (column + 1) / 4


def test_the_overlay_of_no_attention_at_all_is_dark():
    drawn = np.asarray(overlay(Image.new("RGB", (8, 6), "white"), np.zeros((2, 3))))
    assert drawn.max() < 128


@pytest.mark.parametrize(
    "size, fitted", [((30, 40), (75, 100)), ((40, 30), (100, 75)), ((2, 400), (25, 100)), ((1, 1), (100, 100))]
)
def test_an_image_keeps_its_shape_but_never_gets_too_narrow(size, fitted):
    assert fit(np.zeros((*size, 3), np.uint8), 100).size == fitted[::-1]


def test_explanations_are_drawn(explained, tmp_path):
    explanation = explained[0][0]
    image = np.full((36, 48, 3), 200, np.uint8)
    draw_explanation(explanation, image, tmp_path / "both.png", "name")
    draw_explanation(explanation._replace(grad_cam=None, probabilities=None), image, tmp_path / "one.png")
    draw_explanation(Explanation("", [], np.zeros((0, 3, 4))), image, tmp_path / "empty.png")
    both, one, empty = (Image.open(tmp_path / f"{name}.png") for name in ("both", "one", "empty"))
    assert both.width == one.width and both.height > one.height > empty.height

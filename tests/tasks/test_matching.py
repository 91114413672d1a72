"""Image-text matching: where its negatives come from, what is measured, and laws of the classifier."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from vl_keras.data.epoch_plan import choose_negatives
from vl_keras.errors import DataError
from vl_keras.metrics.match_scores import match_scores
from vl_keras.tasks.matching import MatchingTask
from vl_keras.tasks.pairing.match_pairs import nearest_images, pairs_of_split

_PLAIN = ("data.augment.word_swap=0",)


@pytest.fixture(scope="module")
def task(task_config):
    return MatchingTask(task_config("matching"))


@pytest.fixture(scope="module")
def model(task):
    return task.build()


def test_random_negatives_are_of_every_other_image_alike():
    counts = np.array([2, 0, 1, 3, 2])
    owner = np.repeat(np.arange(5), counts)
    drawn = choose_negatives(counts, 20_000, np.random.default_rng(0))
    assert drawn.shape == (5, 20_000) and drawn.min() >= 0
    for image, numbers in enumerate(drawn):
        others = [other for other in range(5) if counts[other] and other != image]
        shares = np.bincount(owner[numbers], minlength=5) / len(numbers)
        np.testing.assert_allclose(shares, [1 / len(others) if i in others else 0 for i in range(5)], atol=0.02)
        of_three = np.bincount(numbers[owner[numbers] == 3], minlength=len(owner))[owner == 3]
        if image != 3:
            np.testing.assert_allclose(of_three / of_three.sum(), 1 / 3, atol=0.03)


def test_nothing_to_draw_from_is_no_negative():
    np.testing.assert_array_equal(choose_negatives([3], 2, np.random.default_rng(0)), [[-1, -1]])
    np.testing.assert_array_equal(choose_negatives([0, 4], 1, np.random.default_rng(0))[1], [-1])
    assert choose_negatives([0, 4], 1, np.random.default_rng(0))[0] >= 0


def test_training_pairs_are_own_texts_then_others(task_config, task, model):
    """K own captions with label 1, K of other images with label 0."""
    captions = [[_plain(task, text) for text in texts] for texts in task.texts("train")]
    images = _images(task, model, "train")
    for x, y, weight in MatchingTask(task_config("matching", *_PLAIN), task.tokenizer).training_data(model).take(4):
        np.testing.assert_array_equal(y[..., 0], np.tile([1, 1, 0, 0], (6, 1)))
        assert np.all(weight.numpy() == 1)
        texts = task.tokenizer.detokenize(x["text_ids"]).numpy()
        for image, row in zip(x["image"].numpy(), texts, strict=True):
            index, mirrored = _find(images, image)
            own = {_swap(text) if mirrored else text for text in captions[index]}
            assert {text.decode() for text in row[:2]} <= own
            others = {_swap(text) if mirrored else text for i, of in enumerate(captions) if i != index for text in of}
            assert {text.decode() for text in row[2:]} <= others


def test_nearest_negatives_are_of_images_that_look_alike(task_config, task, model):
    nearest = MatchingTask(
        task_config("matching", "matching.negatives=nearest", "matching.neighbours=3"), task.tokenizer
    )
    images = _images(task, model, "train")
    tokens = model.image_encoder(images.astype(np.float32), training=False)["image_tokens"].numpy().astype(np.float64)
    vectors = tokens.mean(axis=1)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, -1)
    found = nearest_images(nearest, model)
    assert found.shape == (60, 3)
    for row, ours in zip(similarity, found, strict=True):
        np.testing.assert_allclose(row[ours], np.sort(row)[::-1][:3], atol=1e-5)
    drawn = choose_negatives(np.full(60, 5), 50, np.random.default_rng(1), found)
    assert all(set(numbers // 5) == set(ours) for numbers, ours in zip(drawn, found, strict=True))
    x, y, weight = next(iter(nearest.training_data(model)))
    assert y.shape == (6, 4, 1) and x["text_ids"].shape[:2] == (6, 4)


def test_measured_pairs_are_the_same_each_time(task, model):
    owners, texts, truth = pairs_of_split(task, "dev")
    captions = task.source("dev").captions
    own = [(index, text) for index, of in enumerate(captions) for text in of]
    assert [(index, text) for index, text, match in zip(owners, texts, truth, strict=True) if match] == own
    others = [(index, text) for index, text, match in zip(owners, texts, truth, strict=True) if not match]
    assert len(others) == len(own)
    numbered = [text for of in captions for text in of]
    assert all(text in numbered for _, text in others)
    assert len({text for _, text in others}) > 10
    few = pairs_of_split(task, "dev", 2)
    assert few[0] == [index for index in owners if index < 2] and few[1] == texts[: len(few[1])]
    metrics, matches = task.score_split(model, "dev")
    assert [(match.index, match.text, match.match) for match in matches] == list(zip(owners, texts, truth, strict=True))
    probability, match = [match.probability for match in matches], [match.match for match in matches]
    assert metrics == pytest.approx({**match_scores(probability, match), "best_threshold": metrics["best_threshold"]})
    best = match_scores(probability, match, metrics["best_threshold"])["balanced_accuracy"]
    assert best >= max(match_scores(probability, match, p)["balanced_accuracy"] for p in probability) - 1e-9


def test_all_pairs_of_a_batch_are_read_as_each_alone(task_config, task):
    hard = MatchingTask(task_config("matching", "matching.negatives=hardest"), task.tokenizer)
    model = hard.build()
    x, y, weight = next(iter(hard.training_data(model)))
    logits = model.training_model(x, training=False).numpy()
    assert logits.shape == (6, 12, 1) and weight.shape == (6, 2)
    regions = model.read_images(x)
    ids = x["text_ids"].numpy().reshape(12, -1)
    for image, text in ((0, 0), (2, 11), (5, 3)):
        alone = model.answer(regions.rows([image]), tf.constant(ids[text][None]))["logits"]
        assert logits[image, text, 0] == pytest.approx(float(alone[0, 0]), abs=1e-5)
    lacking = tf.concat([x["text_ids"][:, :1], tf.zeros_like(x["text_ids"][:, 1:])], axis=1)
    fewer = model.training_model({**x, "text_ids": lacking}, training=False).numpy()
    np.testing.assert_allclose(fewer[:, ::2], logits[:, ::2], atol=1e-5)
    assert fewer[:, 1::2].max() < logits.min()  # so that no missing text is the hardest negative
    weight = np.tile(np.float32([[2, 0]]), (6, 1))
    assert 0 < float(hard.loss()(y, tf.constant(fewer), tf.constant(weight))) < 20


def test_an_unreadable_image_costs_its_own_pairs(task_config, task, model, break_image):
    task = MatchingTask(task_config("matching", "data.max_bad_share=0.3"), task.tokenizer)
    break_image(task.source("dev"), 4)
    _, matches = task.score_split(model, "dev")
    assert {match.index for match in matches} == {0, 1, 2, 3, 5}


@pytest.fixture
def labelled(tmp_path):
    """Override that reads a file of labelled pairs: eight training images, two for development."""
    lines = []
    for number in range(10):
        array = np.full((24, 32, 3), 20 * number, np.uint8)
        array[:, :16] += 50
        Image.fromarray(array).save(tmp_path / f"{number}.png")
        split = "train" if number < 8 else "dev"
        lines += [f"{number}.png\tan image to the left of {number}\tmatch\t{split}"]
        lines += [f"{number}.png\tno image of {word}\tno-match\t{split}" for word in ("one", "right")]
    (tmp_path / "pairs.tsv").write_text("\n".join(lines) + "\n")
    return f"data.manifest={tmp_path / 'pairs.tsv'}"


def test_given_labels_are_learned_and_measured(task_config, labelled):
    task = MatchingTask(task_config("matching", labelled, "matching.negatives=given", *_PLAIN, "data.batch_size=4"))
    model = task.build()
    seen = set()
    for x, y, weight in task.training_data(model).take(4):
        texts = task.tokenizer.detokenize(x["text_ids"]).numpy().reshape(-1)
        for text, label, real in zip(texts, y.numpy().reshape(-1), weight.numpy().reshape(-1), strict=True):
            assert real and label == text.startswith(b"an image"), (text, label)
            seen.add(text.split()[4] if label else b"none")
    assert seen == {b"left", b"right", b"none"}
    metrics, matches = task.score_split(model, "dev")
    assert sorted((match.image_id, match.text, match.match) for match in matches) == sorted(
        (f"{number}.png", text, text.startswith("a"))
        for number in (8, 9)
        for text in (f"an image to the left of {number}", "no image of one", "no image of right")
    )
    assert task.signature(matches, "dev", "raw")["negatives"] == "given"


def test_labels_that_are_not_there_are_asked_for(task_config, labelled, tmp_path):
    with pytest.raises(DataError, match=r"`matching.negatives` is given, but split `train` of shapes has no labelled"):
        MatchingTask(task_config("matching", "matching.negatives=given")).texts("train")
    path = tmp_path / "pairs.tsv"
    kept = [line for line in path.read_text().splitlines() if "no-match\tdev" not in line]
    path.write_text("\n".join(kept) + "\n")
    task = MatchingTask(task_config("matching", labelled, "matching.negatives=given", "data.batch_size=4"))
    model = task.build()
    for refused in (lambda: task.score_split(model, "dev"), task.check_data):
        with pytest.raises(DataError, match="of its 2 readable pairs 2 match"):
            refused()


def test_one_image_gives_no_pair_to_be_measured_with(task_config):
    task = MatchingTask(task_config("matching"))
    task._sources = {"train": SimpleNamespace(captions=[["a"], ["b"]]), "dev": SimpleNamespace(captions=[[], ["a"]])}
    with pytest.raises(DataError, match="`dev` of shapes cannot be scored.*at least two images with captions"):
        task.check_data()
    task._sources["dev"].captions.append(["b"])
    task.check_data()


def test_cached_texts_are_the_encoded_ones(task_config, hub_bert):
    plain = MatchingTask(task_config("matching", *hub_bert))
    cached = MatchingTask(task_config("matching", *hub_bert, "text_encoder.cache_features=true"))
    model = plain.build()
    ours, theirs = cached.score_split(model, "dev")[1], plain.score_split(model, "dev")[1]
    np.testing.assert_allclose([m.probability for m in ours], [m.probability for m in theirs], atol=2e-3)


def _images(task, model, split):
    return np.concatenate([inputs["image"] for inputs, _ in task._image_batches(model, split)])


def _find(images, image):
    """Which image a training example shows, and whether mirrored."""
    for mirrored, shown in ((False, image), (True, image[:, ::-1])):
        distance = np.abs(images.astype(int) - shown.astype(int)).mean(axis=(1, 2, 3))
        if distance.min() < 1:
            return int(distance.argmin()), mirrored
    raise AssertionError("no such image")


def _plain(task, text):
    """A caption as its tokens say it."""
    return task.tokenizer.detokenize(task.encode_texts([text]))[0].numpy().decode()


def _swap(text):
    from vl_keras.data.caption_words import swap_sides

    return swap_sides(text)

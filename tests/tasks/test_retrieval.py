"""Retrieval: vectors, their fingerprint, and what is measured of them."""

import shutil

import numpy as np
import pytest
import tensorflow as tf

from vl_keras.errors import RunError
from vl_keras.metrics.retrieval_scores import retrieval_scores
from vl_keras.runs.load_run import load_run
from vl_keras.tasks.embedding.recall_metrics import recall_metrics
from vl_keras.tasks.retrieval import RetrievalTask
from vl_keras.training.train import train


@pytest.fixture(scope="module")
def task(task_config):
    return RetrievalTask(task_config("retrieval"))


@pytest.fixture(scope="module")
def model(task):
    return task.build()


def test_vectors_of_a_split_are_those_of_each_alone(task, model):
    image, text, owner, kept = task.embed_split(model, "dev")
    captions = task.source("dev").captions
    np.testing.assert_array_equal(kept, np.arange(6))
    np.testing.assert_array_equal(owner, np.repeat(np.arange(6), [len(own) for own in captions]))
    np.testing.assert_allclose(np.linalg.norm(image, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(text, axis=1), 1, atol=1e-5)
    images = np.concatenate([inputs["image"] for inputs, _ in task._image_batches(model, "dev")])
    flat = [caption for own in captions for caption in own]
    for index in (0, 5):
        np.testing.assert_allclose(task.embed_images(model, images[index][None])[0], image[index], atol=1e-5)
        alone = task.embed_texts(model, tf.constant([flat[index]]))
        np.testing.assert_allclose(alone[0], text[index], atol=1e-5)
    x = {"image": images, "text_ids": task.encode_texts([own[0] for own in captions])[:, None]}
    vectors = model.training_model(x, training=False)
    np.testing.assert_allclose(vectors[0], image, atol=1e-5)
    first = np.unique(owner, return_index=True)[1]
    np.testing.assert_allclose(vectors[1][:, 0], text[first], atol=1e-5)


def test_metrics_are_of_the_vectors(task, model):
    image, text, owner, _ = task.embed_split(model, "dev")
    metrics, scores = task.score_split(model, "dev")
    assert scores == retrieval_scores(image, text, owner)
    recalls = [metrics[f"{way} R@{k}"] for way in ("image_to_text", "text_to_image") for k in (1, 5, 10)]
    assert metrics["mean_recall"] == pytest.approx(np.mean(recalls))
    assert metrics["text_to_image median_rank"] == scores["text_to_image"]["median_rank"]
    few, _ = task.score_split(model, "dev", limit=2)
    assert few["text_to_image R@5"] == 100.0  # of two images
    assert task.signature(scores, "dev", "raw")["texts"] == len(text)


def test_perfect_vectors_have_perfect_metrics():
    vectors = np.eye(4)
    metrics = recall_metrics(retrieval_scores(vectors, np.repeat(vectors, 2, axis=0), np.repeat(np.arange(4), 2)))
    assert metrics["mean_recall"] == 100.0 and metrics["image_to_text mean_reciprocal_rank"] == 1.0


def test_unreadable_images_and_those_without_captions_are_left_out(task_config, task, model, break_image):
    task = RetrievalTask(task_config("retrieval", "data.max_bad_share=0.3"), task.tokenizer)
    whole = task.embed_split(model, "dev")
    source = task.source("dev")
    break_image(source, 1)
    source.captions[3] = []
    image, text, owner, kept = task.embed_split(model, "dev")
    np.testing.assert_array_equal(kept, [0, 2, 4, 5])
    np.testing.assert_allclose(image, whole[0][kept], atol=1e-5)
    np.testing.assert_allclose(text, whole[1][np.isin(whole[2], kept)], atol=1e-5)
    np.testing.assert_array_equal(np.asarray(kept)[owner], whole[2][np.isin(whole[2], kept)])


def test_the_fingerprint_changes_with_all_that_vectors_follow_from(task_config, task, model):
    before = task.fingerprint(model)
    assert len(before) == 64 and before == task.fingerprint(model)
    for part in ("image_encoder", "text_encoder", "image_head", "text_head"):
        weight = getattr(model, part).weights[-1]
        value = weight.numpy()
        weight.assign(value + 1e-4)
        assert task.fingerprint(model) != before, part
        weight.assign(value)
    assert task.fingerprint(model) == before
    longer = RetrievalTask(task_config("retrieval", "text.max_length=20"), task.tokenizer)
    larger = RetrievalTask(task_config("retrieval", "data.image_size=[32, 32]"), task.tokenizer)
    other = RetrievalTask(task.config, type(task.tokenizer)([*task.tokenizer.vocab, "unheard-of"]))
    assert len({before, *(each.fingerprint(model) for each in (longer, larger, other))}) == 4


def test_training_data_has_captions_of_its_images(task_config, task, model):
    config = task_config("retrieval", "data.augment.flip=false", "data.augment.word_swap=0")
    task = RetrievalTask(config, task.tokenizer)
    images = np.concatenate([inputs["image"] for inputs, _ in task._image_batches(model, "train")]).astype(int)
    for x, _, weight in task.training_data(model).take(3):
        texts = task.tokenizer.detokenize(x["text_ids"]).numpy()
        for image, row in zip(x["image"].numpy(), texts, strict=True):
            index = np.abs(images - image).mean(axis=(1, 2, 3)).argmin()
            own = task.tokenizer.detokenize(task.encode_texts(task.texts("train")[index])).numpy()
            assert len(row) == 2 and set(row) <= set(own)
        assert np.all(weight.numpy() == 1)


@pytest.mark.parametrize("loss", ["sigmoid_pairwise", "hardest_triplet"])
def test_every_loss_starts_where_it_should(task_config, task, loss):
    task = RetrievalTask(task_config("retrieval", f"retrieval.loss={loss}"), task.tokenizer)
    model = task.build()
    x, _, weight = next(iter(task.training_data(model)))
    image, text, log_scale, bias = model.training_model(x)
    text = tf.reshape(text, (-1, text.shape[-1]))
    value = task.loss()(image, text, tf.repeat(tf.range(6), 2), log_scale, bias)
    assert 0 < float(value) < 100
    trained = [weight.name for weight in model.scale.trainable_weights]
    assert len(trained) == {"sigmoid_pairwise": 2, "hardest_triplet": 0}[loss], trained


def test_cached_texts_are_the_encoded_ones(task_config, hub_bert):
    plain = RetrievalTask(task_config("retrieval", *hub_bert))
    cached = RetrievalTask(task_config("retrieval", *hub_bert, "text_encoder.cache_features=true"))
    model, from_cache = plain.build(), cached.build()
    for name, part in plain.parts(model).items():
        for ours, theirs in zip(cached.parts(from_cache)[name].weights, part.weights, strict=True):
            ours.assign(theirs)
    assert plain.fingerprint(model) == cached.fingerprint(from_cache)
    (x, *_), (features, *_) = (
        next(iter(each.training_data(own))) for each, own in ((plain, model), (cached, from_cache))
    )
    _, ours, *_ = from_cache.training_model(features, training=False)
    _, theirs, *_ = model.training_model(x, training=False)
    np.testing.assert_allclose(ours, theirs, atol=5e-3)
    assert len(np.unique(np.round(theirs.numpy().reshape(-1, theirs.shape[-1]), 4), axis=0)) > 6


def test_a_run_whose_phase_had_another_name_is_used_and_extended(task_run, task_config, tmp_path):
    """Version 0.1.0 called it cross_entropy."""
    run = shutil.copytree(task_run("retrieval"), tmp_path / "run")
    (run / "checkpoints" / "contrastive").rename(run / "checkpoints" / "cross_entropy")
    history = (run / "history.csv").read_text()
    (run / "history.csv").write_text(history.replace("contrastive,", "cross_entropy,"))
    assert load_run(run, "last")[3] == "last weights, cross_entropy step 5"
    with pytest.raises(RunError, match="other settings"):
        train(task_config("retrieval", "training.learning_rate=0.5"), run, resume=True)
    assert (run / "checkpoints" / "cross_entropy").exists(), "a run that is not resumed stays as it is"
    train(task_config("retrieval"), run, resume=True)
    assert (run / "history.csv").read_text() == history
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["contrastive"]

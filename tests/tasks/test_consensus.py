"""Captions ranked by those that their images recall."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from vl_keras.errors import ConfigError, RetrievalError, RunError
from vl_keras.inference.evaluate import evaluate
from vl_keras.inference.predict import predict
from vl_keras.losses.cider_reward import CiderReward
from vl_keras.models.token_reader import image_tokens
from vl_keras.retrieval.caption_memory import CaptionMemory
from vl_keras.runs.load_run import load_run
from vl_keras.search.make_memory import make_memory
from vl_keras.tasks.described import describe_generation
from vl_keras.tasks.writing import consensus as module
from vl_keras.tasks.writing.consensus import Consensus
from vl_keras.training.train import train

pytestmark = pytest.mark.slow  # trains two captioners and a retrieval run, a minute

WEIGHT, BEAMS = 2.5, 3


@pytest.fixture(scope="module")
def settings(memory_folder):
    generation = {"memory": memory_folder, "consensus_weight": WEIGHT, "method": "beam", "beam_size": BEAMS}
    return [f"generation.{name}={value}" for name, value in generation.items()]


@pytest.fixture(scope="module")
def loaded(member_runs, settings):
    return load_run(member_runs[1], overrides=settings)


@pytest.fixture(scope="module")
def batch(loaded):
    config, task, model, _ = loaded
    (inputs, _), *_ = task.evaluation_data(model, config.data.dev_split, batch_size=5)
    return inputs


@pytest.mark.parametrize("count", [4, 9])
def test_it_is_the_weighted_cider_of_what_is_recalled(loaded, batch, memory_folder, monkeypatch, count):
    _, task, model, _ = loaded
    monkeypatch.setattr(module, "_RECALLED", count)
    memory = CaptionMemory.load(memory_folder)
    consensus = Consensus(memory, task.tokenizer, task.config.text.max_length)
    # Of other images' captions too: those of a captioner trained for seconds agree with nobody's.
    captions = [[own[0], own[1], "a red circle"] for own in task.source("dev").captions[: len(batch["image"])]]
    tokens = task.tokenizer.encode(tf.reshape(tf.constant(captions), [-1]), task.config.text.max_length)
    tokens = tf.reshape(tokens, (len(captions), 3, -1))
    image = image_tokens(model.image_encoder, batch)
    got = tf.function(consensus)(image, tokens).numpy()
    assert got.max() > 0.5 and np.ptp(got, axis=1).max() > 0.1

    vectors = np.asarray(_retrieval(memory_folder)[2].embed_images(batch), np.float64)
    cosines = vectors @ memory.vectors.astype(np.float64).T
    ids = task.tokenizer.encode(tf.constant(memory.captions), task.config.text.max_length).numpy()
    names = sorted(set(memory.image_ids))
    owned = ([row[row != 0] for row, name in zip(ids, memory.image_ids, strict=True) if name == own] for own in names)
    cider = CiderReward(owned, task.tokenizer.vocab_size)
    for row, own in enumerate(cosines):
        nearest = np.argsort(-own)[:count]
        weights = np.exp(memory.scale * (own[nearest] - own.max()))
        each = [cider(tokens[row : row + 1], ids[None, place : place + 1])[0] for place in nearest]
        np.testing.assert_allclose(got[row], np.array(each).T @ weights / weights.sum(), atol=1e-3)
    np.testing.assert_allclose(consensus(image.rows([2]), tokens[2:3]), got[2:3], atol=1e-4)


def _retrieval(memory_folder):
    return load_run(memory_folder.parent / "run", precision="float32")


def test_captions_come_in_the_order_of_score_and_consensus(loaded, batch):
    _, task, model, _ = loaded
    second = tf.constant([[0.0, 1.0, 0.0]])
    ranked = model._replace(consensus=lambda _, tokens: tf.tile(second[:, : tokens.shape[1]], (tf.shape(tokens)[0], 1)))
    settings = {**task.generation_settings(), "return_attention": True}
    plain = model.generate(batch, **{**settings, "num_captions": BEAMS})
    wanted = plain.scores.numpy() + WEIGHT * ranked.consensus(None, plain.tokens).numpy()
    order = np.argsort(-wanted, axis=1, kind="stable")
    assert (order[:, 0] == 1).all()  # or this test would say nothing
    for count in (1, 2):
        written = ranked.generate(batch, **{**settings, "num_captions": count})
        for row in range(len(order)):
            first = order[row, :count]
            np.testing.assert_allclose(written.scores[row], wanted[row, first], atol=1e-4)
            np.testing.assert_array_equal(written.tokens[row], plain.tokens.numpy()[row, first])
            np.testing.assert_allclose(written.log_probs[row], plain.log_probs.numpy()[row, first], atol=1e-4)
            np.testing.assert_allclose(written.attention[row], plain.attention.numpy()[row, first], atol=1e-4)


def test_samples_are_ranked_too(loaded, batch):
    _, task, model, _ = loaded
    settings = {**task.generation_settings(), "method": "sample", "num_captions": 4, "seed": 3}
    plain, ranked = model.generate(batch, **settings), task.prepare(model).generate(batch, **settings)
    agreement = task.prepare(model).consensus(image_tokens(model.image_encoder, batch), plain.tokens)
    wanted = -np.sort(-(plain.scores + WEIGHT * agreement).numpy(), axis=1)
    np.testing.assert_allclose(ranked.scores, wanted, atol=1e-4)


@pytest.mark.parametrize("explain", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_evaluation_and_prediction_rank_alike(member_runs, settings, memory_folder, tmp_path, monkeypatch, explain):
    # What a captioner trained for seconds writes agrees with nobody's captions: all of it would rank alike.
    monkeypatch.setattr(Consensus, "__call__", lambda *args: tf.reduce_sum(tf.cast(args[2] % 9, tf.float32), -1) / 20)
    _, task, model, _ = load_run(member_runs[1], overrides=settings)
    written = task.caption_split(model, "dev", limit=4)
    for caption in written:
        content = task.source("dev").read_images(np.array([caption.index]))[0]
        (tmp_path / f"{caption.index}.png").write_bytes(content)
    paths = [str(tmp_path / f"{caption.index}.png") for caption in written]
    sheet = str(tmp_path / "look.png") if explain else None
    predicted = predict(member_runs[1], paths, overrides=settings, explain=sheet)
    assert [one.line for one in predicted] == [caption.caption for caption in written]
    scores = [caption.score for caption in written]
    assert [one.output["score"] for one in predicted] == pytest.approx(scores, abs=1e-3)
    plain = task.caption_split(model, "dev", dataclasses.replace(task.config.generation, memory=""), limit=4)
    assert np.abs(np.array(scores) - [caption.score for caption in plain]).max() > 0.01
    if explain:
        result = evaluate(member_runs[1], overrides=settings)
        signed = result["signature"]["generation"]
        assert signed.endswith(f"consensus weight 2.5 with memory {CaptionMemory.load(memory_folder).fingerprint}")


def test_a_split_that_is_in_the_memory_is_not_measured(loaded):
    _, task, model, _ = loaded
    with pytest.raises(RetrievalError, match="captions of split `train` itself"):
        task.score_split(model, "train")


def test_what_does_not_go_together_is_refused(
    member_runs, memory_folder, settings, small_config, task_config, tmp_path
):
    _, task, model, _ = load_run(member_runs[0], overrides=settings)
    model.image_encoder.weights[0].assign_add(tf.ones_like(model.image_encoder.weights[0]))
    for use in (task.prepare, task.serving_signatures, task.writer):
        with pytest.raises(RetrievalError, match="differ in weights"):
            use(model)
    with pytest.raises(RetrievalError, match="nowhere` holds no memory"):
        nowhere = load_run(member_runs[0], overrides=["generation.memory=nowhere", "generation.method=beam"])
        nowhere[1].prepare(nowhere[2])
    with pytest.raises(ConfigError, match="`generation.method` must be beam or sample"):
        small_config("generation.memory=memory", "generation.method=greedy")
    with pytest.raises(ConfigError, match="`generation.memory` does nothing for the task vqa"):
        task_config("vqa", "generation.memory=memory")
    with pytest.raises(ConfigError, match="`image_encoder.trainable_from` must be empty"):
        small_config("generation.memory=memory", "generation.method=beam", "image_encoder.trainable_from=all")
    with pytest.raises(RunError, match="is a captioning run"):
        make_memory(member_runs[0], tmp_path / "memory")
    with pytest.raises(RetrievalError, match="is there already"):
        make_memory(member_runs[0], memory_folder)


def test_a_memory_is_named_where_metrics_are_signed(loaded):
    generation = loaded[0].generation
    assert "consensus" in describe_generation(generation)
    assert "consensus" not in describe_generation(dataclasses.replace(generation, memory=""))


@pytest.mark.slow
@pytest.mark.parametrize("more", [["training.precision=mixed_bfloat16"], ["training.jit_compile='on'"]])
def test_epochs_are_judged_with_it(small_config, settings, tmp_path, more):
    frozen = ["image_encoder.trainable_from=", "image_encoder.cache_features=true", "training.epochs=1"]
    metrics = train(small_config(*frozen, *settings, *more), tmp_path / "run")
    assert "consensus" in metrics["best"]["signature"]["generation"]
    loaded = load_run(tmp_path / "run")
    again, _ = loaded[1].epoch_metrics(loaded[2], "dev", limit=5)
    assert again == pytest.approx(metrics["best"]["measures"], abs=1e-3)
    plain = load_run(tmp_path / "run", overrides=["generation.memory="])
    assert plain[1].prepare(plain[2]) is plain[2]

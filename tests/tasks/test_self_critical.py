import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from vl_keras.config import load_config
from vl_keras.data.text_ops import CaptionTokenizer
from vl_keras.errors import RunError, TrainingStopped
from vl_keras.losses.cider_reward import CiderReward
from vl_keras.runs.history import History
from vl_keras.tasks import TASKS
from vl_keras.tasks.writing.self_critical import SelfCriticalModel, _reference_ids
from vl_keras.training.train import train


@pytest.fixture(scope="module")
def made(small_config):
    config = small_config("model.dropout=0", "model.word_dropout=0", "model.image_dropout=0")
    task = TASKS[config.task](config)
    captioner = task.build()
    x, y, _ = next(iter(task.training_data(captioner)))
    references = [[row[row != 0] for row in image] for image in y.numpy()]
    reward = CiderReward(references, task.tokenizer.vocab_size)
    model = SelfCriticalModel(captioner, reward, 3, task.generation_settings(), temperature=0.5, seed=5)
    return task, captioner, model, (x, y)


def _step(model, data):
    """The gradients that a step at iteration 4 would apply."""
    applied = []

    class Recorder:
        iterations = tf.constant(4)

        def compute_gradients(self, loss, variables, tape):
            return list(zip(tape.gradient(loss, variables), variables, strict=True))

        def apply_gradients(self, pairs):
            applied.extend(tf.convert_to_tensor(gradient) for gradient, _ in pairs)

    model.optimizer = Recorder()
    model.train_step(data)
    return applied


def test_the_gradient_is_that_of_the_formula(made):
    """Rennie et al. (2017), equation 8, summed caption by caption from whole-prefix log-probabilities."""
    task, captioner, model, (x, y) = made
    before = [variable.numpy() for variable in model.trainable_variables]
    applied = _step(model, (x, y, None))
    inputs = {name: value for name, value in x.items() if name != "caption_ids"}
    tokens, reward = model._sample(inputs, y)
    tokens, reward = tokens.numpy(), reward.numpy()
    assert reward.std() > 0
    settings = task.generation_settings()
    allowed = np.ones(task.tokenizer.vocab_size, bool)
    allowed[list(settings["forbidden_ids"])] = False
    with tf.GradientTape() as tape:
        total = 0.0
        for b in range(tokens.shape[0]):
            one = {name: value[b : b + 1] for name, value in inputs.items()}
            for n in range(3):
                caption = tokens[b, n][tokens[b, n] != 0]
                previous = np.concatenate([[settings["start_id"]], caption[:-1]]).astype("int32")
                logits = captioner.training_model({**one, "caption_ids": previous[None, None]})[0, 0]
                log_p = tf.nn.log_softmax(tf.where(allowed, logits / 0.5, -1e9))
                others = (reward[b].sum() - reward[b, n]) / 2
                log_p = tf.reduce_sum(tf.gather(log_p, caption, batch_dims=1))
                total -= (reward[b, n] - others) * log_p / (tokens.shape[0] * 3)
    expected = tape.gradient(total, model.trainable_variables)
    for got, wanted, old, variable in zip(applied, expected, before, model.trainable_variables, strict=True):
        wanted = tf.convert_to_tensor(wanted)
        np.testing.assert_allclose(got, wanted, atol=1e-4 * max(1.0, np.abs(wanted).max()), err_msg=variable.name)
        np.testing.assert_array_equal(old, variable)


def test_cross_entropy_is_added_by_its_weight(made):
    task, captioner, model, (x, y) = made
    mixed = SelfCriticalModel(captioner, model._reward, 3, model._settings, 0.5, seed=5, cross_entropy=0.7)
    mixed.compile(loss=task.loss())
    weight = next(iter(task.training_data(captioner)))[2]
    applied = zip(_step(mixed, (x, y, weight)), _step(model, (x, y, weight)), strict=True)
    smoothing, words = task.config.training.label_smoothing, tf.cast(y != 0, tf.float32)
    with tf.GradientTape() as tape:
        log_p = tf.nn.log_softmax(captioner.training_model(x))
        smooth = (1 - smoothing) * tf.gather(log_p, y, batch_dims=3) + smoothing * tf.reduce_mean(log_p, axis=-1)
        loss = -tf.reduce_sum(words * smooth) / tf.reduce_sum(words)
    expected = tape.gradient(loss, model.trainable_variables)
    for (got, alone), wanted, variable in zip(applied, expected, model.trainable_variables, strict=True):
        wanted = 0.7 * tf.convert_to_tensor(wanted).numpy()
        np.testing.assert_allclose(
            got - alone, wanted, atol=1e-4 * max(1.0, np.abs(wanted).max()), err_msg=variable.name
        )


def test_features_are_missing_from_the_whole_image_and_the_rest_makes_up_for_them(made):
    _, captioner, model, (x, y) = made
    with_dropout = SelfCriticalModel(captioner, model._reward, 3, model._settings, 0.5, seed=5, image_dropout=0.4)
    with_dropout.optimizer = type("Optimizer", (), {"iterations": tf.constant(4)})
    tokens = np.random.default_rng(0).uniform(1, 2, (5, 7, 300)).astype("float32")
    dropped = with_dropout._drop_features({"image_tokens": tf.constant(tokens)})["image_tokens"].numpy()
    missing = dropped[:, 0] == 0
    assert 0.35 < missing.mean() < 0.45 and not (missing[0] == missing[1]).all()
    np.testing.assert_allclose(dropped, np.where(missing[:, None], 0, tokens / 0.6), rtol=1e-6)
    with_dropout.optimizer.iterations = tf.constant(5)
    assert (
        not (with_dropout._drop_features({"image_tokens": tf.constant(tokens)})["image_tokens"] == dropped)
        .numpy()
        .all()
    )
    assert model._drop_features(x) is x


def test_a_step_sees_some_of_the_regions_and_other_ones_the_next_time(made):
    _, captioner, model, (x, y) = made
    fewer = SelfCriticalModel(captioner, model._reward, 3, model._settings, 0.5, seed=5, region_dropout=0.4)
    fewer.optimizer = type("Optimizer", (), {"iterations": tf.constant(4)})
    tokens = np.arange(5 * 20 * 3, dtype="float32").reshape(5, 20, 3)
    inputs = {"image_tokens": tf.constant(tokens)}
    kept = fewer._drop_regions(inputs)["image_tokens"].numpy()
    assert kept.shape == (5, 12, 3)
    places = [
        {int(np.flatnonzero((own == row).all(axis=1))[0]) for row in some}
        for own, some in zip(tokens, kept, strict=True)
    ]
    assert all(len(own) == 12 for own in places) and len({frozenset(own) for own in places}) > 1
    np.testing.assert_array_equal(kept, fewer._drop_regions(inputs)["image_tokens"])
    fewer.optimizer.iterations = tf.constant(5)
    assert not np.array_equal(kept, fewer._drop_regions(inputs)["image_tokens"])
    assert model._drop_regions(x) is x


def test_a_step_without_regions_is_one_on_images_that_never_had_them(small_config):
    """Samples, gradient and cross-entropy see the same ones."""
    off = ("model.dropout=0", "model.word_dropout=0", "model.image_dropout=0")
    config = small_config("image_encoder.cache_features=true", "image_encoder.trainable_from=", *off)
    task = TASKS[config.task](config)
    captioner = task.build()
    x, y, weight = next(iter(task.training_data(captioner)))
    reward = CiderReward([[row[row != 0] for row in image] for image in y.numpy()], task.tokenizer.vocab_size)

    def model(region_dropout):
        made = SelfCriticalModel(
            captioner,
            reward,
            3,
            task.generation_settings(),
            0.5,
            seed=5,
            cross_entropy=0.7,
            region_dropout=region_dropout,
        )
        made.compile(loss=task.loss())
        return made

    fewer = model(0.4)
    gradients = _step(fewer, (x, y, weight))
    seen = fewer._drop_regions(x)
    assert seen["image_tokens"].shape[1] < x["image_tokens"].shape[1]
    for got, wanted in zip(gradients, _step(model(0.0), (seen, y, weight)), strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_an_image_without_captions_is_no_document_of_the_reward(small_config):
    captions = [["a red circle.", "one shape"], [], ["a star"]]
    task = SimpleNamespace(
        config=small_config(),
        tokenizer=CaptionTokenizer.learn(["a red circle", "one shape", "a star"], 60),
        source=lambda split: SimpleNamespace(captions=captions),
    )
    references = list(_reference_ids(task))
    assert [len(rows) for rows in references] == [2, 1]
    CiderReward(references, task.tokenizer.vocab_size)


@pytest.mark.usefixtures("no_sample_images")
def test_the_phase_follows_cross_entropy_and_raises_the_reward(small_config, trained_run, tmp_path):
    config = small_config(
        "data.augment.flip=false",
        "data.augment.word_swap=0",
        "training.epochs=1",
        "training.ema_decay=0",
        "training.self_critical.epochs=6",
        "training.self_critical.learning_rate=2e-3",
    )
    train(config, tmp_path / "run", init_from=trained_run)
    rows = History(tmp_path / "run" / "history.csv", writes=False).of("self_critical")
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3, 4, 5, 6]
    assert all(row["dev_loss"] > 0 for row in rows)  # that of the captions, as before
    rewards = [float(row["reward"]) for row in rows[1:]]
    assert np.mean(rewards[-2:]) > np.mean(rewards[:2])


@pytest.mark.slow  # trains twice, half a minute
def test_the_phase_follows_cross_entropy_in_one_run_and_begins_with_the_best_weights(
    small_config, trained_run, tmp_path, signal_at
):
    """The run is extended by the phase, and stopped while its start is evaluated."""
    run = shutil.copytree(trained_run, tmp_path / "run")
    config = small_config("training.self_critical.epochs=1")
    signal_at("metrics of dev", 5)
    with pytest.raises(TrainingStopped):
        train(config, run, resume=True)
    train(config, run, resume=True)
    history = History(run / "history.csv", writes=False)
    rows = [(row["phase"], row["epoch"], row["step"]) for row in history.rows]
    assert rows == [
        ("cross_entropy", 1, 5), ("cross_entropy", 2, 10), ("self_critical", 0, 10), ("self_critical", 1, 20)
    ]  # fmt: skip
    best = json.loads((trained_run / "measures.json").read_text())["best"]["epoch"]
    first = History(trained_run / "history.csv", writes=False).rows[best - 1]
    start = history.of("self_critical")[0]
    assert [start[name] for name in ("CIDEr-D", "BLEU-1")] == [first[name] for name in ("CIDEr-D", "BLEU-1")]
    assert start["dev_loss"] == pytest.approx(first["dev_loss"], rel=1e-6)
    assert load_config(run / "config.yaml") == config
    with pytest.raises(RunError, match="training.epochs` cannot grow from 2 to 3.*self_critical has begun"):
        train(small_config("training.epochs=3", "training.self_critical.epochs=1"), run, resume=True)

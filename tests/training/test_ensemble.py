import dataclasses
import json
import types

import numpy as np
import pytest
import tensorflow as tf

from vl_keras.data.text_ops import CaptionTokenizer
from vl_keras.training import ensemble as module
from vl_keras.training.ensemble import ensemble
from vl_keras.training.errors import TrainingError
from vl_keras.training.evaluate import evaluate
from vl_keras.training.run_dir import load_run
from vl_keras.training.train import train

FROZEN = "image_encoder.trainable_from="


@pytest.fixture(scope="module")
def members(small_config, tmp_path_factory):
    """Folders of two runs with one frozen image encoder; the second went on from the first."""
    one, two = (tmp_path_factory.mktemp("members") / name for name in ("one", "two"))
    train(small_config(FROZEN, "training.epochs=1"), one)
    train(small_config(FROZEN, "training.seed=5"), two, init_from=one)
    return [one, two]


@pytest.fixture(scope="module")
def joined(members, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("ensembles") / "joined"
    ensemble(members, run_dir)
    return run_dir


def test_a_joined_run_holds_the_mean_of_its_members(members, joined):
    probabilities = []
    for run in (*members, joined):
        config, task, model, _ = load_run(run)
        (inputs, _), *_ = task.evaluation_data(model, config.data.dev_split, batch_size=3)
        ids = np.random.default_rng(3).integers(4, task.tokenizer.vocab_size, (3, 2, 5)).astype("int32")
        probabilities.append(tf.nn.softmax(model.training_model({**inputs, "caption_ids": ids})).numpy())
    one, two, both = probabilities
    np.testing.assert_allclose(both, (one + two) / 2, atol=1e-6)
    assert np.abs(one - two).max() > 0.01


def test_it_is_measured_and_says_what_it_joins(members, joined):
    measures = json.loads((joined / "measures.json").read_text())
    assert [member["run"] for member in measures["members"]] == [str(run) for run in members]
    best, result = measures["best"]["measures"], evaluate(joined)
    assert {name: row["score"] for name, row in result["measures"].items()} == pytest.approx(best)
    assert best["ROUGE-L"] > 0
    assert result["weights"] == f"best: 2 captioners together, CIDEr-D {best['CIDEr-D']:.4f}"


@pytest.mark.slow
def test_training_starts_from_it_and_moves_all_members(small_config, joined, tmp_path):
    further = ("model.members=2", "training.epochs=1", "training.self_critical.epochs=1")
    train(small_config(FROZEN, *further), tmp_path / "run", init_from=joined)
    before, after = (load_run(run, "auto")[2] for run in (joined, tmp_path / "run"))
    for old, new in zip(before.decoder.members, after.decoder.members, strict=True):
        for one, other in zip(old.model.trainable_weights, new.model.trainable_weights, strict=True):
            assert not np.array_equal(one, other), one.name


@pytest.mark.parametrize(
    "change, message",
    [
        ({"task": "vqa"}, "`two` is a vqa run"),
        ({"model": {"members": 2}}, "`two` is an ensemble itself"),
        ({"model": {"hidden_dim": 8}, "text": {"max_length": 9}}, "differ in text.max_length, model.hidden_dim"),
        ("vocabulary", "text.vocabulary=one/vocabulary.txt"),
        ("image encoder", "their image encoders differ"),
        ("text encoder", "their text encoders differ"),
    ],
)
def test_runs_that_do_not_go_together_are_refused(members, trained_run, tmp_path, monkeypatch, change, message):
    loaded = {"one": load_run(members[0]), "two": load_run(members[1])}
    config, task, model, which = loaded["two"]
    if isinstance(change, dict):
        for section, values in change.items():
            old = getattr(config, section)
            value = dataclasses.replace(old, **values) if isinstance(values, dict) else values
            config = dataclasses.replace(config, **{section: value})
    elif change == "vocabulary":
        task.tokenizer = CaptionTokenizer(task.tokenizer.vocab[:-1])
    elif change == "image encoder":
        model = load_run(trained_run)[2]
    else:
        task.text_encoder = types.SimpleNamespace(model=model.reader)  # anything with weights of its own
    loaded["two"] = config, task, model, which
    monkeypatch.setattr(module, "load_run", lambda path, *_: loaded[path])
    with pytest.raises(TrainingError, match=message):
        ensemble(["one", "two"], tmp_path / "run")


def test_one_run_is_no_ensemble_and_a_full_folder_is_kept(members, joined, tmp_path):
    with pytest.raises(TrainingError, match="two runs or more; got 1"):
        ensemble(members[:1], tmp_path / "run")
    with pytest.raises(TrainingError, match="is not empty"):
        ensemble(members, joined)

import dataclasses
import functools
import json
import types
from pathlib import Path

import numpy as np
import pytest
import tf_keras as keras

from vl_keras.config import load_config
from vl_keras.data.text_ops import CaptionTokenizer
from vl_keras.errors import RunError
from vl_keras.inference.evaluate import evaluate
from vl_keras.runs.load_run import load_run
from vl_keras.training import ensemble as module
from vl_keras.training.ensemble import ensemble
from vl_keras.training.train import train

pytestmark = pytest.mark.slow  # trains two captioners, most of a minute; test_ensemble_decoder.py tests the parts


def assert_mean_of_members(member_runs, ensemble_run):
    logits = []
    for run in (*member_runs, ensemble_run):
        config, task, model, _ = load_run(run)
        (inputs, _), *_ = task.evaluation_data(model, config.data.dev_split, batch_size=3)
        ids = np.random.default_rng(3).integers(4, task.tokenizer.vocab_size, (3, 2, 5)).astype("int32")
        logits.append(model.training_model({**inputs, "caption_ids": ids}).numpy())
    one, two, both = logits
    np.testing.assert_allclose(both, (one + two) / 2, atol=1e-5)
    assert np.abs(one - two).max() > 0.01


def test_a_joined_run_holds_the_mean_of_its_members(member_runs, ensemble_run):
    assert_mean_of_members(member_runs, ensemble_run)


@pytest.mark.slow
def test_captioners_that_read_a_context_are_joined(small_config, hub_bert, tmp_path):
    config = functools.partial(small_config, *hub_bert, "data.context=caption_words", "image_encoder.trainable_from=")
    train(config("training.epochs=0"), tmp_path / "one")
    train(config("training.seed=5"), tmp_path / "two", init_from=tmp_path / "one")
    ensemble([tmp_path / "one", tmp_path / "two"], tmp_path / "both")
    assert_mean_of_members([tmp_path / "one", tmp_path / "two"], tmp_path / "both")
    settings = [load_config(tmp_path / run / "config.yaml").text_encoder for run in ("one", "both")]
    assert settings[0] == settings[1]


def test_it_is_measured_and_says_what_it_joins(member_runs, ensemble_run):
    metrics = json.loads((ensemble_run / "measures.json").read_text())
    assert [Path(member["run"]).name for member in metrics["members"]] == [run.name for run in member_runs]
    best, result = metrics["best"]["measures"], evaluate(ensemble_run)
    assert {name: row["score"] for name, row in result["measures"].items()} == pytest.approx(best)
    assert best["ROUGE-L"] > 0
    assert result["weights"] == f"best: 2 models together, CIDEr-D {best['CIDEr-D']:.4f}"


@pytest.mark.slow
def test_training_starts_from_it_and_moves_all_members(small_config, ensemble_run, tmp_path):
    config = functools.partial(small_config, "image_encoder.trainable_from=", "model.members=2")
    train(config("training.epochs=0"), tmp_path / "start", init_from=ensemble_run)
    train(config("training.epochs=1", "training.self_critical.epochs=1"), tmp_path / "run", init_from=ensemble_run)
    runs = (ensemble_run, tmp_path / "start", tmp_path / "run")
    before, start, after = (load_run(run, "auto")[2].decoder.model.trainable_weights for run in runs)
    for old, begun, new in zip(before, start, after, strict=True):
        np.testing.assert_array_equal(old, begun)
        assert not np.array_equal(old, new), old.name


def test_it_cannot_be_resumed(small_config, ensemble_run):
    with pytest.raises(RunError, match="nothing to resume"):
        train(load_config(ensemble_run / "config.yaml"), ensemble_run, resume=True)
    with pytest.raises(RunError, match="no last weights; it has only best ones"):
        load_run(ensemble_run, "last")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"task": "vqa"}, "`two` is a vqa run"),
        ({"model": {"members": 2}}, "`two` cannot be joined: It has `model.members` 2"),
        ({"model": {"hidden_dim": 8}, "text": {"max_length": 9}}, "differ in text.max_length, model.hidden_dim"),
        ("vocabulary", "text.vocabulary=one/vocabulary.txt"),
        ("image encoder", "their image encoders differ"),
        ("text encoder", "their text encoders differ"),
    ],
)
def test_runs_that_do_not_go_together_are_refused(member_runs, trained_run, tmp_path, monkeypatch, change, message):
    loaded = {"one": load_run(member_runs[0]), "two": load_run(member_runs[1])}
    config, task, model, which = loaded["two"]
    if isinstance(change, dict):
        for section, values in change.items():
            old = getattr(config, section)
            value = dataclasses.replace(old, **values) if isinstance(values, dict) else values
            config = task.config = dataclasses.replace(config, **{section: value})
    elif change == "vocabulary":
        task.tokenizer = CaptionTokenizer(task.tokenizer.vocab[:-1])
    elif change == "image encoder":
        model = load_run(trained_run)[2]
    else:
        for number, (_, of, *_) in enumerate(loaded.values()):
            words = keras.layers.Embedding(3, 2, embeddings_initializer=keras.initializers.Constant(number))
            words.build(None)
            of.text_encoder = types.SimpleNamespace(model=words)
    loaded["two"] = config, task, model, which
    monkeypatch.setattr(module, "load_run", lambda path, *_, **__: loaded[path])
    with pytest.raises(RunError, match=message):
        ensemble(["one", "two"], tmp_path / "run")


def test_one_run_is_no_ensemble_and_a_full_folder_is_kept(member_runs, ensemble_run, tmp_path):
    for runs in (member_runs[:1], [member_runs[0], f"{member_runs[1]}/../one"]):
        with pytest.raises(RunError, match="two different runs or more; got .*one"):
            ensemble(runs, tmp_path / "run")
    with pytest.raises(RunError, match="is not empty"):
        ensemble(member_runs, ensemble_run)

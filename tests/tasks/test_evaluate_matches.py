"""Measuring a trained run of image-text matching."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from vl_keras.errors import RunError
from vl_keras.inference.evaluate import evaluate, format_evaluation
from vl_keras.metrics.match_scores import match_scores
from vl_keras.runs.load_run import load_run


@pytest.fixture(scope="module")
def run(task_run, tmp_path_factory):
    return shutil.copytree(task_run("matching"), tmp_path_factory.mktemp("evaluated") / "run")


@pytest.fixture(scope="module")
def result(run):
    return evaluate(run, "test")


@pytest.fixture(scope="module")
def rows(run, result):
    return [json.loads(line) for line in (run / "evaluation" / "test_pairs.jsonl").read_text("utf-8").splitlines()]


def test_every_pair_is_listed_the_most_wrong_first(run, rows):
    _, task, _, _ = load_run(run)
    source = task.source("test")
    own = sorted((name, text) for name, texts in zip(source.image_ids, source.captions, strict=True) for text in texts)
    assert sorted((row["image"], row["text"]) for row in rows if row["match"]) == own
    assert sum(not row["match"] for row in rows) == len(own)
    errors = [abs(row["probability"] - row["match"]) for row in rows]
    np.testing.assert_allclose(errors, sorted(errors, reverse=True), atol=1e-6)


def test_metrics_are_of_the_listed_pairs(result, rows):
    wanted = match_scores([row["probability"] for row in rows], [row["match"] for row in rows])
    assert {name: row["score"] for name, row in result["measures"].items()} == pytest.approx(wanted, abs=1e-3)
    for row in result["measures"].values():
        assert row["low"] <= row["score"] <= row["high"]
    assert result["signature"]["pairs"] == len(rows) and result["signature"]["negatives"] == "random, one a caption"


def test_it_is_written_and_reported(run, result):
    assert json.loads((run / "evaluation" / "test.json").read_text("utf-8")) == json.loads(json.dumps(result))
    text = format_evaluation(result)
    for name in ("balanced_accuracy", "roc_auc", f"{result['best_threshold']:.3f}", *result["files"].values()):
        assert name in text
    sheet = np.asarray(Image.open(run / "evaluation" / "test.png")).astype(int)
    for color in ((178, 34, 34), (0, 128, 0)):  # some of the twenty-four are wrong and some are right
        assert (sheet == color).all(axis=-1).sum() > 50 or not _has(result, color)


def _has(result, color):
    accuracy = result["measures"]["accuracy"]["score"]
    return accuracy < 1 if color == (178, 34, 34) else accuracy > 0.6


def test_what_cannot_be_scored_is_said(run, tmp_path):
    Image.new("RGB", (32, 24)).save(tmp_path / "a.png")
    row = {"image": "a.png", "question": "what?", "answer": "a dog", "split": "dev"}
    (tmp_path / "mine.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(RunError, match="`dev` of mine has no texts to pair"):
        evaluate(run, "dev", overrides=[f"data.manifest={tmp_path / 'mine.jsonl'}"])

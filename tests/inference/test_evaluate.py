"""Measuring a trained run."""

import contextlib
import json
import os
import shutil
from types import SimpleNamespace

import pytest
from PIL import Image

from tests.failing_files import read_only
from vl_keras.config import GenerationConfig
from vl_keras.errors import RunError
from vl_keras.inference.evaluate import evaluate, format_evaluation
from vl_keras.metrics.caption_scores import score_captions
from vl_keras.metrics.coco_results import read_coco_results
from vl_keras.runs.load_run import load_run, weights_name
from vl_keras.tasks.described import describe_generation
from vl_keras.tasks.writing.evaluate_captions import evaluate_captions

LONGER = ["generation.min_length=5", "generation.no_repeat_ngram=2"]


@pytest.fixture(scope="module")
def run(trained_run, tmp_path_factory):
    """A copy of the run, since evaluation writes into it."""
    return shutil.copytree(trained_run, tmp_path_factory.mktemp("evaluated") / "run")


@pytest.fixture(scope="module")
def result(run):
    return evaluate(run, "test", overrides=LONGER, with_java=True)


def test_the_scores_are_those_of_the_captions_that_were_written(run, result):
    captions = read_coco_results(run / "evaluation" / "test_captions.json")
    _, task, _, _ = load_run(run)
    source = task.source("test")
    assert set(captions) == set(source.image_ids)
    wanted = score_captions(dict(zip(source.image_ids, source.captions, strict=True)), captions)
    scores = {name: row["score"] for name, row in result["measures"].items()}
    assert {name: scores[name] for name in wanted.metrics} == pytest.approx(wanted.metrics)
    for name, row in result["measures"].items():
        if name == "METEOR":  # which has no interval
            continue
        assert row["low"] <= row["score"] + 1e-9 and row["score"] <= row["high"] + 1e-9


def test_a_run_that_may_only_be_read_is_evaluated_elsewhere(run, result, tmp_path, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    read_only(monkeypatch, run)
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).startswith(str(run)))
    with pytest.raises(RunError, match="may not be written to; --out FOLDER"):
        evaluate(run, "test")
    again = evaluate(run, "test", overrides=LONGER, out=tmp_path / "new" / "folder")
    assert again["signature"] == result["signature"] and (tmp_path / "new/folder/test.json").is_file()
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_the_scores_say_what_they_were_measured_with(run, result):
    assert json.loads((run / "evaluation" / "test.json").read_text("utf-8")) == json.loads(json.dumps(result))
    signature = result["signature"]
    assert (signature["dataset"], signature["split"], signature["images"]) == ("shapes", "test", 6)
    assert (signature["references"], signature["tokenizer"]) == ("5", "ptb")
    assert signature["generation"] == "greedy, max length 16, min length 5, no repeat ngram 2"
    assert signature["weights"] == "best"
    assert result["weights"].startswith("best: ")


def test_the_scores_of_earlier_evaluations_stay(run, result):
    again = evaluate(run, "dev", ["generation.beam_size=2"])
    rows = [json.loads(line) for line in (run / "evaluation" / "history.jsonl").read_text("utf-8").splitlines()]
    assert [row["signature_text"] for row in rows] == [result["signature_text"], again["signature_text"]]
    assert rows[0]["signature_text"] != rows[1]["signature_text"]
    assert rows[1]["overrides"] == ["generation.beam_size=2"]
    assert [row["measures"] for row in rows] == json.loads(json.dumps([result["measures"], again["measures"]]))


def test_the_report_counts_what_was_not_read_and_says_where_the_rest_is(result):
    rows = [[f"own.jsonl:{number}", "the line is not UTF-8"] for number in range(12)]
    lines = format_evaluation({**result, "unreadable": rows}).splitlines()
    place = lines.index("not read, so not scored: 12")
    assert lines[place + 10] == "  own.jsonl:9: the line is not UTF-8"
    assert lines[place + 11] == f"  and 2 more, in {result['files']['scores']}"


def test_the_report_names_every_metric_and_file(run, result):
    text = format_evaluation(result)
    for name in ("BLEU-4", "ROUGE-L", "CIDEr-D", "95% interval", "shapes test", *result["files"].values()):
        assert name in text
    assert set(result["pointing_game"]) in (set(), {"words", "hits", "area", "ratio"})


def test_the_contact_sheet_shows_every_image(run, result):
    sheet = Image.open(run / "evaluation" / "test.png")
    assert sheet.height > 6 * 170


def test_java_metrics_run_or_say_why_not(result):
    assert "METEOR" in result["measures"] or any("METEOR" in note for note in result["notes"])


def test_images_without_captions_cannot_be_scored(run, monkeypatch):
    bare = SimpleNamespace(captions=[[], []], __len__=lambda self: 2)
    config = SimpleNamespace(task="captioning", data=SimpleNamespace(manifest="mine.jsonl"))
    task = SimpleNamespace(source=lambda split: bare, config=config, quarantine_errors=contextlib.nullcontext)
    task.evaluate = lambda model, request: evaluate_captions(task, model, request)
    loaded = (config, task, None, "best: these")
    monkeypatch.setattr("vl_keras.inference.evaluate.load_run", lambda *args: loaded)
    with pytest.raises(RunError, match="`dev` of mine has no captions to score against"):
        evaluate(run, "dev")


@pytest.mark.parametrize(
    "words, short",
    [
        ("best: moving average of the weights at cross_entropy epoch 2, CIDEr-D 0.5", "best"),
        ("last weights, cross_entropy step 24", "last"),
        ("moving average of the weights at self_critical step 7", "ema"),
    ],
)
def test_weights_in_a_signature(words, short):
    assert weights_name(words) == short


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"method": "greedy", "beam_size": 5}, "greedy"),
        ({"method": "beam", "beam_size": 5, "length_penalty": 0.0}, "beam 5, length penalty 0"),
        ({"method": "beam", "repetition_penalty": 1.2}, "beam 3, length penalty 0.7, repetition penalty 1.2"),
        ({"method": "sample", "top_k": 4, "seed": 9}, "sample, top k 4, seed 9"),
    ],
)
def test_generation_in_words(settings, words):
    assert describe_generation(GenerationConfig(**settings)) == words

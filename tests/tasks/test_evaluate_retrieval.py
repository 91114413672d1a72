"""Measuring a trained run of retrieval."""

import dataclasses
import io
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from vl_keras.config import DataConfig, config_from_dict
from vl_keras.errors import DataError, RunError
from vl_keras.inference.evaluate import evaluate, format_evaluation
from vl_keras.metrics.retrieval_scores import scores_of_ranks
from vl_keras.retrieval.querybank import Querybank
from vl_keras.runs.load_run import load_run
from vl_keras.tasks.embedding import evaluate_retrieval as module
from vl_keras.tasks.embedding.reranker import Reranker

WAYS = {"image": "image_to_text", "text": "text_to_image"}


@pytest.fixture(scope="module")
def run(task_run, tmp_path_factory):
    return shutil.copytree(task_run("retrieval"), tmp_path_factory.mktemp("evaluated") / "run")


@pytest.fixture(scope="module")
def result(run):
    return evaluate(run, "test")


def _rows(run):
    return [json.loads(line) for line in (run / "evaluation" / "test_ranks.jsonl").read_text("utf-8").splitlines()]


def test_every_query_is_listed_with_its_rank_and_what_came_first(run, result):
    _, task, model, _ = load_run(run)
    source = task.source("test")
    image, text, owner, _ = task.embed_split(model, "test")
    rows = _rows(run)
    of_images, of_texts = ([row for row in rows if row["query"] == query] for query in WAYS)
    captions = [caption for own in source.captions for caption in own]
    assert [row["image"] for row in of_images] == source.image_ids
    assert [row["text"] for row in of_texts] == captions
    assert [row["image"] for row in of_texts] == [source.image_ids[index] for index in owner]
    for row, scores in zip(of_texts, text.astype(np.float64) @ image.T.astype(np.float64), strict=True):
        ranked = [source.image_ids[index] for index in np.argsort(-scores)]
        assert row["rank"] == 1 + ranked.index(row["image"]) and row["first"] == ranked[:6]
    for row in of_images:
        own = source.captions[source.image_ids.index(row["image"])]
        assert (row["first"][0] in own) == (row["rank"] == 1) or captions.count(row["first"][0]) > 1


def test_metrics_are_of_the_ranks(run, result):
    metrics = {name: row["score"] for name, row in result["measures"].items()}
    for query, way in WAYS.items():
        scores = scores_of_ranks([row["rank"] for row in _rows(run) if row["query"] == query])
        for name, score in scores.items():
            assert metrics[f"{way} {name.replace('recall_at_', 'R@')}"] == pytest.approx(score)
    for row in result["measures"].values():
        assert row["low"] <= row["score"] + 1e-9 and row["score"] <= row["high"] + 1e-9
    assert result["measures"]["mean_recall"]["low"] < result["measures"]["mean_recall"]["high"]


def test_folds_search_among_themselves(run, result, monkeypatch, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    monkeypatch.setattr(module, "PROTOCOL", 3)
    folded = evaluate(copy, "test")
    rows = _rows(copy)
    assert max(row["rank"] for row in rows if row["query"] == "text") <= 3
    names = [row["image"] for row in _rows(run) if row["query"] == "image"]
    for row in rows:
        fold = names[:3] if row["image"] in names[:3] else names[3:]
        if row["query"] == "text":
            assert set(row["first"]) == set(fold)
    assert folded["signature"]["folds"] == 2 and "in each of 2 folds" in format_evaluation(folded)
    assert folded["measures"]["text_to_image R@5"]["score"] == 100.0
    of_folds = [
        scores_of_ranks([row["rank"] for row in rows if row["query"] == "text" and row["image"] in fold])
        for fold in (names[:3], names[3:])
    ]
    wanted = np.mean([scores["mean_reciprocal_rank"] for scores in of_folds])
    assert folded["measures"]["text_to_image mean_reciprocal_rank"]["score"] == pytest.approx(wanted)


@pytest.mark.slow  # trains a matching run and scores a split twice, 40 s
def test_a_matching_run_orders_the_first_candidates_anew(run, result, task_run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    matching = task_run("matching")
    reranked = evaluate(copy, "test", [f"retrieval.rerank_with={matching}", "retrieval.rerank_candidates=3"])
    _, task, model, _ = load_run(matching)
    source = task.source("test")
    _, own_task, own_model, _ = load_run(run)
    vectors = own_task.embed_split(own_model, "test")[0]
    scale = np.exp(own_model.scale(vectors[:1])[0])
    before = [row for row in _rows(run) if row["query"] == "text"]
    after = [row for row in _rows(copy) if row["query"] == "text"]
    for old, new in zip(before, after, strict=True):
        first = old["first"][:3]
        owners = [source.image_ids.index(name) for name in first]
        logits = task.pair_logits(model, "test", owners, [old["text"]] * 3)[:, 0]
        vector = own_task.embed_texts(own_model, [old["text"]]).numpy()
        logits += scale * np.sum(vectors[owners] * vector, axis=1)
        ordered = [first[place] for place in np.argsort(-logits)]
        assert new["first"] == ordered
        assert new["rank"] == (1 + ordered.index(old["image"]) if old["image"] in first else old["rank"])
    metrics = reranked["measures"]
    assert {name: row for name, row in metrics.items() if "reranked" not in name} == result["measures"]
    ranks = scores_of_ranks([row["rank"] for row in after])
    assert metrics["reranked text_to_image R@1"]["score"] == pytest.approx(ranks["recall_at_1"])
    assert f"the first 3 results, by the scaled similarity plus the scores of {matching}, best" in format_evaluation(
        reranked
    )


def test_a_querybank_changes_scores_as_it_says(run, result, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    normalised = evaluate(copy, "test", ["retrieval.querybank=9"])
    _, task, model, _ = load_run(run)
    image, text, owner, _ = task.embed_split(model, "test")
    bank_image, bank_text, bank_owner, _ = task.embed_split(model, "train", limit=9)
    first = [list(bank_owner).index(place) for place in range(9)]
    bank = Querybank(bank_image, bank_text[first], float(np.exp(model.scale(image[:1])[0])))
    scores = bank.of_texts(text).astype(np.float64) @ bank.of_images(image).astype(np.float64).T
    names = task.source("test").image_ids
    of_texts = [row for row in _rows(copy) if row["query"] == "text"]
    for row, own, scored in zip(of_texts, owner, scores, strict=True):
        assert row["first"] == [names[place] for place in np.argsort(-scored)][:6]
        assert row["rank"] == 1 + int((scored > scored[own]).sum())
    assert normalised["signature"]["querybank"] == 9 and "querybank" not in result["signature"]
    assert "querybank 9" in format_evaluation(normalised)


def test_a_split_by_itself_is_scored_with_the_captions_that_the_run_keeps(run, result, tmp_path):
    """As where somebody else measures the run, whose folder holds the images of one split only."""
    copy = shutil.copytree(run, tmp_path / "run")
    _, task, model, _ = load_run(run)
    source = task.source("test")
    for index, name in enumerate(source.image_ids):
        (tmp_path / name).write_bytes(source.read_images([index])[0])
    lines = [
        {"image": name, "captions": captions, "split": "test"}
        for name, captions in zip(source.image_ids, source.captions, strict=True)
    ]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    alone = [f"data.manifest={tmp_path / 'test.jsonl'}", "retrieval.querybank=9"]
    with pytest.raises(DataError, match="no split `train`"):
        evaluate(copy, "test", alone)
    kept = [own[0] for own in task.source("train").captions[:9]]
    (copy / "querybank.jsonl").write_text("".join(json.dumps(text) + "\n" for text in kept))
    scored = evaluate(copy, "test", alone)
    assert scored["signature"]["querybank"] == 9
    assert "no split `train` here: the querybank has only the captions that the run keeps" in format_evaluation(scored)
    ours = {(row["query"], row["image"], row.get("text")): row["rank"] for row in _rows(copy)}
    evaluate(copy, "test", ["retrieval.querybank=9"])
    for row in _rows(copy):
        if row["query"] == "text":
            assert ours["text", row["image"], row["text"]] == row["rank"]
    for row in _rows(run):
        if row["query"] == "image":
            assert ours["image", row["image"], None] == row["rank"]


def test_only_a_matching_run_of_the_same_data_can_rerank(run, task_run, tmp_path):
    with pytest.raises(
        RunError, match="rerank_with` must be a run of a task that matches images with texts; .* is a vqa run"
    ):
        evaluate(run, "test", [f"retrieval.rerank_with={task_run('vqa')}"])
    with pytest.raises(RunError, match="holds no run"):
        evaluate(run, "test", [f"retrieval.rerank_with={tmp_path}"])


def test_it_is_written_and_reported(run, result):
    assert json.loads((run / "evaluation" / "test.json").read_text("utf-8")) == json.loads(json.dumps(result))
    text = format_evaluation(result)
    for name in ("mean_recall", "text_to_image R@10", "searched: 6 images", *result["files"].values()):
        assert name in text
    sheet = np.asarray(Image.open(run / "evaluation" / "test.png")).astype(int)
    framed = sum(row["rank"] <= 6 for row in _rows(run) if row["query"] == "text")
    assert framed and (sheet == (0, 128, 0)).all(axis=-1).sum() > 1000  # frames around right answers


def test_what_cannot_be_scored_is_said(run, tmp_path):
    Image.new("RGB", (32, 24)).save(tmp_path / "a.png")
    row = {"image": "a.png", "question": "what?", "answer": "a dog", "split": "dev"}
    (tmp_path / "mine.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(RunError, match="`dev` of mine has no captions to find"):
        evaluate(run, "dev", overrides=[f"data.manifest={tmp_path / 'mine.jsonl'}"])
    file = io.BytesIO()
    Image.effect_noise((64, 48), 50).save(file, "JPEG")
    (tmp_path / "cut.jpg").write_bytes(file.getvalue()[:-300])
    (tmp_path / "cut.jsonl").write_text(json.dumps({"image": "cut.jpg", "captions": ["a dog"], "split": "dev"}))
    with pytest.raises(RunError, match="No image of split `dev` of cut that has captions can be read"):
        evaluate(run, "dev", overrides=[f"data.manifest={tmp_path / 'cut.jsonl'}", "data.max_bad_share=1"])


def test_the_matching_run_reads_the_same_data_whatever_its_path():
    data = DataConfig(manifest="my photos #1: all.jsonl", manual_dir="2024", data_dir="ä", max_examples=3)
    data = dataclasses.replace(data, max_pixels=7, max_bad_share=0.5)

    def load_run(run_dir, overrides):
        read = config_from_dict({}, overrides).data
        assert (read.manifest, read.manual_dir, read.data_dir) == (data.manifest, data.manual_dir, data.data_dir)
        assert (read.max_examples, read.max_pixels, read.max_bad_share) == (3, 7, 0.5)
        return SimpleNamespace(task="vqa"), None, None, ""

    with pytest.raises(RunError, match="`run` is a vqa run"):
        Reranker("run", SimpleNamespace(config=SimpleNamespace(data=data)), "dev", load_run)

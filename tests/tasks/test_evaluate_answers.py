"""Measuring a trained run of question answering."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from vl_keras.drawing.reliability_figure import reliability_figure
from vl_keras.errors import RunError
from vl_keras.inference.evaluate import evaluate, format_evaluation
from vl_keras.metrics.bootstrap import bootstrap_interval
from vl_keras.runs.load_run import load_run


@pytest.fixture(scope="module")
def run(task_run, tmp_path_factory):
    """A copy of the run, since evaluation writes into it."""
    return shutil.copytree(task_run("vqa"), tmp_path_factory.mktemp("evaluated") / "run")


@pytest.fixture(scope="module")
def result(run):
    return evaluate(run, "test")


@pytest.fixture(scope="module")
def rows(run, result):
    return [json.loads(line) for line in (run / "evaluation" / "test_answers.jsonl").read_text("utf-8").splitlines()]


def test_every_question_is_listed_the_worst_answers_first(run, rows):
    _, task, _, _ = load_run(run)
    source = task.source("test")
    asked = {
        (name, question["question"], question["kind"], question["answer"])
        for name, questions in zip(source.image_ids, source.questions, strict=True)
        for question in questions
    }
    assert {(row["image"], row["question"], *row["kinds"], *row["truth"]) for row in rows} == asked
    assert all(row["accuracy"] == (row["answer"] == row["truth"][0]) for row in rows)
    order = [(row["accuracy"], -row["confidence"]) for row in rows]
    assert order == sorted(order)


def test_metrics_and_intervals_are_of_the_listed_answers(result, rows):
    metrics = result["measures"]
    images = sorted({row["image"] for row in rows})
    of_image = [[row["accuracy"] for row in rows if row["image"] == image] for image in images]
    statistics = np.array([(sum(own), len(own)) for own in of_image], float)
    low, high = bootstrap_interval(statistics, lambda sums, count: sums[:, 0] / sums[:, 1])
    assert metrics["accuracy"]["score"] == pytest.approx(statistics[:, 0].sum() / statistics[:, 1].sum())
    assert (metrics["accuracy"]["low"], metrics["accuracy"]["high"]) == pytest.approx((low, high))
    for row in metrics.values():
        assert row["low"] <= row["score"] <= row["high"] or row["high"] == pytest.approx(row["low"])
    assert result["wrong"] == sum(row["accuracy"] == 0 for row in rows)


def test_what_was_fitted_to_dev_is_used_and_kept(run, result, rows):
    known = json.loads((run / "measures.json").read_text())["best"]["measures"]
    assert result["temperature"] == known["temperature"] != 1.0
    assert "temperature" not in result["measures"]
    dev = evaluate(run, "dev")
    assert dev["temperature"] == known["temperature"]
    assert json.loads((run / "measures.json").read_text())["best"]["measures"] == known


def test_it_says_what_it_was_measured_with(run, result):
    assert json.loads((run / "evaluation" / "test.json").read_text("utf-8")) == json.loads(json.dumps(result))
    signature = result["signature"]
    assert (signature["dataset"], signature["split"], signature["images"]) == ("shapes", "test", 6)
    assert (signature["annotators"], signature["weights"]) == ("1", "best")
    assert result["signature_text"].startswith(
        f"shapes test at {signature['image_size']}, 6 images, {signature['questions']} questions, 1 annotator"
    )


def test_the_report_lists_metrics_and_wrong_answers(result, rows):
    text = format_evaluation(result)
    for name in (*result["measures"], *result["files"].values(), "95% interval", "fitted to dev", result["weights"]):
        assert name in text
    wrong = [row for row in rows if row["accuracy"] == 0]
    shown = [line for line in text.splitlines() if ", truth: " in line]
    assert len(shown) == min(len(wrong), 20)
    assert shown[0].startswith(f"  {wrong[0]['image']}: {wrong[0]['question']} {wrong[0]['answer']} (")
    assert shown[0].endswith(f"truth: {wrong[0]['truth'][0]}")


def test_the_sheet_shows_the_wrong_answers(run, result):
    sheet = np.asarray(Image.open(run / "evaluation" / "test.png")).astype(int)
    red = (sheet == (178, 34, 34)).all(axis=-1)  # the color of wrong answers
    assert sheet.shape[0] > 500 and red[300:].sum() > 100


def test_each_official_question_type_has_its_accuracy(run, tmp_path):
    (tmp_path / "val2014").mkdir()
    types = [("yes/no", "is the"), ("other", "what color is the"), ("other", "what shape"), ("yes/no", "is the")]
    asked, answered = [], []
    for number, (kind, question_type) in enumerate(types):
        Image.new("RGB", (64, 48), (40 * number, 90, 30)).save(tmp_path / f"val2014/COCO_val2014_{number:012d}.jpg")
        key = {"question_id": 10 + number, "image_id": number}
        asked.append({**key, "question": f"{question_type} circle?"})
        answers = [{"answer": ("yes", "red", "star")[k % (number + 1) % 3]} for k in range(10)]
        answered.append({**key, "answers": answers, "answer_type": kind, "question_type": question_type})
    for name, rows in (("OpenEnded_mscoco_val2014_questions", asked), ("mscoco_val2014_annotations", answered)):
        (tmp_path / f"v2_{name}.json").write_text(json.dumps({name.rsplit("_", 1)[1]: rows}))
    copy = shutil.copytree(run, tmp_path / "run")
    overrides = ["data.dataset=vqa_v2", f"data.manual_dir={tmp_path}", f"data.data_dir={tmp_path / 'data'}"]
    result = evaluate(copy, "dev", overrides)
    rows = [json.loads(line) for line in (copy / "evaluation" / "dev_answers.jsonl").read_text().splitlines()]
    kinds = {kind for pair in types for kind in pair}
    assert {name for name in result["measures"] if name.startswith("accuracy ")} == {f"accuracy {k}" for k in kinds}
    for kind in kinds:
        own = [row["accuracy"] for row in rows if kind in row["kinds"]]
        assert result["measures"][f"accuracy {kind}"]["score"] == pytest.approx(np.mean(own))
    assert result["signature"]["annotators"] == "10"


def test_withheld_answers_are_counted(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    path = copy / "measures.json"
    known = json.loads(path.read_text())
    before = evaluate(copy, "test")["files"]["answers"]
    confidences = sorted(json.loads(line)["confidence"] for line in open(before, encoding="utf-8"))
    low, high = max(zip(confidences, confidences[1:], strict=False), key=lambda pair: pair[1] - pair[0])
    threshold = known["best"]["measures"]["threshold"] = (low + high) / 2  # where rounding in the file moves nothing
    path.write_text(json.dumps(known))
    result = evaluate(copy, "test")
    rows = [json.loads(line) for line in (copy / "evaluation" / "test_answers.jsonl").read_text().splitlines()]
    given = [row["accuracy"] for row in rows if row["confidence"] >= threshold]
    assert result["threshold"] == threshold and f"under confidence {threshold:.3f}" in format_evaluation(result)
    assert result["measures"]["coverage"]["score"] == pytest.approx(len(given) / len(rows))
    assert given and result["measures"]["accuracy answered"]["score"] == pytest.approx(np.mean(given))
    assert "target_accuracy" not in format_evaluation(result)  # no target was set
    config = copy / "config.yaml"
    config.write_text(config.read_text().replace("target_accuracy: 0.0", "target_accuracy: 1.0"))
    assert "`vqa.target_accuracy` 1 is not reached: 0." in format_evaluation(evaluate(copy, "test"))


def test_what_cannot_be_scored_is_said(run, tmp_path):
    Image.new("RGB", (32, 24)).save(tmp_path / "a.png")
    (tmp_path / "mine.jsonl").write_text('{"image": "a.png", "captions": ["a dog"], "split": "dev"}\n')
    with pytest.raises(RunError, match="`dev` of mine has no questions with answers"):
        evaluate(run, "dev", overrides=[f"data.manifest={tmp_path / 'mine.jsonl'}"])
    with pytest.raises(RunError, match="--java.*is a vqa run"):
        evaluate(run, "dev", with_java=True)


def test_the_reliability_figure_has_a_dot_where_answers_are():
    confidence = np.concatenate([np.full(50, 0.95), np.full(50, 0.35)])
    accuracy = np.concatenate([np.ones(50), np.zeros(50)])
    figure = np.asarray(reliability_figure(confidence, accuracy)).astype(int)
    red = np.argwhere((np.abs(figure - (178, 34, 34)).sum(axis=-1) < 30)[40:])  # below the legend
    assert len(red) > 30
    assert red[:, 0].max() - red[:, 0].min() > 0.6 * figure.shape[0]  # from accuracy 1 down to 0
    reliability_figure([1.0], [0.5])

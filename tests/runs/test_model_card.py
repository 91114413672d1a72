"""The model card: facts of the run's files, unknown things called unknown, and texts that mean nothing in Markdown."""

import json
import shutil

import pytest

from vl_keras.runs.model_card import MODEL_CARD, model_card, write_model_card
from vl_keras.runs.run_dir import RunDir
from vl_keras.tasks import TASKS

STARTS = [
    {
        "started": "2026-01-01",
        "packages": {"vl_keras": "9.8"},
        "python": "3.11",
        "devices": ["CPU:0"],
        "init_from": None,
    }
]
BEST = {
    "which": "weights at cross_entropy epoch 2, CIDEr-D 0.5",
    "measures": {"CIDEr-D": 0.5, "BLEU-4": 21.04},
    "signature": {"dataset": "shapes", "split": "dev", "image_size": "8x8", "images": 5, "weights": "raw"},
}


@pytest.fixture
def make_run(tmp_path):
    """Function of settings to the folder of a run with these settings and no weights."""

    def make(name="a_run", task="captioning", settings="", **files):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.yaml").write_text(f"task: {task}\n{settings}")
        data = {split: {"images": count, "fingerprint": split * 2} for split, count in (("train", 31), ("dev", 7))}
        contents = {"data": data, "versions": STARTS, "measures": {"best": BEST}, **files}
        for file, values in contents.items():
            (folder / f"{file}.json").write_text(json.dumps(values))
        return folder

    return make


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_a_card_from_the_files_of_a_run(make_run, task):
    text = model_card(make_run(task=task))
    assert "| train | training | 31 | `traintrain` |" in text and "| dev | choosing the epoch | 7 |" in text
    assert "| CIDEr-D | 0.500 |" in text and "| BLEU-4 | 21.0 |" in text and "shapes dev at 8x8, 5 images" in text
    assert "vl\\_keras 9.8" in text or "vl_keras 9.8" in text
    assert "licence of the data are not recorded" in text and "not evaluated for bias" in text
    for given in TASKS[task].inputs:
        assert (f"`{given.name}`" in text) == given.required  # what may be left out needs a text encoder
    assert "\n\n\n" not in text


def test_it_names_the_settings_that_differ_and_what_came_from_elsewhere(make_run):
    plain = model_card(make_run("plain", settings="image_encoder: {weights: none}\n"))
    assert "weights from elsewhere (" not in plain and "training.epochs" not in plain
    settings = "image_encoder: {weights: imagenet, backbone: ResNet50}\ntraining: {epochs: 3}\n"
    starts = [{**STARTS[0], "init_from": "/home/me/secret/first_run"}, STARTS[0]]
    text = model_card(make_run("more", settings=settings, versions=starts))
    assert "`training.epochs`: 3" in text and "the image encoder ResNet50 with the weights imagenet" in text
    assert "first\\_run" in text and "/home/me" not in text


def test_texts_from_elsewhere_mean_nothing_in_markdown(make_run):
    text = model_card(make_run("x|*y*<b>", settings='data: {manifest: "a|b `c`.jsonl"}\n'))
    assert text.startswith("# Model card: x\\|\\*y\\*&lt;b&gt;\n")
    assert "a\\|b \\`c\\`.jsonl" in text


def test_a_run_that_has_only_begun_has_a_card(make_run):
    folder = make_run(measures={})
    write_model_card(RunDir(folder))
    assert "has not been evaluated yet" in (folder / MODEL_CARD).read_text("utf-8")
    run = RunDir(folder.parent / "nothing")
    write_model_card(run)  # there is no run
    assert not run.path.exists()


def test_the_card_of_an_evaluated_run_has_the_intervals(make_run):
    folder = make_run()
    (folder / "evaluation").mkdir()
    row = {"score": 0.25, "low": 0.125, "high": 0.5}
    result = {"signature_text": "shapes test", "weights": "best", "measures": {"CIDEr-D": row}}
    (folder / "evaluation" / "test.json").write_text(json.dumps(result))
    (folder / "evaluation" / "test_captions.json").write_text("[]")
    assert "| CIDEr-D | 0.250 | 0.125 to 0.500 |" in model_card(folder)


def test_a_finished_run_has_a_card_that_its_files_confirm(trained_run, tmp_path):
    card = (trained_run / MODEL_CARD).read_text("utf-8")
    copy = shutil.copytree(trained_run, tmp_path / trained_run.name)
    (copy / MODEL_CARD).unlink()
    shutil.rmtree(copy / "evaluation", ignore_errors=True)
    write_model_card(RunDir(copy))
    again = (copy / MODEL_CARD).read_text("utf-8")
    assert again.splitlines()[0] in card and "## Metrics" in card and "has not been evaluated" not in card
    assert "`training.epochs`: 2" in card

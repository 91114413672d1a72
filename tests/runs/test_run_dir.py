import contextlib
import errno
import fcntl
import json
import resource
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.failing_files import read_only
from vl_keras.config import load_config, save_config
from vl_keras.errors import RunError, VlKerasError
from vl_keras.runs.history import History
from vl_keras.runs.load_run import load_run
from vl_keras.runs.run_dir import RunDir
from vl_keras.runs.same_run import check_same_run
from vl_keras.training.train import train


def test_a_run_explains_itself(trained_run, small_config):
    names = {path.name for path in trained_run.iterdir()}
    files = "config.yaml vocabulary.txt versions.json data.json history.csv curves.png measures.json train.log"
    assert {*files.split(), "MODEL_CARD.md", "checkpoints", "best", "tensorboard"} <= names
    assert load_config(trained_run / "config.yaml") == small_config()
    (start,) = json.loads((trained_run / "versions.json").read_text())
    assert start["packages"]["tensorflow"].startswith("2.") and "git_commit" in start and start["devices"]
    rows = History(trained_run / "history.csv").rows
    assert [(row["epoch"], row["step"]) for row in rows] == [(1, 5), (2, 10)]
    assert all({"loss", "dev_loss", "CIDEr-D", "BLEU-4", "learning_rate", "seconds"} <= set(row) for row in rows)
    best = json.loads((trained_run / "measures.json").read_text())["best"]
    assert best["signature"]["weights"] == "ema" and best["signature"]["images"] == 5
    assert best["epoch"] == 2, "5 images are too few to choose by"
    assert best["measures"]["CIDEr-D"] == rows[-1]["CIDEr-D"]
    assert "epoch 2/2: loss" in (trained_run / "train.log").read_text()


def test_the_curves_show_losses_metrics_and_images(trained_run):
    events = EventAccumulator(str(trained_run / "tensorboard"), size_guidance={"tensors": 0})
    events.Reload()
    assert {"loss", "dev_loss", "CIDEr-D", "BLEU-4", "learning_rate", "dev", "dev/0", "dev/3"} <= set(
        events.Tags()["tensors"]
    )
    assert [event.step for event in events.Tensors("dev/0")] == [5, 10]


def test_a_run_directory_is_not_written_over(trained_run, small_config):
    with pytest.raises(RunError, match="is not empty.*--resume"):
        train(small_config(), trained_run)


def test_a_folder_of_other_things_is_not_said_to_be_a_run(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="is not empty. It holds no run: empty it, or give another run directory"):
        RunDir(tmp_path).open(resume=False)


def test_what_a_failed_start_leaves_is_no_run(tmp_path, small_config):
    with pytest.raises(ValueError, match="SmallCNNN"):
        train(small_config("image_encoder.backbone=SmallCNNN"), tmp_path / "run")
    RunDir(tmp_path / "run").open(resume=False)


@contextlib.contextmanager
def files_of_at_most(size):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_what_a_full_disk_stopped_before_the_first_step_is_started_again(tmp_path, small_config, trained_run):
    """Nothing of it may be taken up, not even a whole checkpoint: it can be of another model."""
    with files_of_at_most(10_000), pytest.raises(RunError, match="step 0 cannot be written.*room.*start again"):
        train(small_config(), tmp_path)
    stale = tmp_path / "checkpoints" / "cross_entropy" / "stale"
    stale.touch()
    run = RunDir(tmp_path)
    run.open(resume=False)
    run.close()
    assert not stale.exists()


def test_settings_that_a_full_disk_cut_short_are_no_settings(tmp_path, small_config):
    run = RunDir(tmp_path)
    task = SimpleNamespace(save_vocabularies=lambda folder: (folder / "vocabulary.txt").write_text("a" * 2000))
    with files_of_at_most(1000), pytest.raises(RunError, match="cannot be written.*room.*start again"):
        run.write_settings(task, None)
    assert not run.config_file.exists()


@pytest.mark.parametrize("kept", [["best"], ["history.csv"], []])
def test_a_run_that_lost_its_settings_is_not_taken_for_a_failed_start(trained_run, tmp_path, kept):
    run_dir = shutil.copytree(trained_run, tmp_path / "run")
    for path in list(run_dir.iterdir()):
        if path.name in ("config.yaml", "best", "history.csv", "measures.json", "curves.png", "tensorboard"):
            if path.name not in kept:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    before = sorted(run_dir.rglob("*"))
    with pytest.raises(RunError, match="is not empty. It holds no run"):
        RunDir(run_dir).open(resume=False)
    assert sorted(run_dir.rglob("*")) == before


@pytest.mark.parametrize("name", ["checkpoints", "text_encoder", "image_encoder.h5"])
def test_what_only_looks_like_a_failed_start_is_kept(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "mine").touch()
    with pytest.raises(RunError, match="is not empty. It holds no run"):
        RunDir(tmp_path).open(resume=False)
    assert (tmp_path / name / "mine").exists() and not (tmp_path / ".lock").exists()


def test_a_folder_of_published_models_is_no_failed_start(tmp_path):
    (tmp_path / ".lock").touch()
    (tmp_path / "1").mkdir()
    with pytest.raises(RunError, match="is not empty"):
        RunDir(tmp_path).open(resume=False)


@pytest.mark.parametrize("weights", ["best", "last", "ema"])
def test_weights_of_another_model_are_said(trained_run, tmp_path, weights):
    run_dir = shutil.copytree(trained_run, tmp_path / "run")
    words = (run_dir / "vocabulary.txt").read_text("utf-8").splitlines(keepends=True)
    (run_dir / "vocabulary.txt").write_text("".join(words[:-1]), "utf-8")
    with pytest.raises(RunError, match=r"ckpt-\d+ is not of the model that this run's config.yaml and vocabulary"):
        load_run(run_dir, weights)


@pytest.mark.parametrize("weights", ["best", "last", "ema"])
def test_weights_cut_short_are_said(trained_run, tmp_path, weights):
    run = RunDir(shutil.copytree(trained_run, tmp_path / "run"))
    for path in run.path.glob("**/ckpt-*.data*"):
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RunError, match=r"The checkpoint .*ckpt-\d+ cannot be read"):
        load_run(run.path, weights)


@pytest.mark.parametrize("name, use", [("measures.json", "load"), ("data.json", "resume"), ("versions.json", "resume")])
def test_a_half_written_file_of_a_run_is_named(trained_run, tmp_path, small_config, name, use):
    run_dir = shutil.copytree(trained_run, tmp_path / "run")
    (run_dir / name).write_text('{"be')
    with pytest.raises(RunError, match=rf"run/{name}` is not JSON \(.*put a whole copy in its place"):
        load_run(run_dir) if use == "load" else train(small_config(), run_dir, resume=True)


def test_nothing_to_resume(tmp_path, small_config):
    with pytest.raises(RunError, match="holds no run to resume"):
        train(small_config(), tmp_path, resume=True)


def test_resuming_another_run_names_what_differs(trained_run, small_config):
    with pytest.raises(RunError) as raised:
        train(small_config("training.learning_rate=0.5", "model.num_layers=2"), trained_run, resume=True)
    message = str(raised.value)
    assert "training.learning_rate: 0.003 there, 0.5 now" in message and "model.num_layers: 1 there, 2 now" in message
    assert "batch_size" not in message


def test_resuming_on_changed_data_is_refused(trained_run, tmp_path, small_config):
    run_dir = tmp_path / "run"
    shutil.copytree(trained_run, run_dir)
    data = json.loads((run_dir / "data.json").read_text())
    data["dev"]["fingerprint"] = "0"
    (run_dir / "data.json").write_text(json.dumps(data))
    with pytest.raises(RunError, match="The data of split dev is not"):
        train(small_config(), run_dir, resume=True)


def test_a_disk_without_locks_is_not_taken_for_another_process(tmp_path, monkeypatch):
    def flock(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(VlKerasError, match="has no file locks .*No locks available"):
        RunDir(tmp_path).open(resume=False)
    monkeypatch.undo()
    read_only(monkeypatch, tmp_path)
    with pytest.raises(RunError, match="may not be written to"):
        RunDir(tmp_path).open(resume=False)


def test_two_trainings_do_not_share_a_directory(tmp_path):
    first = RunDir(tmp_path)
    first.open(resume=False)
    with pytest.raises(RunError, match="Another process trains"):
        RunDir(tmp_path).open(resume=False)
    first.close()
    RunDir(tmp_path).open(resume=False)


def test_a_finished_run_is_resumed_to_no_effect(trained_run, tmp_path, small_config, checkpoint_values):
    run_dir = tmp_path / "run"
    shutil.copytree(trained_run, run_dir)
    metrics = train(small_config(), run_dir, resume=True)
    assert metrics == json.loads((trained_run / "measures.json").read_text())
    assert (run_dir / "history.csv").read_text() == (trained_run / "history.csv").read_text()


def test_load_run_takes_the_weights_that_are_asked_for(trained_run, checkpoint_values):
    saved = checkpoint_values(trained_run)
    loaded = {}
    for weights in ("auto", "best", "last", "ema"):
        config, task, captioner, which = load_run(trained_run, weights)
        loaded[weights] = captioner.reader.get_weights()
        assert which.startswith({"last": "last", "ema": "moving average"}.get(weights, "best")), which
    decoder = "reader/0/.ATTRIBUTES/VARIABLE_VALUE"
    np.testing.assert_array_equal(loaded["last"][0], saved[f"weights/{decoder}"])
    np.testing.assert_array_equal(loaded["ema"][0], saved[f"averages/{decoder}"])
    np.testing.assert_array_equal(loaded["auto"][0], loaded["best"][0])
    assert not np.array_equal(loaded["last"][0], loaded["ema"][0])
    scores, captions = task.score_split(captioner, "dev")
    assert len(captions) == 6 and captions[0].references


def test_best_weights_give_the_metrics_that_were_written_down(trained_run):
    _, task, captioner, _ = load_run(trained_run, "best")
    written = json.loads((trained_run / "measures.json").read_text())["best"]["measures"]
    scores, _ = task.score_split(captioner, "dev", limit=5)
    assert scores.metrics == pytest.approx(written, abs=1e-6)


def test_load_run_sets_data_and_generation_only(trained_run):
    config, _, _, _ = load_run(trained_run, overrides=["generation.method=beam", "data.batch_size=3"])
    assert (config.generation.method, config.data.batch_size) == ("beam", 3)
    with pytest.raises(RunError, match="only data.…, generation.… can be set"):
        load_run(trained_run, overrides=["model.hidden_dim=64"])
    with pytest.raises(RunError, match="must be auto, best, last or ema"):
        load_run(trained_run, weights="first")


def test_load_run_without_a_run(tmp_path):
    with pytest.raises(RunError, match="holds no run"):
        load_run(tmp_path)


def test_a_written_answer_is_no_longer_than_its_model_is_made_for(tmp_path, task_config):
    save_config(task_config("free_form_vqa"), tmp_path / "config.yaml")
    with pytest.raises(RunError, match="`generation.max_length` of a free_form_vqa run .* training, 6; got 9"):
        load_run(tmp_path, overrides=["generation.max_length=9"])


def test_a_run_is_resumed_with_another_share_of_bad_images(tmp_path, small_config):
    """As the message of too many of them advises."""
    save_config(small_config(), tmp_path / "config.yaml")
    source = type("Source", (list,), {"fingerprint": "f"})()
    (tmp_path / "data.json").write_text(
        json.dumps({split: {"images": 0, "fingerprint": "f"} for split in ("train", "dev")})
    )
    phases = {"phase_names": (), "epoch_settings": (), "renamed_phases": {}}
    for setting, same in (("data.max_bad_share=0.5", True), ("data.batch_size=4", False)):
        task = SimpleNamespace(config=small_config(setting), source=lambda split: source, **phases)
        with contextlib.nullcontext() if same else pytest.raises(RunError, match="data.batch_size: 6 there, 4"):
            check_same_run(RunDir(tmp_path), task)

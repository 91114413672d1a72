"""A new task is one file, one line in `TASKS` and one YAML: here it goes all the way without touching another file."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.cli import main as export_main
from export.server.local_server import LocalServer
from vl_keras.cli.main import main
from vl_keras.errors import TrainingStopped
from vl_keras.runs.history import History
from vl_keras.tasks import TASKS

NEW_TASK = Path(__file__).with_name("new_task")
QUESTION = "is there a red circle?"


@pytest.fixture(scope="module")
def yes_no(tmp_path_factory):
    """The task in a module of a temporary folder, with its line in `TASKS`, and its YAML."""
    folder = tmp_path_factory.mktemp("new_task")
    for name in ("yes_no.py", "yes_no.yaml"):
        shutil.copy(NEW_TASK / name, folder)
    spec = importlib.util.spec_from_file_location("yes_no", folder / "yes_no.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "yes_no", module)
        spec.loader.exec_module(module)
        patch.setitem(TASKS, "yes_no", module.YesNoTask)
        yield folder / "yes_no.yaml"


@pytest.fixture(scope="module")
def run(yes_no, data_dir, tmp_path_factory):
    """Folder of a run of it that was stopped in its first epoch and resumed."""
    run_dir = tmp_path_factory.mktemp("runs") / "yes_no"
    command = ["train", str(yes_no), "--run-dir", str(run_dir), "--set", f"data.data_dir={data_dir}"]
    with pytest.MonkeyPatch.context() as patch:
        _stop_at_step(patch, 3)
        with pytest.raises(TrainingStopped):
            main(command)
    assert main([*command, "--resume"]) == 0
    return run_dir


def test_it_trains_and_resumes(run):
    assert "Resuming cross_entropy at step 3 of" in (run / "train.log").read_text()
    assert all(row["dev_loss"] > 0 for row in History(run / "history.csv").rows)
    assert len((run / "history.csv").read_text().splitlines()) == 3
    assert 0 <= json.loads((run / "measures.json").read_text())["best"]["measures"]["accuracy"] <= 1


def test_it_is_evaluated(run, capsys):
    assert main(["evaluate", str(run)]) == 0
    assert "accuracy" in capsys.readouterr().out
    scores = json.loads((run / "evaluation" / "dev.json").read_text())
    best = json.loads((run / "measures.json").read_text())["best"]["measures"]
    assert scores["task"] == "yes_no" and scores["measures"]["accuracy"]["score"] == best["accuracy"]


def test_it_predicts_and_explains(run, tmp_path, capsys):
    image = _image(tmp_path)
    drawing = tmp_path / "look.png"
    assert main(["predict", str(run), "--image", image, "--question", QUESTION, "--explain", str(drawing)]) == 0
    path, question, answer = capsys.readouterr().out.strip().split("\t")
    assert (path, question) == (image, QUESTION) and answer.split()[0] in ("yes", "no")
    assert Image.open(drawing).width > 100
    assert main(["predict", str(run), "--image", image]) == 2
    assert "is a yes_no run: give it something to read with --question" in capsys.readouterr().err


def test_its_settings_are_checked(yes_no, tmp_path, capsys):
    for override, message in (
        ("yes_no.threshold=2", "`yes_no.threshold` must lie between 0 and 1; got 2"),
        ("yes_no.treshold=1", "did you mean `yes_no.threshold`?"),
        ("generation.beam_size=5", "`generation.beam_size`"),
    ):
        assert main(["train", str(yes_no), "--run-dir", str(tmp_path / "run"), "--set", override]) == 2
        assert message in capsys.readouterr().err


def test_it_is_exported_served_and_requested(run, tmp_path, capsys):
    image, model = _image(tmp_path), tmp_path / "models" / "yes_no"
    assert export_main(["savedmodel", str(run), "--out", str(model), "--batch-sizes", "1"]) == 0
    assert main(["predict", str(run), "--image", image, "--question", QUESTION]) == 0
    expected = capsys.readouterr().out.splitlines()[-1].split("\t")[-1].split()
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    with LocalServer(model, model_name="yes_no") as server:
        url = f"grpc://127.0.0.1:{server.grpc_port}"
        request = ["request", url, "--model", "yes_no", "--image", image, str(tmp_path / "bad.jpg")]
        assert export_main([*request, "--question", QUESTION, "--json"]) == 0
    good, bad = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert good["status"] == "ok" and good["answer"] == expected[0]
    assert good["probability"] == pytest.approx(float(expected[1].strip("()")), abs=0.0051)
    assert bad["status"].startswith("unsupported")


def _image(folder):
    path = folder / "dog.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)).save(path)
    return str(path)


def _stop_at_step(patch, step):
    import os
    import signal

    from vl_keras.progress import Progress

    own, sent = Progress.to, []

    def to(self, done, note=None):
        own(self, done, note)
        if "epoch 1/" in self.name and done == step and not sent:
            sent.append(os.kill(os.getpid(), signal.SIGTERM))

    patch.setattr(Progress, "to", to)

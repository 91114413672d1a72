"""Sizes and folders that the tests share. Sizes are pairwise different, so that a swapped axis cannot hide."""

import fcntl
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from small_run import SMALL, SMALL_TASK, TINY

import vl_keras  # noqa: F401  selects Keras 2 before any test imports TensorFlow

ROOT = Path(__file__).resolve().parent.parent
_TIMES = ("seconds", "evaluation_seconds")
_HUB_WORDS = (
    "what shape is there a the red green blue yellow circle square star ring triangle of to left right ##s . , ?"
)


@pytest.fixture(scope="session")
def shared_dir():
    """Folder of real data and weights; tests that want it are skipped, and say so, where it is absent."""
    folder = Path(os.environ.get("VL_KERAS_SHARED", ROOT / ".." / "shared")).resolve()
    if not (folder / "data").is_dir():
        pytest.skip(f"real data not found: set VL_KERAS_SHARED to its folder (looked in {folder})")
    return folder


@pytest.fixture(scope="session")
def all_workers_dir(tmp_path_factory):
    """Folder that all processes of this test run share."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "all_workers"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def data_dir(all_workers_dir):
    return all_workers_dir / "data"


@pytest.fixture(scope="session")
def made_once(all_workers_dir, tmp_path_factory):
    """Function of a name and of what makes a folder: this process's copy of the folder, which one process makes."""

    def copy_of(name, make):
        original = all_workers_dir / name
        with open(all_workers_dir / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not original.exists():
                make(part := all_workers_dir / f"{name}.{os.getpid()}")
                part.rename(original)
        return shutil.copytree(original, tmp_path_factory.mktemp(name) / name)

    return copy_of


@pytest.fixture(scope="session")
def small_config(data_dir):
    """Function of overrides to the `Config` of a run of seconds."""
    from vl_keras.config import load_config

    return lambda *overrides: load_config(TINY, (*SMALL, f"data.data_dir={data_dir}", *overrides))


@pytest.fixture(scope="session")
def trained_run(small_config, made_once):
    """Folder of a finished run of `small_config()`."""
    from vl_keras.training.train import train

    return made_once("trained", lambda run_dir: train(small_config(), run_dir))


@pytest.fixture(scope="session")
def hub_bert(made_once):
    """Overrides that read texts with a small frozen BERT of random weights, made from a config alone."""
    folder = made_once("hub_bert", _make_hub_bert)
    return (
        f"text_encoder.encoder={folder / 'module' / 'encoder'}",
        f"text_encoder.preprocessor={folder / 'module' / 'preprocessor'}",
        "text_encoder.max_length=13",
        "data.augment.word_swap=0",  # cached texts are as they were written
    )


def _make_hub_bert(folder):
    from vl_keras.encoders.bert_module import make_bert

    folder.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *_HUB_WORDS.split()]
    config = {
        "model_type": "bert",
        "vocab_size": len(words),
        "hidden_size": 12,
        "num_hidden_layers": 1,
        "num_attention_heads": 3,
        "intermediate_size": 20,
        "max_position_embeddings": 17,
        "hidden_act": "gelu",
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    with pytest.warns(UserWarning):
        make_bert(folder, folder / "module")


@pytest.fixture(scope="session")
def member_runs(small_config, made_once):
    """Folders of two runs with one frozen image encoder; the second went on from the first."""
    from vl_keras.training.train import train

    def make(folder):
        frozen = "image_encoder.trainable_from="
        train(small_config(frozen, "training.epochs=1"), folder / "one")
        train(small_config(frozen, "training.seed=5"), folder / "two", init_from=folder / "one")

    folder = made_once("members", make)
    return [folder / "one", folder / "two"]


@pytest.fixture(scope="session")
def ensemble_run(member_runs, made_once):
    """Folder of the run that joins `member_runs`."""
    from vl_keras.training.ensemble import ensemble

    return made_once("ensemble", lambda run_dir: ensemble(member_runs, run_dir))


@pytest.fixture(scope="session")
def memory_folder(task_config, made_once):
    """Folder of the captions that a retrieval run keeps; its frozen encoder is of the seed of `member_runs`' first."""
    from vl_keras.search.make_memory import make_memory
    from vl_keras.training.train import train

    def make(folder):
        train(task_config("retrieval", "image_encoder.trainable_from="), folder / "run")
        make_memory(folder / "run", folder / "memory")

    return made_once("memory", make) / "memory"


@pytest.fixture(scope="session")
def task_config(data_dir):
    """Function of a task's name and overrides to the `Config` of a run of seconds of its tiny experiment."""
    from vl_keras.config import load_config

    def config(task, *overrides):
        return load_config(
            ROOT / "configs" / task / "tiny.yaml", (*SMALL_TASK, f"data.data_dir={data_dir}", *overrides)
        )

    return config


@pytest.fixture(scope="session")
def task_run(task_config, made_once):
    """Function of a task's name to the folder of a finished run of its `task_config`; who writes there copies it."""
    from vl_keras.training.train import train

    return functools.cache(lambda task: made_once(task, lambda run_dir: train(task_config(task), run_dir)))


@pytest.fixture
def no_sample_images(monkeypatch):
    """Trainings draw no sample images at the end of an epoch, which takes them a quarter of their time."""
    from vl_keras.tasks import TASKS

    for task in TASKS.values():
        monkeypatch.setattr(task, "sample_images", lambda *arguments: None)


@pytest.fixture(scope="session")
def checkpoint_values():
    """Function of a run directory to the arrays of the newest checkpoint of a phase, by default the only one."""
    import numpy as np
    import tensorflow as tf

    def read(run_dir, phase=None):
        (folder,) = (run_dir / "checkpoints").glob(phase or "*")
        reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(str(folder)))
        # TensorFlow's own: the graph of names, and how often the run was saved.
        names = [name for name in reader.get_variable_to_shape_map() if not name.startswith(("_CHECK", "save_counter"))]
        return {name: np.asarray(reader.get_tensor(name)) for name in names}

    return read


@pytest.fixture
def start_training(data_dir):
    """Function that starts `run_training.py` in a process of its own: `(run_dir, *arguments, overrides=…, **env)`."""
    processes = []

    def start(run_dir, *arguments, overrides=(), **environment):
        script = Path(__file__).with_name("run_training.py")
        command = [sys.executable, str(script), str(TINY), str(run_dir), *arguments]
        command += ["--set", *SMALL, f"data.data_dir={data_dir}", *overrides]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def signal_at(monkeypatch):
    """Function that has a signal come when the progress named so is at `done`, once."""
    from vl_keras.progress import Progress

    def at(name, done, number=signal.SIGTERM):
        own, sent = Progress.to, []

        def to(self, now, note=None):
            own(self, now, note)
            if self.name == name and now == done and not sent:
                sent.append(number)
                os.kill(os.getpid(), number)

        monkeypatch.setattr(Progress, "to", to)

    return at


@pytest.fixture
def assert_same_run(checkpoint_values):
    """Function that compares a run with one that nobody stopped: all state bit for bit, and all that is written."""
    import numpy as np

    from vl_keras.runs.history import History

    def compare(run_dir, unbroken):
        ours, theirs = checkpoint_values(run_dir), checkpoint_values(unbroken)
        assert set(ours) == set(theirs) and any(name.startswith("generators/") for name in ours)
        for name in theirs:
            np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
        rows = [
            [
                {key: value for key, value in row.items() if key not in _TIMES}
                for row in History(path / "history.csv").rows
            ]
            for path in (run_dir, unbroken)
        ]
        assert rows[0] == rows[1]
        best = [(path / "measures.json").read_text() for path in (run_dir, unbroken)]
        assert best[0] == best[1]

    return compare

import json

import numpy as np
import pytest

from vl_keras.data.text_ops import CaptionTokenizer
from vl_keras.errors import RunError
from vl_keras.tasks import TASKS
from vl_keras.tasks.captioning import CaptioningTask
from vl_keras.training.initialise import Start
from vl_keras.training.train import train


@pytest.fixture(scope="module")
def start(trained_run):
    return Start(trained_run)


class NewCaptions(CaptioningTask):
    def training_texts(self):
        return ["a zeppelin over the red circle"] * 9


def test_the_vocabulary_is_extended_and_old_rows_kept(start, trained_run, small_config):
    lines = []
    task = NewCaptions(small_config())
    start.give_vocabularies(task, lines.append)
    old = CaptionTokenizer.load(trained_run / "vocabulary.txt")
    assert task.tokenizer.vocab[: old.vocab_size] == old.vocab
    assert "zeppelin" in task.tokenizer.vocab[old.vocab_size :] and "zeppelin" in lines[0]
    captioner = task.build()
    fresh = {v.name: v.numpy() for v in captioner.decoder.model.weights}
    start.fill(task, captioner, lines.append)
    grown = 0
    for ours, theirs in zip(captioner.decoder.model.weights, start._model.decoder.model.weights, strict=True):
        rows = theirs.shape[0]
        np.testing.assert_array_equal(ours.numpy()[:rows], theirs.numpy(), err_msg=ours.name)
        np.testing.assert_array_equal(ours.numpy()[rows:], fresh[ours.name][rows:], err_msg=ours.name)
        grown += ours.shape[0] > rows
    assert grown == 2  # embeddings and bias


def test_a_full_vocabulary_is_kept_and_said_so(start, small_config):
    lines = []
    task = NewCaptions(small_config("text.vocab_size=20"))
    start.give_vocabularies(task, lines.append)
    assert task.tokenizer.vocab == start._task.tokenizer.vocab
    assert "`text.vocab_size` (20) leaves no room" in lines[0]


def test_a_vocabulary_file_is_refused(start, small_config, trained_run):
    task = NewCaptions(small_config(f"text.vocabulary={trained_run}/vocabulary.txt"))
    with pytest.raises(RunError, match="keeps that vocabulary"):
        start.give_vocabularies(task, print)


def test_another_model_is_refused(start, small_config):
    task = NewCaptions(small_config("model.num_layers=2"), tokenizer=start._task.tokenizer)
    with pytest.raises(RunError, match=r"its decoder has \d+ weights.*model\.\*"):
        start.fill(task, task.build(), print)
    task = NewCaptions(small_config("model.hidden_dim=16"), tokenizer=start._task.tokenizer)
    with pytest.raises(RunError, match="of its reader is"):
        start.fill(task, task.build(), print)


@pytest.mark.slow  # trains a run of each task
@pytest.mark.parametrize("name", ["vqa", "free_form_vqa", "matching", "retrieval"])
def test_every_task_starts_from_its_run(task_run, task_config, name):
    start = Start(task_run(name))
    task = TASKS[name](task_config(name))
    start.give_vocabularies(task, print)
    model = task.build()
    start.fill(task, model, print)
    for part, theirs in start._task.parts(start._model).items():
        for ours, old in zip(task.parts(model)[part].weights, theirs.weights, strict=True):
            np.testing.assert_array_equal(ours.numpy(), old.numpy(), err_msg=ours.name)


def test_training_goes_on_from_the_run(trained_run, small_config, tmp_path, checkpoint_values):
    train(small_config("training.epochs=0"), tmp_path / "new", init_from=trained_run)
    (begun,) = json.loads((tmp_path / "new" / "versions.json").read_text())
    assert begun["init_from"] == str(trained_run)
    log = (tmp_path / "new" / "train.log").read_text()
    assert "Starting from" in log and "kept as it is: the texts need no more" in log
    ours = checkpoint_values(tmp_path / "new")
    best = Start(trained_run)._model.reader.get_weights()
    np.testing.assert_array_equal(ours["weights/reader/0/.ATTRIBUTES/VARIABLE_VALUE"], best[0])

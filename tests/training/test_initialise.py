import json
import re
import shutil

import numpy as np
import pytest

from vl_keras.config import save_config
from vl_keras.data.text_ops import CaptionTokenizer
from vl_keras.errors import RunError, VlKerasError
from vl_keras.runs.load_run import load_run
from vl_keras.tasks import TASKS
from vl_keras.tasks.captioning import CaptioningTask
from vl_keras.training.initialise import Start
from vl_keras.training.train import train

pytestmark = pytest.mark.usefixtures("no_sample_images")


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
    with pytest.raises(RunError, match="keeps that run's vocabulary"):
        start.give_vocabularies(task, print)


def test_a_deeper_model_takes_what_fits_and_says_what_is_new(start, small_config):
    lines = []
    task = NewCaptions(small_config("model.num_layers=2"), tokenizer=start._task.tokenizer)
    model = task.build()
    start.fill(task, model, lines.append)
    old = start._model.decoder.model
    for layer in ("embedding", "block_0"):
        pairs = zip(model.decoder.model.get_layer(layer).weights, old.get_layer(layer).weights, strict=True)
        assert all(np.array_equal(ours.numpy(), theirs.numpy()) for ours, theirs in pairs), layer
    taken, new, left = re.fullmatch(r"Taken over: (.*)\. New: (.*)\. Left in the run: (.*)\.", lines[1]).groups()
    assert taken == "image_encoder, reader, decoder in part"
    assert new.startswith("decoder/") and "block_1" in new
    assert left == "nothing"


def test_a_model_without_a_part_that_fits_is_refused(start, small_config):
    task = NewCaptions(small_config(), tokenizer=start._task.tokenizer)
    model = task.build()
    parts = {f"other_{name}": part for name, part in task.parts(model).items()}
    task.parts = lambda model: parts
    with pytest.raises(RunError, match=r"cannot be the start of this model: no part of it.*model\.\*"):
        start.fill(task, model, print)


@pytest.mark.slow  # trains and loads a run of each of four tasks, 20 s each
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


def test_another_task_takes_the_parts_that_it_shares(task_run, task_config):
    """From matching to question answering: encoders and image reader whole, the head of the answers fresh."""
    start, lines = Start(task_run("matching")), []
    task = TASKS["vqa"](task_config("vqa", "text.max_length=24"))
    start.give_vocabularies(task, lines.append)
    model = task.build()
    fresh_head = [weight.numpy() for weight in model.pair_reader.weights if "logits" in weight.name]
    start.fill(task, model, lines.append)
    for part in ("image_encoder", "text_encoder", "image_reader"):
        pairs = zip(getattr(model, part).weights, getattr(start._model, part).weights, strict=True)
        for ours, theirs in pairs:
            rows = tuple(slice(length) for length in theirs.shape)
            np.testing.assert_array_equal(ours.numpy()[rows], theirs.numpy(), err_msg=ours.name)
    head = [weight.numpy() for weight in model.pair_reader.weights if "logits" in weight.name]
    assert all(map(np.array_equal, head, fresh_head))
    (line,) = [line for line in lines if line.startswith("Taken over")]
    assert "image_encoder, text_encoder, image_reader, pair_reader in part" in line
    assert "logits/kernel" in line.split("New: ")[1]


def test_a_fine_tuned_run_needs_no_weights_file(small_config, tmp_path, trained_run):
    """Its encoder was trained from a file that is gone since: it is used, resumed and started from all the same."""
    weights = tmp_path / "start.h5"
    config = small_config(f"image_encoder.weights={weights}")
    with pytest.raises(VlKerasError, match="start.h5"):
        train(config, tmp_path / "other")
    shutil.copytree(trained_run, tmp_path / "run")
    save_config(config, tmp_path / "run" / "config.yaml")
    load_run(tmp_path / "run")
    train(config, tmp_path / "run", resume=True)
    train(
        small_config(f"image_encoder.weights={weights}", "training.epochs=0"),
        tmp_path / "new",
        init_from=tmp_path / "run",
    )


def test_training_goes_on_from_the_run(trained_run, small_config, tmp_path, checkpoint_values):
    train(small_config("training.epochs=0"), tmp_path / "new", init_from=trained_run)
    (begun,) = json.loads((tmp_path / "new" / "versions.json").read_text())
    assert begun["init_from"] == str(trained_run)
    log = (tmp_path / "new" / "train.log").read_text()
    assert "Starting from" in log and "kept as it is: the texts need no more" in log
    ours = checkpoint_values(tmp_path / "new")
    best = Start(trained_run)._model.reader.get_weights()
    np.testing.assert_array_equal(ours["weights/reader/0/.ATTRIBUTES/VARIABLE_VALUE"], best[0])

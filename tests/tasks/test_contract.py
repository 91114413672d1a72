"""The contract that every task in `TASKS` keeps: trained for real, resumed bit for bit, used, exported, served."""

import json
import shlex
import shutil

import numpy as np
import pytest
import tensorflow as tf

from export.cli import main as export_main
from export.client import Client
from export.savedmodel import export_savedmodel
from export.server.local_server import LocalServer
from vl_keras.cli.main import _parser, main
from vl_keras.config import ConfigError, load_config, values_of
from vl_keras.data.image_ops import decode_image, resize
from vl_keras.data.modalities.golden_images import golden_images
from vl_keras.data.pipeline import evaluation_batches
from vl_keras.errors import RunError
from vl_keras.inference.evaluate import evaluate
from vl_keras.inference.predict import predict
from vl_keras.runs.history import History
from vl_keras.runs.load_run import load_run
from vl_keras.tasks import TASKS
from vl_keras.tasks.development_view import development_view
from vl_keras.training.development_loss import DevelopmentLoss
from vl_keras.training.train import train

IMAGES = list(golden_images().values())[:3]
TEXTS = [b"what color is the square?", "Größe 图?".encode(), b"a \xff\xfe star"]
BAD = {1: b"junk"}  # by row


# Each task takes one and a half minutes. What only these have is tested in test_free_form_vqa.py and test_matching.py.
_LONG = {"free_form_vqa", "matching"}


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.slow) if name in _LONG else name for name in TASKS],
)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def run(name, task_run):
    """Folder of a finished run of the task's tiny experiment."""
    return task_run(name)


@pytest.fixture(scope="module")
def loaded(run):
    return load_run(run, precision="float32")


@pytest.fixture(scope="module")
def model_folder(name, run, tmp_path_factory):
    """Folder of the exported version."""
    out = tmp_path_factory.mktemp("models") / name
    return export_savedmodel(run, out, batch_sizes=(1,), log=lambda line: None).path


def test_it_declares_what_others_ask_it(name, loaded):
    config, task, _, _ = loaded
    assert isinstance(task, TASKS[name]) and config.task == name
    assert task.monitor and task.reads and task.phase_names and task.vocabulary_files
    settings = values_of(config)
    assert [type(settings[key]) for key in task.epoch_settings] == [int] * len(task.phase_names)
    assert set(task.renamed_phases.values()) <= set(task.phase_names)
    assert all(section in config.sections for section in task.sections)
    assert all(text.name and text.help for text in task.inputs)


def test_its_descriptions_name_what_it_serves(name, run, model_folder):
    manifest = json.loads((model_folder / "manifest.json").read_text("utf-8"))
    assert {*TASKS[name].returns, "status"} == set(manifest["signatures"]["serving_default"]["outputs"])
    assert "## Limits" in (run / "MODEL_CARD.md").read_text("utf-8")


def test_a_killed_run_ends_as_an_unbroken_one(name, run, task_config, tmp_path, assert_same_run):
    """From the files that a kill after step 2 would have left."""
    killed = shutil.copytree(run, tmp_path / "run")
    for written_later in ("best", "measures.json", "history.csv", "curves.png"):
        path = killed / written_later
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (checkpoints,) = (killed / "checkpoints").iterdir()
    for path in checkpoints.glob("ckpt-*"):
        if not path.name.startswith("ckpt-2."):
            path.unlink()
    (checkpoints / "checkpoint").write_text('model_checkpoint_path: "ckpt-2"\nall_model_checkpoint_paths: "ckpt-2"\n')
    train(task_config(name), killed, resume=True)
    assert "at step 2 of 5" in (killed / "train.log").read_text()
    assert_same_run(killed, run)


def test_the_best_weights_give_the_metrics_that_were_written_down(loaded, run):
    config, task, model, _ = loaded
    best = json.loads((run / "measures.json").read_text("utf-8"))["best"]["measures"]
    again, signature = task.epoch_metrics(model, "dev", limit=config.training.evaluate_examples, weights="ema")
    assert again[task.monitor] == pytest.approx(best[task.monitor], rel=1e-4)
    assert signature["split"] == "dev"


def test_the_best_weights_give_the_development_loss_of_their_epoch(loaded, run):
    config, task, model, _ = loaded
    steps = config.training.accumulate_steps
    training_model = task.training_model(model, steps)
    training_model.compile(loss=task.loss())
    loss = DevelopmentLoss(task, model, training_model, tf.distribute.get_strategy(), steps, print)
    row = History(run / "history.csv").best(task.monitor)
    first = loss()
    assert first == pytest.approx(row["dev_loss"], rel=1e-4)
    assert loss() == first, "it draws nothing at random"
    assert float(training_model.loss_tracker.count) == 0


def test_a_batch_of_the_development_loss_is_of_plain_development_images(loaded):
    config, task, model, _ = loaded
    view = development_view(task, 4, 1)
    ((x, _, weight),) = view.training_data(model)
    images = tf.concat([inputs["image"] for inputs, _ in evaluation_batches(config, task.source("dev"))], axis=0)
    known = {image.tobytes() for image in images.numpy()}
    assert {image.tobytes() for image in x["image"].numpy()} <= known and len(x["image"]) == 4
    assert np.any(weight) and task.config == config and task.end_step is None


def test_the_end_of_its_training_names_commands_that_work(name, run, capsys):
    log = (run / "train.log").read_text()
    assert f"Best {TASKS[name].monitor}: " in log and f" {TASKS[name].phase_names[0]} epoch 1." in log
    commands = [line.strip() for line in log.splitlines() if line.startswith("  vl-")]
    assert len(commands) == 4 and "--resume --set training.epochs=2" in commands[0]
    assert shlex.split(commands[0])[2].endswith("/config.yaml")  # the run was made in another place
    assert load_config(run / "config.yaml") == load_config(run / "config.yaml", of_run=True)
    for program, *words in map(shlex.split, commands):
        with pytest.raises(SystemExit):  # after the command line has been understood
            {"vl-keras": main, "vl-export": export_main}[program]([*words, "--help"])
        assert f"usage: {program} {words[0]}" in capsys.readouterr().out
        if program == "vl-keras":
            assert _parser().parse_args(words)


def test_an_evaluation_writes_scores_files_and_its_history(name, run, tmp_path):
    result = evaluate(run, "dev", page=tmp_path / "out.html")
    assert TASKS[name].monitor in (tmp_path / "out.html").read_text("utf-8")
    monitor = TASKS[name].monitor
    assert np.isfinite(result["measures"][monitor]["score"])
    assert all(len(open(path, "rb").read()) > 0 for path in result["files"].values())
    written = json.loads((run / "evaluation" / "dev.json").read_text("utf-8"))
    assert written["task"] == name and written["measures"][monitor] == result["measures"][monitor]
    history = (run / "evaluation" / "history.jsonl").read_text("utf-8").splitlines()
    assert json.loads(history[-1])["signature_text"] == result["signature_text"]


def test_predictions_of_files_and_their_explanations(name, run, loaded, tmp_path):
    task = loaded[1]
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    (tmp_path / "good.png").write_bytes(tf.io.encode_png(decode_image(IMAGES[0])).numpy())
    inputs = {text.name: ["what color is it?"] for text in task.inputs if text.required}
    arguments = {"inputs": inputs, "explain": tmp_path / "look.png", "out": tmp_path / "out.jsonl"}
    arguments["page"] = tmp_path / "out.html"
    try:
        bad, good = predict(run, [tmp_path], **arguments)
    except RunError as error:
        assert "vl-keras" in str(error), "a task that predicts nothing says which command does its work"
        return
    assert good.status == "ok" and good.line and good.output
    assert tf.io.decode_png(open(good.explanation, "rb").read()).shape[0] > 100
    assert bad.status != "ok" and not bad.output
    assert arguments["page"].read_text("utf-8").count('src="data:image/webp') == 2  # thumbnail and explanation
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
    assert rows == [{"image": p.path, "status": p.status, **p.output} for p in (bad, good)]


def test_what_does_not_belong_to_it_is_refused(name, run, task_config, tmp_path):
    with pytest.raises(RunError, match="can be set; got `training.epochs=3`"):
        load_run(run, overrides=["training.epochs=3"])
    with pytest.raises(RunError, match="it takes .* not --nonsense"):
        predict(run, [_png(tmp_path)], inputs={"nonsense": ["a"]})
    for key in TASKS[name].unused_settings:
        if key in _OTHER_VALUES:
            with pytest.raises(ConfigError, match=f"`{key}`"):
                task_config(name, f"{key}={_OTHER_VALUES[key]}")


_OTHER_VALUES = {"model.fusion": "gated", "model.members": 2, "vqa.num_answers": 7, "data.context": "field"}


def test_a_saved_model_answers_what_the_model_in_memory_answers(loaded, model_folder):
    config, task, model, _ = loaded
    served = tf.saved_model.load(str(model_folder)).signatures
    images = tf.stack([resize(decode_image(image), config.data.image_size) for image in IMAGES])
    for signature, how in task.serving_signatures(model).items():
        answer = _ask(served[signature], IMAGES)
        assert set(answer.pop("status")) == {b"ok"}
        given = {key: images if key == "image" else tf.constant(TEXTS) for key in how.inputs}
        for key, value in how.function(given).items():
            _assert_equal(answer[key], value.numpy(), f"{signature}/{key}")


def test_a_bad_row_fails_alone(loaded, model_folder):
    served = tf.saved_model.load(str(model_folder)).signatures
    mixed = [BAD.get(row, image) for row, image in enumerate(IMAGES)]
    for signature in loaded[1].serving_signatures(loaded[2]):
        if "image_bytes" not in served[signature].structured_input_signature[1]:
            continue
        good, answer = _ask(served[signature], IMAGES), _ask(served[signature], mixed)
        assert [status == b"ok" for status in answer["status"]] == [row not in BAD for row in range(len(IMAGES))]
        for key, value in answer.items():
            for row in range(len(IMAGES)):
                if row not in BAD:
                    _assert_equal(value[row], good[key][row], f"{signature}/{key}")
                elif key != "status":
                    assert not np.any(value[row] != (b"" if value.dtype == object else 0)), f"{signature}/{key}"


@pytest.mark.slow  # a server for each of five tasks; test_new_task.py starts one
def test_a_server_answers_what_the_saved_model_answers(name, loaded, model_folder):
    served = tf.saved_model.load(str(model_folder)).signatures
    default = next(iter(loaded[1].serving_signatures(loaded[2])))
    expected = _ask(served[default], IMAGES)
    names = served[default].structured_input_signature[1]
    inputs = {key: IMAGES if key == "image_bytes" else TEXTS for key in names}
    with (
        LocalServer(model_folder.parent, model_name=name) as server,
        Client(f"grpc://127.0.0.1:{server.grpc_port}", model=name, timeout_s=300) as client,
    ):
        answer = client.predict(default, inputs)
    assert answer.keys() == expected.keys()
    for key, value in expected.items():
        if value.dtype == object:
            assert _texts(answer[key]) == _texts(value), key
        else:
            np.testing.assert_allclose(answer[key], value, atol=1e-5, err_msg=key)


def _ask(signature, images):
    names = signature.structured_input_signature[1]
    given = {name: tf.constant(images if name == "image_bytes" else TEXTS, tf.string) for name in names}
    return {key: value.numpy() for key, value in signature(**given).items()}


def _assert_equal(value, expected, what):
    if isinstance(expected, bytes) or expected.dtype == object:
        np.testing.assert_array_equal(value, expected, err_msg=what)
    else:
        np.testing.assert_allclose(value, expected, atol=1e-5, err_msg=what)


def _texts(value):
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else [_texts(item) for item in value]


def _png(folder):
    path = folder / "image.png"
    path.write_bytes(tf.io.encode_png(decode_image(IMAGES[0])).numpy())
    return path

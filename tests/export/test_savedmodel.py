"""What was trained is what the SavedModel answers."""

import errno
import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from export.errors import ExportError
from export.inspect import format_inspection, inspect_savedmodel
from export.parity import check_parity
from export.savedmodel import export_savedmodel
from export.warmup import WARMUP_FILE
from vl_keras.data.modalities.golden_images import golden_images
from vl_keras.inference.predict import predict
from vl_keras.runs.load_run import load_run

SERVED = ["generation.method=beam", "generation.min_length=4"]
BAD = {"junk": b"junk", "empty": b"", "cut": golden_images()["landscape.jpg"][:2000]}


@pytest.fixture(scope="module")
def signatures(exported):
    return tf.saved_model.load(str(exported.path)).signatures


def _ask(signature, images):
    return {key: value.numpy() for key, value in signature(image_bytes=tf.constant(list(images))).items()}


def test_it_answers_what_predict_writes(trained_run, signatures, tmp_path):
    for name, data in golden_images().items():
        (tmp_path / name).write_bytes(data)
    overrides = [*SERVED, "generation.num_captions=2", "generation.beam_size=2"]
    written = {row.path.rpartition("/")[2]: row for row in predict(trained_run, [tmp_path], overrides=overrides)}
    answer = _ask(signatures["caption_candidates"], golden_images().values())
    for row, name in enumerate(golden_images()):
        assert answer["status"][row] == b"ok"
        assert [text.decode() for text in answer["captions"][row]] == written[name].output["captions"]
        assert answer["scores"][row, 0] == pytest.approx(written[name].output["score"], abs=1e-4)


def test_the_default_is_caption_and_all_signatures_agree(signatures):
    images = list(golden_images().values())
    caption, default = (_ask(signatures[name], images) for name in ("caption", "serving_default"))
    explained, candidates = (_ask(signatures[f"caption_{name}"], images) for name in ("explain", "candidates"))
    assert list(caption) == list(default) and all(np.array_equal(caption[key], default[key]) for key in caption)
    np.testing.assert_array_equal(explained["caption"], caption["caption"])
    np.testing.assert_array_equal(candidates["captions"][:, 0], caption["caption"])
    assert (np.diff(candidates["scores"], axis=1) <= 0).all()
    for caption, tokens, attention in zip(
        explained["caption"], explained["tokens"], explained["attention"], strict=True
    ):
        count = int(np.sum(tokens != b""))
        assert b" ".join(tokens[:count]).replace(b" ##", b"") == caption and not any(tokens[count:])
        np.testing.assert_allclose(attention[:count].sum((1, 2)), 1.0, atol=1e-5)


@pytest.mark.parametrize("name", ["caption", "caption_candidates", "caption_explain", "embed_image"])
def test_a_bad_row_fails_alone(signatures, name):
    good = list(golden_images().values())[:3]
    mixed = [good[0], BAD["junk"], good[1], BAD["empty"], BAD["cut"], good[2]]
    alone, answer = _ask(signatures[name], [good[0]] * 3 + good), _ask(signatures[name], mixed)
    for key, value in answer.items():
        for row, expected in ((0, 3), (2, 4), (5, 5)):
            if value.dtype == object:
                np.testing.assert_array_equal(value[row], alone[key][expected])
            else:
                np.testing.assert_allclose(value[row], alone[key][expected], atol=1e-5)
        for row in (1, 3, 4):
            if key == "status":
                assert value[row] not in (b"ok", b"")
            else:
                assert not np.any(value[row] != (b"" if value.dtype == object else 0))


@pytest.mark.parametrize("images", [[], list(BAD.values())], ids=["none", "only bad ones"])
def test_batches_without_a_good_row(signatures, images):
    answer = signatures["caption"](image_bytes=tf.constant(images, tf.string))
    assert all(len(value) == len(images) for value in answer.values())


def test_the_loader_of_the_server_answers_alike(exported, signatures):
    """TensorFlow Serving runs a SavedModel in a session."""
    images = [*golden_images().values(), *BAD.values()]
    expected = _ask(signatures["caption"], images)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        graph = tf.compat.v1.saved_model.load(session, ["serve"], str(exported.path))
        signature = graph.signature_def["caption"]
        names = {key: info.name for key, info in signature.outputs.items()}
        answer = session.run(names, {signature.inputs["image_bytes"].name: images})
    np.testing.assert_array_equal(answer["caption"], expected["caption"])
    np.testing.assert_array_equal(answer["status"], expected["status"])
    np.testing.assert_allclose(answer["score"], expected["score"], atol=1e-5)


def test_the_warm_up_can_be_answered(exported, signatures):
    from tensorflow_serving.apis import prediction_log_pb2

    seen = []
    for record in tf.data.TFRecordDataset(str(exported.path / WARMUP_FILE)):
        request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
        name = request.model_spec.signature_name
        rows = tf.make_ndarray(request.inputs["image_bytes"])
        assert set(_ask(signatures[name], rows)["status"]) == {b"ok"}
        seen.append((name, len(rows)))
    names = ("serving_default", "caption", "caption_candidates", "caption_explain", "embed_image")
    assert sorted(seen) == sorted((name, size) for name in names for size in (1, 4, 16))
    assert exported.manifest["warmup"]["records"] == len(seen)


def test_the_manifest_tells_what_it_is(exported, trained_run):
    manifest = json.loads((exported.path / "manifest.json").read_text("utf-8"))
    assert manifest == json.loads(json.dumps(exported.manifest))
    metrics = json.loads((trained_run / "measures.json").read_text("utf-8"))
    assert manifest["run"]["measures"] == metrics and "moving average" in manifest["weights"]
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((exported.path / name).read_bytes()).hexdigest() == digest
    assert {"saved_model.pb", "variables/variables.index", WARMUP_FILE} <= set(manifest["files"])
    assert manifest["fingerprint"] == inspect_savedmodel(exported.path).fingerprint


def test_a_version_has_a_model_card_that_people_may_add_to(exported):
    card = (exported.path / "MODEL_CARD.md").read_text("utf-8")
    assert "MODEL_CARD.md" not in exported.manifest["files"]  # servers refuse a version with a changed file of these
    assert f"version {exported.version} of the exported model `captioner`" in card
    for name, signature in exported.manifest["signatures"].items():
        assert f"| `{name}` |" in card
        assert all(output.replace("_", "\\_") in card for output in signature["outputs"])


@pytest.mark.slow  # exports in another process, half a minute
def test_exported_again_by_another_process_it_is_the_same(exported, trained_run, tmp_path):
    command = [sys.executable, "-m", "export", "savedmodel", trained_run, "--out", tmp_path / "captioner", "--set"]
    done = subprocess.run([*command, *SERVED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    again = json.loads((tmp_path / "captioner" / "1" / "manifest.json").read_text("utf-8"))
    assert again["fingerprint"] == exported.manifest["fingerprint"]
    assert again["signatures"] == exported.manifest["signatures"]


def test_the_server_has_all_of_it(exported):
    inspection = inspect_savedmodel(exported.path)
    assert inspection.problems == [] and inspection.text_operations == ["TFText>FastWordpieceDetokenize"]
    text = format_inspection(inspection)
    assert "image_bytes: string (any)" in text and "can run it" in text


def _save(folder, function, specs):
    module = tf.Module()
    module.function = tf.function(function, input_signature=specs)
    tf.saved_model.save(module, str(folder), signatures=module.function)
    return inspect_savedmodel(folder).problems


def test_inspect_finds_what_the_server_cannot_run(tmp_path):
    numbers, strings = [tf.TensorSpec([None], tf.float32, name="x")], [tf.TensorSpec([], tf.string, name="x")]
    compiled = tf.function(lambda x: x + 1, jit_compile=True)
    python = _save(tmp_path / "a", lambda x: {"y": tf.py_function(lambda x: x, [x], tf.float32)}, numbers)
    file = _save(tmp_path / "b", lambda x: {"y": tf.io.read_file(x)}, strings)
    xla = _save(tmp_path / "c", lambda x: {"y": compiled(x)}, numbers)
    hidden = _save(
        tmp_path / "d",
        lambda x: {"y": tf.while_loop(lambda y: True, lambda y: (compiled(y),), (x,), maximum_iterations=3)[0]},
        numbers,
    )
    fine = _save(tmp_path / "e", lambda x: {"y": x + 1}, numbers)
    assert "needs Python" in python[0] and "files" in file[0] and "XLA" in xla[0] and "XLA" in hidden[0] and not fine


@pytest.mark.parametrize(
    "content, says", [(None, "saved_model.pb is missing"), (b"\xff\xff junk", "broken"), (b"", "serve")]
)
def test_inspect_says_what_is_wrong_with_a_folder(tmp_path, content, says):
    if content is not None:
        (tmp_path / "saved_model.pb").write_bytes(content)
    with pytest.raises(ExportError, match=says):
        inspect_savedmodel(tmp_path)


@pytest.mark.parametrize(
    "name", ["variables/variables.index", "variables/variables.data-00000-of-00001", "fingerprint.pb", "assets/words"]
)
def test_inspect_says_which_savedmodel_is_damaged(tmp_path, name):
    (tmp_path / "words").write_text("a\nb\n")
    module = tf.Module()
    module.weights = tf.Variable(tf.range(100.0))
    line, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
    words = tf.lookup.TextFileInitializer(str(tmp_path / "words"), tf.string, line, tf.int64, number)
    module.table = tf.lookup.StaticHashTable(words, -1)
    specs = [tf.TensorSpec([None], tf.string, name="x")]
    module.function = tf.function(
        lambda x: {"y": tf.gather(module.weights, module.table.lookup(x))}, input_signature=specs
    )
    tf.saved_model.save(module, str(tmp_path / "1"), signatures=module.function)
    file = tmp_path / "1" / name
    (tmp_path / "1/assets/folder").mkdir()  # is none of the model's
    assert not inspect_savedmodel(tmp_path / "1").problems
    if name != "assets/words":
        file.write_bytes(file.read_bytes()[:20] + b"junk")
        with pytest.raises(ExportError, match="1` is broken: "):
            inspect_savedmodel(tmp_path / "1")
    file.unlink()
    if name != "fingerprint.pb":  # older ones have none
        with pytest.raises(ExportError, match="1` is broken: "):
            inspect_savedmodel(tmp_path / "1")


def test_inspect_sees_what_is_behind_a_sparse_output(tmp_path):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.float32, [1])
        values = tf.numpy_function(lambda x: x, [x], tf.float32)
        sparse = tf.SparseTensor(tf.constant([[0]], tf.int64), tf.reshape(values, [1]), tf.constant([3], tf.int64))
        tf.compat.v1.saved_model.simple_save(session, str(tmp_path / "1"), {"x": x}, {"y": sparse})
    assert "needs Python" in inspect_savedmodel(tmp_path / "1").problems[0]


def test_a_graph_that_answers_something_else_is_refused(trained_run, exported, monkeypatch):
    _, task, captioner, _ = load_run(trained_run, overrides=SERVED, precision="float32")
    signatures = {"embed_image": task.serving_signatures(captioner)["embed_image"]}
    data = task.config.data
    check_parity(exported.path, signatures, data)
    captioner.image_encoder.trainable_weights[-1].assign_add(captioner.image_encoder.trainable_weights[-1] + 1e-3)
    with pytest.raises(ExportError, match="model in memory differ by .* in `embed_image`, output `embedding`"):
        check_parity(exported.path, signatures, data)
    values = np.zeros((1, *data.image_size, 3), np.float32), np.ones(1, bool)
    monkeypatch.setattr("export.parity._decode", lambda *args: values)
    with pytest.raises(ExportError, match="rejects words in `embed_image`: unsupported"):
        check_parity(exported.path, signatures, data, {"image": {"words": b"no image"}})


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), tf.errors.ResourceExhaustedError(None, None, "No space left")],
)
def test_a_full_disk_is_said_and_leaves_nothing(trained_run, tmp_path, monkeypatch, error):
    def full(*args):
        raise error

    monkeypatch.setattr("export.savedmodel._save", full)
    with pytest.raises(ExportError, match="Nothing was published: .*cannot be written. .*No space left"):
        export_savedmodel(trained_run, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.slow
@pytest.mark.parametrize("dtype, smaller", [("int8", 0.6), ("bfloat16", 0.75), ("float16", 0.75)])
def test_weights_in_fewer_bits(trained_run, exported, tmp_path, dtype, smaller):
    lines = []
    result = export_savedmodel(
        trained_run, tmp_path / "captioner", weights_dtype=dtype, batch_sizes=(1,), overrides=SERVED, log=lines.append
    )

    def size(path):
        return sum(file.stat().st_size for file in (path / "variables").iterdir())

    assert size(result.path) < smaller * size(exported.path)
    measured = result.manifest["weights_dtype_measures"]
    assert measured["float32"].keys() == measured[dtype].keys() and any("CIDEr-D" in line for line in lines)
    assert result.manifest["fingerprint"] != exported.manifest["fingerprint"]

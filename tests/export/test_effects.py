"""A SavedModel is a program: `inspect` names what it does beside computing, and what its manifest does not know."""

import hashlib
import json
import logging
import os
import shutil
import sys

import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from export import operations
from export.cli import main
from export.errors import ExportError
from export.inspect import format_inspection, inspect_savedmodel
from export.manifest import ManifestError, check_manifest
from export.server.graph import Graph
from export.server.local_server import LocalServer
from export.server.serving_error import ServingError

TEXT, NUMBERS = [tf.TensorSpec([], tf.string, name="x")], [tf.TensorSpec([None], tf.float32, name="x")]
v1, raw = tf.compat.v1, tf.raw_ops


def _edit(folder, change):
    path = folder / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    change(saved.meta_graphs[0])
    path.write_bytes(saved.SerializeToString())


def _save(folder, function, specs=NUMBERS, **attributes):
    module = tf.Module()
    for name, value in attributes.items():
        setattr(module, name, value)
    module.function = tf.function(function, input_signature=specs)
    tf.saved_model.save(module, str(folder), signatures=module.function)
    return folder


def _save_v1(folder, initialise):
    """y = x + 1, and an initialiser: the operation that `initialise(path of an asset)` returns."""
    (folder.parent / "words").write_text("a\nb\n")
    with tf.Graph().as_default() as graph, v1.Session() as session:
        x = v1.placeholder(tf.float32, [None])
        variable = v1.get_variable("v", initializer=1.0)
        path = tf.constant(str(folder.parent / "words"), name="path")
        v1.add_to_collection(v1.GraphKeys.ASSET_FILEPATHS, path)
        init = tf.group(initialise(path))
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(session, str(folder), {"x": x}, {"y": x + variable}, legacy_init_op=init)
        assert graph
    return folder


def _table(path):
    line, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
    words = tf.lookup.TextFileInitializer(path, tf.string, line, tf.int64, number)
    return tf.lookup.StaticHashTable(words, -1)


def _read_table(path, file):
    table = _table(path).resource_handle
    return raw.InitializeTableFromTextFileV2(table_handle=table, filename=file, key_index=-2, value_index=-1)


def _print(path):
    def function(x):
        tf.print(x, output_stream=path)
        return {"y": x + 1}

    return function


@pytest.mark.parametrize(
    "function, specs, named",
    [
        (lambda x: {"y": x + tf.random.uniform([]) * tf.cast(tf.timestamp(), tf.float32)}, NUMBERS, None),
        (lambda x: {"y": tf.data.Dataset.from_tensors(x).map(lambda y: y + 1).get_single_element()}, NUMBERS, None),
        (_print(sys.stderr), NUMBERS, None),
        (_print("file:///tmp/written"), NUMBERS, "PrintV2 touches the server's files"),
        (lambda x: {"y": tf.io.read_file(x)}, TEXT, "ReadFile touches the server's files; a signature runs it"),
        (lambda x: {"y": tf.io.matching_files(x)}, TEXT, "MatchingFiles"),
        (
            lambda x: {"y": x + raw.ImmutableConst(dtype=tf.float32, shape=[1], memory_region_name="/etc/hostname")},
            NUMBERS,
            "ImmutableConst touches the server's files",
        ),
        (
            lambda x: {"y": raw.DebugIdentityV3(input=x, tensor_name="x", debug_urls=["file:///tmp/written"])},
            NUMBERS,
            "DebugIdentityV3",
        ),
        (
            lambda x: {"y": tf.while_loop(lambda y: True, lambda y: (tf.io.read_file(y),), (x,))[0]},
            TEXT,
            "ReadFile",
        ),
        (lambda x: {"y": tf.data.TextLineDataset(x).take(1).get_single_element()}, TEXT, "TextLineDataset"),
        (
            lambda x: {"y": raw.DatasetFromGraph(graph_def=x), "z": x}["z"],
            TEXT,
            "DatasetFromGraph is not known to compute only",
        ),
        (
            lambda x: {
                "y": raw.DecodeProtoV2(
                    bytes=x, message_type="a", field_names=[], output_types=[], descriptor_source="/etc/hostname"
                )[0]
            },
            TEXT,
            "DecodeProtoV2 touches the server's files",
        ),
    ],
)
def test_what_a_signature_does_is_named(tmp_path, function, specs, named):
    inspection = inspect_savedmodel(_save(tmp_path / "1", function, specs))
    if named is None:
        assert inspection.effects == [] and "more than compute" not in format_inspection(inspection)
    else:
        assert any(named in each for each in inspection.effects) and set(inspection.effects) <= {*inspection.problems}
        assert "It does more than compute:" in format_inspection(inspection)


@pytest.mark.parametrize(
    "initialise, named",
    [
        (lambda path: _table(path).resource_handle.op, None),
        (lambda path: _read_table(path, path), None),
        (tf.io.read_file, None),
        (lambda path: _read_table(path, "/etc/hostname"), "InitializeTableFromTextFileV2"),
        (lambda path: tf.io.read_file(tf.strings.join([path, "/../../../x"])), "ReadFile"),
        (lambda path: tf.io.write_file(path, "written"), "WriteFile touches the server's files; loading runs it"),
        (lambda path: tf.io.write_file("/tmp/written", "at load"), "WriteFile"),
        (
            lambda path: raw.RestoreV2(prefix=path, tensor_names=["v"], shape_and_slices=[""], dtypes=[tf.float32])[0],
            "RestoreV2",
        ),
    ],
)
def test_what_loading_does_is_named(tmp_path, initialise, named):
    found = inspect_savedmodel(_save_v1(tmp_path / "1", initialise)).effects
    assert (found == []) if named is None else any(named in each and "loading runs it" in each for each in found)


def test_the_tables_of_tensorflow_2_only_read_their_asset(tmp_path):
    (tmp_path / "words").write_text("a\nb\n")
    table = _table(str(tmp_path / "words"))
    folder = _save(tmp_path / "1", lambda x: {"y": table.lookup(x[None])}, TEXT, table=table)
    assert inspect_savedmodel(folder).effects == []

    def to_another_file(graph):
        (assign,) = [node for node in graph.graph_def.node if node.op == "AssignVariableOp"]
        other = graph.graph_def.node.add(name="other", op="Const")
        other.attr["dtype"].type = 7
        other.attr["value"].tensor.dtype = 7
        other.attr["value"].tensor.tensor_shape.SetInParent()
        other.attr["value"].tensor.string_val.append(b"/etc/hostname")
        assign.input[1] = "other"

    _edit(folder, to_another_file)
    assert any("InitializeTableFromTextFileV2" in each for each in inspect_savedmodel(folder).effects)


def test_variables_are_restored_from_their_folder_only(tmp_path):
    weights = tf.Variable([1.0])
    folder = _save(tmp_path / "1", lambda x: {"y": x + weights}, weights=weights)
    assert inspect_savedmodel(folder).effects == []

    def from_elsewhere(graph):
        graph.saver_def.filename_tensor_name = "elsewhere:0"

    _edit(folder, from_elsewhere)
    assert inspect_savedmodel(folder).effects == ["operation RestoreV2 touches the server's files; loading runs it"]


@pytest.mark.parametrize("name", ["__hidden", "__saved_model_init_op"])
def test_signatures_with_underscores_can_be_called_too(tmp_path, name):
    folder = _save(tmp_path / "1", lambda x: {"y": x + 1})

    def add(graph):
        node = graph.graph_def.node.add(name="read", op="ReadFile", input=["serving_default_x"])
        graph.signature_def[name].outputs["y"].name = f"{node.name}:0"

    _edit(folder, add)
    assert "operation ReadFile touches the server's files; a signature runs it" in inspect_savedmodel(folder).effects


def test_files_outside_the_folder_are_named(tmp_path):
    (tmp_path / "words").write_text("a\nb\n")
    table = _table(str(tmp_path / "words"))
    folder = _save(tmp_path / "1", lambda x: {"y": table.lookup(x[None])}, TEXT, table=table)
    (folder / "assets/words").unlink()
    (folder / "assets/words").symlink_to(tmp_path / "words")
    assert inspect_savedmodel(folder).effects == ["'assets/words' is a link or a device, not a regular file"]

    def outside(graph):
        graph.asset_file_def[0].filename = "../../words"

    _edit(folder, outside)
    assert "asset '../../words' is a file outside the folder `assets`" in inspect_savedmodel(folder).effects


def test_the_server_warns_of_a_version_that_is_not_clean_or_refuses_it(tmp_path, caplog):
    written = tmp_path / "written"
    folder = tmp_path / "model" / "1"
    folder.parent.mkdir()
    _save_v1(folder, lambda path: tf.io.write_file(str(written), "at load"))
    flags = {"model_name": "model", "rest_api_port": 0, "max_num_load_retries": 0}
    with LocalServer(folder.parent, refuse_effects=True, **flags) as server:
        (version,) = server.core.models.versions("model")
        assert version.error.code.name == "PERMISSION_DENIED" and "WriteFile" in version.error.message
    assert not written.exists()
    with caplog.at_level(logging.WARNING), LocalServer(folder.parent, **flags) as server:
        (version,) = server.core.models.versions("model")
        assert version.error is None
    assert "model version 1 does more than compute: operation WriteFile" in caplog.text
    assert written.read_text() == "at load"  # as TensorFlow Serving does


def test_the_lists_of_operations():
    lines = [line for line in operations._FILE.read_text().splitlines() if line[:1] not in ("#", "[")]
    names = " ".join(lines).split()
    assert len(names) == len(set(names)) > 1900
    assert operations.is_known("TFText>FastWordpieceDetokenize") and not operations.is_known("FromTheFuture")


def test_what_server_a_savedmodel_needs(tmp_path):
    folder = _save(tmp_path / "1", lambda x: {"y": tf.cast(tf.cast(x, tf.float16), tf.float32)})

    def set_version(graph):
        graph.meta_info_def.tensorflow_version = "2.21.0"

    _edit(folder, set_version)
    assert inspect_savedmodel(folder).least_server == "2.20"  # its operations decide, not who wrote it

    def add_new(graph):
        for function in graph.graph_def.library.function:
            for node in function.node_def:
                node.op = "FromTheFuture" if node.op == "Cast" else node.op

    _edit(folder, add_new)
    found = inspect_savedmodel(folder)
    assert (found.least_server, found.new_operations) == ("2.21", ["FromTheFuture"])
    assert "2.20 lacks FromTheFuture" in format_inspection(found)

    def need_reader(graph):
        graph.graph_def.versions.min_consumer = 3000

    folder = _save(tmp_path / "2", lambda x: {"y": x})
    _edit(folder, need_reader)
    _edit(folder, set_version)
    found = inspect_savedmodel(folder)
    assert found.least_server == "2.21" and found.graph_version[1] == 3000


def _append(texts):
    return lambda x: {"y": texts + x}


def test_the_fingerprint_of_texts_is_stable(tmp_path):
    prints = []
    for place, words in enumerate((["a", "bc"], ["a", "bc"], ["ab", "c"])):
        texts = tf.Variable(words)
        folder = _save(tmp_path / str(place), _append(texts), TEXT, texts=texts)
        prints.append([inspect_savedmodel(folder).fingerprint for _ in range(2)])
    assert prints[0] == prints[1] == [prints[0][0]] * 2 and prints[2] != prints[0]


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    """A version with a manifest of all its files."""
    weights = tf.Variable([1.0])
    folder = _save(tmp_path_factory.mktemp("listed") / "1", lambda x: {"y": x + weights}, weights=weights)
    files = [path for path in folder.rglob("*") if path.is_file()]
    sums = {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    (folder / "manifest.json").write_text(json.dumps({"model": "m", "files": sums}, indent=2) + "\n")
    return folder


def _manifest(change):
    def damage(folder):
        path = folder / "manifest.json"
        manifest = json.loads(path.read_text())
        change(manifest)
        path.write_text(json.dumps(manifest))

    return damage


def _link(folder):
    path = folder / "saved_model.pb"
    path.rename(folder.parent / "elsewhere")
    path.symlink_to(folder.parent / "elsewhere")


DAMAGES = {
    "cut": lambda folder: os.truncate(folder / "manifest.json", (folder / "manifest.json").stat().st_size - 2),
    "empty": lambda folder: (folder / "manifest.json").write_bytes(b""),
    "no_text": lambda folder: (folder / "manifest.json").write_bytes(b"\xff{}"),
    "no_object": lambda folder: (folder / "manifest.json").write_text("[]"),
    "deep": lambda folder: (folder / "manifest.json").write_text("[" * 100_000),
    "folder": lambda folder: ((folder / "manifest.json").unlink(), (folder / "manifest.json").mkdir()),
    "key": _manifest(lambda manifest: manifest.update(filer=manifest.pop("files"))),
    "none": _manifest(lambda manifest: manifest["files"].clear()),
    "sum": _manifest(lambda manifest: manifest["files"].update({"saved_model.pb": "g" * 64})),
    "name": _manifest(lambda manifest: manifest["files"].update(gone=manifest["files"].pop("saved_model.pb"))),
    "outside": _manifest(lambda manifest: manifest["files"].update({"../1/saved_model.pb": "0" * 64})),
    "absolute": _manifest(lambda manifest: manifest["files"].update({"/dev/zero": "0" * 64})),
    "not_listed": _manifest(lambda manifest: manifest["files"].pop("variables/variables.index")),
    "added": lambda folder: (folder / "assets" / "more").write_text("x"),
    "changed": lambda folder: (folder / "fingerprint.pb").write_bytes(b""),
    "link": _link,
    "pipe": lambda folder: ((folder / "fingerprint.pb").unlink(), os.mkfifo(folder / "fingerprint.pb")),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_version_that_is_not_what_its_manifest_says_is_refused(listed, tmp_path, damage, capsys):
    folder = tmp_path / "1"
    shutil.copytree(listed, folder)
    assert inspect_savedmodel(folder).problems == []
    damage(folder)
    with pytest.raises(ExportError, match="manifest.json"):
        inspect_savedmodel(folder)
    assert main(["inspect", str(folder)]) == 1 and "manifest.json" in capsys.readouterr().err
    with pytest.raises(ServingError, match="manifest.json"):
        Graph.load(folder)


@pytest.mark.parametrize("bit", range(8))
def test_no_bit_of_a_manifest_turns_the_check_off(listed, tmp_path, bit):
    """Every byte up to the end of the sums: the damaged version is refused, wherever the manifest has a wrong bit."""
    folder = tmp_path / "1"
    shutil.copytree(listed, folder)
    (folder / "fingerprint.pb").write_bytes(b"other")
    content = (folder / "manifest.json").read_bytes()
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1 << bit
        (folder / "manifest.json").write_bytes(changed)
        with pytest.raises(ManifestError):
            check_manifest(folder)


def test_a_manifest_without_sums_is_of_another_program(listed, tmp_path):
    shutil.copytree(listed, tmp_path / "1")
    (tmp_path / "1" / "manifest.json").write_text('{"model": "m"}')
    assert inspect_savedmodel(tmp_path / "1").problems == []

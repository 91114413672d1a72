"""Describes a SavedModel: its signatures and operations, and whether TensorFlow Serving can run it."""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import kernels, op_def_registry

from export import operations
from export.effects import assets_of, find_effects
from export.errors import ExportError
from export.manifest import ManifestError, check_manifest
from export.reachable import Walk, initialisers, served_tensors

_RUNS_PYTHON = ("PyFunc", "PyFuncStateless", "EagerPyFunc")
_ALWAYS_SERVED = "2.20"  # the line of TensorFlow Serving whose operations `operations.txt` lists


class Inspection(NamedTuple):
    """Description of a SavedModel.

    Attributes:
        signatures: dict of name -> `{"method": …, "inputs": {alias: {"dtype", "shape"}}, "outputs": …}`; None in a
            shape means any size.
        operations: sorted names of the operations that the signatures use.
        text_operations: the ones that come from tensorflow-text.
        written_by: version of TensorFlow that wrote the SavedModel.
        least_server: the oldest version of TensorFlow Serving of which we know that it has all operations: 2.20, or
            that of `written_by` if 2.20 lacks some or is too old for the graph.
        size: of all files, in bytes.
        fingerprint: hash of graph, signatures and weights.
        problems: reasons not to serve it: TensorFlow Serving cannot run it, or it does more than compute.
        new_operations: sorted names of the operations that TensorFlow Serving 2.20 lacks.
        graph_version: `(producer, least consumer)` of the graph; 2.20 reads up to a least consumer of 2288.
        effects: what it does beside computing, see `find_effects`; a part of `problems`.
    """

    signatures: dict[str, dict[str, Any]]
    operations: list[str]
    text_operations: list[str]
    written_by: str
    least_server: str
    size: int
    fingerprint: str
    problems: list[str]
    new_operations: list[str]
    graph_version: tuple[int, int]
    effects: list[str]


def inspect_savedmodel(folder: str | Path) -> Inspection:
    """Describes a SavedModel without loading it.

    Raises:
        ExportError: the folder contains no SavedModel for serving, or a broken one, or not the one that its
            `manifest.json` describes.
    """
    folder = Path(folder).expanduser()
    path = folder / "saved_model.pb"
    if not path.is_file():
        raise ExportError(
            f"`{folder}` contains no SavedModel: saved_model.pb is missing. Give the folder of one version, e.g. "
            "models/captioner/1."
        )
    model = saved_model_pb2.SavedModel()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise ExportError(f"`{path}` is broken: {error}.") from error
    graphs = [graph for graph in model.meta_graphs if "serve" in graph.meta_info_def.tags]
    if not graphs:
        raise ExportError(f"`{path}` has no graph with the tag `serve`, which TensorFlow Serving needs.")
    graph = graphs[0]
    try:
        check_manifest(folder)
    except ManifestError as error:
        raise ExportError(f"`{folder}` is broken: {error}") from error
    nodes = [place.node for place in Walk(graph, [*served_tensors(graph), *initialisers(graph)]).places]
    names = sorted({node.op for node in nodes})
    _check_files(folder, graph, names)
    functions = {function.signature.name for function in graph.graph_def.library.function}
    versions, written_by = graph.graph_def.versions, graph.meta_info_def.tensorflow_version
    new = [name for name in names if name not in functions and not operations.is_known(name)]
    is_old = not new and versions.min_consumer <= operations.GRAPH_VERSION
    effects = find_effects(graph, folder)
    return Inspection(
        signatures={
            name: _signature(value) for name, value in sorted(graph.signature_def.items()) if not name.startswith("__")
        },
        operations=names,
        text_operations=[name for name in names if name in operations.TEXT_OPERATIONS],
        written_by=written_by,
        least_server=_ALWAYS_SERVED if is_old else ".".join(written_by.split(".")[:2]),
        size=sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
        fingerprint=_read_fingerprint(folder, graph),
        problems=sorted({*_problems(graph, nodes, functions), *effects}),
        new_operations=new,
        graph_version=(versions.producer, versions.min_consumer),
        effects=effects,
    )


def format_inspection(inspection: Inspection) -> str:
    """An `Inspection` as text for a terminal."""
    from vl_keras.errors import printable  # not above: it selects Keras 2, which a worker that inspects need not

    lines = []
    for name, signature in inspection.signatures.items():
        lines.append(f"{name}  ({signature['method']})")
        for side, mark in (("inputs", "in "), ("outputs", "out")):
            lines += [
                f"  {mark} {key}: {info['dtype']} {_brackets(info['shape'])}" for key, info in signature[side].items()
            ]
    lines += [
        "",
        f"operations    {len(inspection.operations)}: {', '.join(inspection.operations)}",
        f"text ops      {', '.join(inspection.text_operations) or 'none'}",
        f"written by    TensorFlow {inspection.written_by}",
        f"runs on       {_servers(inspection)}",
        f"size          {inspection.size / 2**20:.1f} MiB",
        f"fingerprint   {inspection.fingerprint}",
    ]
    reasons = [problem for problem in inspection.problems if problem not in inspection.effects]
    if reasons:
        lines += ["", "TensorFlow Serving cannot run it:", *(f"  {line}" for line in reasons)]
    else:
        lines += ["", "TensorFlow Serving can run it."]
    if inspection.effects:
        lines += ["It does more than compute:", *(f"  {line}" for line in inspection.effects)]
    return printable("\n".join(lines), keep="\n")


def _servers(inspection: Inspection) -> str:
    """Which servers have what the SavedModel needs, as far as it is known."""
    producer, consumer = inspection.graph_version
    graph = f"graph version {producer}, least reader {consumer}"
    if inspection.least_server == _ALWAYS_SERVED:
        return f"TensorFlow Serving {_ALWAYS_SERVED}, which has every operation, or later ({graph})"
    lacks = ", ".join(inspection.new_operations) or f"graphs that need a reader of version {consumer}"
    return f"TensorFlow Serving {inspection.least_server} or later: {_ALWAYS_SERVED} lacks {lacks} ({graph})"


def _brackets(shape: Sequence[int | None] | None) -> str:
    return "of any shape" if shape is None else f"({', '.join('any' if size is None else str(size) for size in shape)})"


def _signature(signature: Any) -> dict[str, Any]:
    def tensors(infos: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        return {name: {"dtype": _dtype(info.dtype), "shape": _shape(info)} for name, info in sorted(infos.items())}

    inputs, outputs = tensors(signature.inputs), tensors(signature.outputs)
    return {"method": signature.method_name, "inputs": inputs, "outputs": outputs}


def _dtype(number: int) -> str:
    return types_pb2.DataType.Name(number).removeprefix("DT_").lower()


def _shape(info: Any) -> list[int | None] | None:
    if info.tensor_shape.unknown_rank:
        return None
    return [None if dim.size < 0 else dim.size for dim in info.tensor_shape.dim]


def _problems(graph: Any, nodes: Sequence[Any], functions: Collection[str]) -> list[str]:
    found = []
    for name in sorted({node.op for node in nodes}):
        if name in _RUNS_PYTHON:
            found.append(f"operation {name} needs Python")
        elif name not in functions and not _is_linked(name):
            found.append(f"operation {name} belongs neither to TensorFlow nor to tensorflow-text")
    compiled = {node.op for node in nodes if node.attr["_XlaMustCompile"].b}
    for function in graph.graph_def.library.function:
        if function.attr["_XlaMustCompile"].b:
            compiled.add(function.signature.name)
    for node in nodes:
        for value in node.attr.values():
            if value.func.name in compiled:
                found.append(f"function {value.func.name} needs XLA, which the server does not include")
    return sorted(set(found))


def _is_linked(name: str) -> bool:
    """Whether the server has an operation: one of TensorFlow with a CPU kernel, or one of tensorflow-text."""
    if name in operations.TEXT_OPERATIONS:
        return True
    if op_def_registry.get(name) is None:
        return False
    registered = kernels.get_registered_kernels_for_op(name).kernel
    # Function calls and arguments have no kernels.
    return not registered or any(kernel.device_type in ("CPU", "DEFAULT") for kernel in registered)


def _check_files(folder: Path, graph: Any, names: Collection[str]) -> None:
    """Raises `ExportError` if a file is missing that the graph needs. The server might start without it."""
    files = [f"assets/{asset.filename}" for asset in assets_of(graph)]
    if "VarHandleOp" in names and graph.saver_def.restore_op_name:
        files.append("variables/variables.index")
    for name in files:
        if not (folder / name).is_file():
            raise ExportError(
                f"`{folder}` is broken: its graph needs {name}, which is missing. Copy or export it again."
            )


def _read_fingerprint(folder: Path, graph: Any) -> str:
    try:
        return _fingerprint(folder, graph)
    except (tf.errors.OpError, IndexError, RuntimeError) as error:  # the errors that the readers of TensorFlow raise
        reason = str(error).splitlines()[0].rstrip(".")
        raise ExportError(
            f"`{folder}` is broken: its variables or fingerprint cannot be read ({reason}); copy or export it again."
        ) from error


def _contents(value: Any) -> Iterator[bytes]:
    """The bytes of a variable; those of strings are their texts and lengths, since arrays hold only addresses."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        yield value.tobytes()
        return
    for text in np.asarray(value, object).ravel().tolist():
        raw = text if isinstance(text, bytes) else str(text).encode()
        yield len(raw).to_bytes(8, "little") + raw


def _fingerprint(folder: Path, graph: Any) -> str:
    """SHA-256 of the hashes that TensorFlow gives graph and signatures, and of weights and assets."""
    digest = hashlib.sha256()
    try:
        known = tf.saved_model.experimental.read_fingerprint(str(folder))
        digest.update(f"{known.graph_def_program_hash} {known.signature_def_hash}".encode())
    except (FileNotFoundError, ValueError):  # written by TensorFlow older than 2.12 or by another program
        digest.update(graph.SerializeToString(deterministic=True))
    variables = folder / "variables" / "variables"
    if variables.with_suffix(".index").is_file():
        reader = tf.train.load_checkpoint(str(variables))
        for name in sorted(reader.get_variable_to_shape_map()):
            if name != "_CHECKPOINTABLE_OBJECT_GRAPH":
                value = reader.get_tensor(name)
                digest.update(f"{name} {getattr(value, 'dtype', '')} {getattr(value, 'shape', '')}".encode())
                for part in _contents(value):
                    digest.update(part)
    for asset in sorted((folder / "assets").rglob("*")):
        if asset.is_file():
            digest.update(asset.read_bytes())
    return digest.hexdigest()

"""Describes a SavedModel: its signatures and operations, and whether TensorFlow Serving can run it."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import kernels, op_def_registry

from export.errors import ExportError

# Operations that need a Python interpreter, the server's files or its network. An initialiser may read a vocabulary,
# because the file is an asset of the SavedModel.
_FORBIDDEN = {
    **dict.fromkeys(("PyFunc", "PyFuncStateless", "EagerPyFunc"), "needs Python"),
    **dict.fromkeys(
        (
            *("ReadFile", "WriteFile", "MatchingFiles", "WholeFileReader", "WholeFileReaderV2", "MatchingFilesDataset"),
            *("TextLineReader", "TextLineReaderV2", "TFRecordReader", "TFRecordReaderV2", "FixedLengthRecordReader"),
            *("FixedLengthRecordReaderV2", "TextLineDataset", "TFRecordDataset", "TFRecordDatasetV2", "LMDBReader"),
            *("FixedLengthRecordDataset", "FixedLengthRecordDatasetV2", "CSVDataset", "CSVDatasetV2", "LMDBDataset"),
            *("SqlDataset", "CacheDataset", "CacheDatasetV2", "SnapshotDataset", "SnapshotDatasetV2", "SaveDataset"),
            *("SaveDatasetV2", "LoadDataset", "ListSnapshotChunksDataset", "Save", "SaveV2", "SaveSlices", "Restore"),
            *("RestoreV2", "RestoreSlice", "MergeV2Checkpoints", "CreateSummaryFileWriter", "WriteSummary", "Print"),
        ),
        "touches the server's files",
    ),
    **dict.fromkeys(
        ("DataServiceDataset", "DataServiceDatasetV2", "DataServiceDatasetV3", "DataServiceDatasetV4", "RpcClient"),
        "uses the network",
    ),
}
# The operations of tensorflow-text 2.20, which TensorFlow Serving 2.20 includes.
_TEXT_OPERATIONS = frozenset(
    """
    CaseFoldUTF8 ConstrainedSequence FastBertNormalize FastWordpieceTokenizeWithOffsets FindSourceOffsets
    MaxSpanningTree NormalizeUTF8 NormalizeUTF8WithOffsetsMap PhraseTokenize RegexSplitWithOffsets RougeL
    SentenceFragments SentenceFragmentsV2 SentencepieceDetokenizeOp SentencepieceIdToStringOp SentencepieceOp
    SentencepieceStringToIdOp SentencepieceTokenizeOp SentencepieceTokenizeWithOffsetsOp SentencepieceVocabSizeOp
    SplitMergeTokenizeWithOffsets TFText>BoiseTagsToOffsets TFText>ByteSplitByOffsets TFText>ByteSplitWithOffsets
    TFText>FastSentencepieceDetokenize TFText>FastSentencepieceTokenize TFText>FastWordpieceDetokenize
    TFText>NgramsStringJoin TFText>OffsetsToBoiseTags TFText>PhraseDetokenize TFText>RoundRobinGenerateMasks
    TFText>RoundRobinTrim TFText>Utf8Binarize TFText>WhitespaceTokenizeWithOffsetsV2 TokenizerFromLogits
    UnicodeScriptTokenizeWithOffsets WhitespaceTokenizeWithOffsets WordpieceTokenizeWithOffsets
    """.split()
)


class Inspection(NamedTuple):
    """Description of a SavedModel.

    Attributes:
        signatures: dict of name -> `{"method": …, "inputs": {alias: {"dtype", "shape"}}, "outputs": …}`; None in a
            shape means any size.
        operations: sorted names of the operations that the signatures use.
        text_operations: the ones that come from tensorflow-text.
        written_by: version of TensorFlow that wrote the SavedModel.
        least_server: oldest version of TensorFlow Serving that certainly has all operations.
        size: of all files, in bytes.
        fingerprint: hash of graph, signatures and weights.
        problems: reasons why TensorFlow Serving cannot run it; empty if it can.
    """

    signatures: dict[str, dict[str, Any]]
    operations: list[str]
    text_operations: list[str]
    written_by: str
    least_server: str
    size: int
    fingerprint: str
    problems: list[str]


def inspect_savedmodel(folder: str | Path) -> Inspection:
    """Describes a SavedModel without loading it.

    Raises:
        ExportError: the folder contains no SavedModel for serving, or a broken one.
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
    nodes = _reachable(graph)
    operations = sorted({node.op for node in nodes})
    _check_files(folder, graph, operations)
    text = [name for name in operations if name in _TEXT_OPERATIONS]
    written_by = graph.meta_info_def.tensorflow_version
    return Inspection(
        signatures={
            name: _signature(value) for name, value in sorted(graph.signature_def.items()) if not name.startswith("__")
        },
        operations=operations,
        text_operations=text,
        written_by=written_by,
        least_server=".".join(written_by.split(".")[:2]),
        size=sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
        fingerprint=_read_fingerprint(folder, graph),
        problems=_problems(graph, nodes, operations),
    )


def format_inspection(inspection: Inspection) -> str:
    """An `Inspection` as text for a terminal."""
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
        f"runs on       TensorFlow Serving {inspection.least_server} or later",
        f"size          {inspection.size / 2**20:.1f} MiB",
        f"fingerprint   {inspection.fingerprint}",
    ]
    if inspection.problems:
        return "\n".join(
            [*lines, "", "TensorFlow Serving cannot run it:", *(f"  {line}" for line in inspection.problems)]
        )
    return "\n".join([*lines, "", "TensorFlow Serving can run it."])


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


def _reachable(graph: Any) -> list[Any]:
    """Nodes that the outputs of the signatures depend on, and all nodes of the functions that these call."""
    by_name = {node.name: node for node in graph.graph_def.node}
    functions = {function.signature.name: function for function in graph.graph_def.library.function}
    infos = [info for value in graph.signature_def.values() for info in value.outputs.values()]
    outputs = [info.name for info in infos]
    for sparse in (info.coo_sparse for info in infos):  # which TensorFlow 1 allowed
        outputs += [sparse.values_tensor_name, sparse.indices_tensor_name, sparse.dense_shape_tensor_name]
    waiting = [by_name[name.split(":")[0]] for name in outputs if name.split(":")[0] in by_name]
    seen, called = {}, set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen[id(node)] = node
        if node.name in by_name and by_name[node.name] is node:
            names = [name.lstrip("^").split(":")[0] for name in node.input]
            waiting += [by_name[name] for name in names if name in by_name]
        for value in node.attr.values():
            for function in [value.func, *value.list.func]:
                if function.name in functions and function.name not in called:
                    called.add(function.name)
                    waiting += functions[function.name].node_def
        if node.op in functions and node.op not in called:  # TensorFlow 1 called functions by name
            called.add(node.op)
            waiting += functions[node.op].node_def
    return list(seen.values())


def _problems(graph: Any, nodes: Sequence[Any], operations: Sequence[str]) -> list[str]:
    functions = {function.signature.name: function for function in graph.graph_def.library.function}
    found = []
    for name in operations:
        if name in _FORBIDDEN:
            found.append(f"operation {name} {_FORBIDDEN[name]}")
        elif name not in functions and not _is_linked(name):
            found.append(f"operation {name} belongs neither to TensorFlow nor to tensorflow-text")
    compiled = {node.op for node in nodes if node.attr["_XlaMustCompile"].b}
    compiled |= {function.signature.name for function in functions.values() if function.attr["_XlaMustCompile"].b}
    for node in nodes:
        for value in node.attr.values():
            if value.func.name in compiled:
                found.append(f"function {value.func.name} needs XLA, which the server does not include")
    return sorted(set(found))


def _is_linked(name: str) -> bool:
    """Whether the server has an operation: one of TensorFlow with a CPU kernel, or one of tensorflow-text."""
    if name in _TEXT_OPERATIONS:
        return True
    if op_def_registry.get(name) is None:
        return False
    registered = kernels.get_registered_kernels_for_op(name).kernel
    # Function calls and arguments have no kernels.
    return not registered or any(kernel.device_type in ("CPU", "DEFAULT") for kernel in registered)


def _check_files(folder: Path, graph: Any, operations: Sequence[str]) -> None:
    """Raises `ExportError` if a file is missing that the graph needs. The server might start without it."""
    files = [f"assets/{asset.filename}" for asset in graph.asset_file_def]
    if "VarHandleOp" in operations and graph.saver_def.restore_op_name:
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
                digest.update(value.tobytes() if hasattr(value, "tobytes") else bytes(value))
    for asset in sorted((folder / "assets").rglob("*")):
        if asset.is_file():
            digest.update(asset.read_bytes())
    return digest.hexdigest()

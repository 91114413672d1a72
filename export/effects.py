"""What a SavedModel does beside computing: it is a program, and loading it runs a part of it."""

import stat
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Any

from tensorflow.core.protobuf import meta_graph_pb2

from export import operations
from export.reachable import Place, Walk, initialisers, node_name, served_tensors

LOADED_FILES = ("saved_model.pb", "saved_model.pbtxt", "variables", "assets", "assets.extra", "fingerprint.pb")
_ASSETS = "saved_model_assets"
# Operations that may read the file that the server names: index of the input with that name.
_READ_ASSETS = {"InitializeTableFromTextFile": 1, "InitializeTableFromTextFileV2": 1, "ReadFile": 0}
_READ_VARIABLES = {"RestoreV2": 0}


def find_effects(graph: Any, folder: str | Path) -> list[str]:
    """Everything that a server would run of a SavedModel and that does more than compute.

    That are the operations behind the signatures, the initialisers and the restoring of the variables, with all
    functions that they call. An operation only computes if it is in the group `compute` of `operations.txt`. An
    initialiser may read assets, and the restoring reads the variables; both only from the folder of the SavedModel.

    Args:
        graph: `MetaGraphDef`.
        folder: of the SavedModel.

    Returns:
        Sorted sentences without a full stop, one per operation or file; empty if the SavedModel only computes.
    """
    assets = {node_name(asset.tensor_info.name) for asset in assets_of(graph)}
    variables = {node_name(graph.saver_def.filename_tensor_name)}
    restore = [graph.saver_def.restore_op_name] if graph.saver_def.restore_op_name else []
    functions = {function.signature.name for function in graph.graph_def.library.function}
    found = set()
    for names, when, readers, fed in (
        (served_tensors(graph), "a signature runs it", {}, set()),
        (initialisers(graph), "loading runs it", _READ_ASSETS, assets),
        (restore, "loading runs it", _READ_VARIABLES, variables),
    ):
        walk = Walk(graph, names)
        for place in walk.places:
            effect = None if place.node.op in functions else operations.effect(place.node)
            if effect is not None and not _reads_own_file(walk, place, readers, fed):
                found.add(f"operation {place.node.op} {effect}; {when}")
    return sorted(found) + _foreign_files(graph, Path(folder))


def _reads_own_file(walk: Walk, place: Place, readers: dict[str, int], fed: Collection[str]) -> bool:
    index = readers.get(place.node.op)
    return index is not None and index < len(place.node.input) and walk.comes_from(place, place.node.input[index], fed)


def _foreign_files(graph: Any, folder: Path) -> list[str]:
    """Assets and links by which loading reads a file outside the folder, and files that are none."""
    found = set()
    for name in (asset.filename for asset in assets_of(graph)):
        if not is_inside(name):
            found.add(f"asset {name!r} is a file outside the folder `assets`")
    for name in LOADED_FILES:
        path = folder / name
        for each in (path, *(path.rglob("*") if path.is_dir() else ())):
            try:
                mode = each.lstat().st_mode
            except OSError:
                continue
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                found.add(f"{str(each.relative_to(folder))!r} is a link or a device, not a regular file")
    return sorted(found)


def assets_of(graph: Any) -> list[Any]:
    """The `AssetFileDef`s of a `MetaGraphDef`; the builder of TensorFlow 1 wrote them into a collection."""
    if graph.asset_file_def or _ASSETS not in graph.collection_def:
        return list(graph.asset_file_def)
    found = []
    for each in graph.collection_def[_ASSETS].any_list.value:
        asset = meta_graph_pb2.AssetFileDef()
        if each.Unpack(asset):
            found.append(asset)
    return found


def is_inside(name: str) -> bool:
    """Whether the name of a file is relative and stays in its folder."""
    path = PurePosixPath(name)
    return bool(name) and not path.is_absolute() and ".." not in path.parts and "\0" not in name

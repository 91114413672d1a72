"""Copies of the files that an image encoder's network is read from, so that a run does not depend on where they lie."""

import shutil
from pathlib import Path

import tensorflow_hub as hub

from vl_keras.encoders.hub_modules import module_path
from vl_keras.encoders.image_encoder import backbone_kind


def keep_backbone(backbone: str, folder: Path) -> None:
    """Copies the hub module or Keras model of an `image_encoder.backbone` into a folder; applications have none."""
    kind, source = backbone_kind(backbone)
    if kind == "application":
        return
    if kind == "hub":
        path = Path(hub.resolve(module_path(source)))
    else:
        path = Path(source.rpartition("#")[0]).expanduser()
    copy = folder / _name(kind, source)
    if path.is_dir():
        shutil.copytree(path, copy, dirs_exist_ok=True)
    elif path.is_file():  # not a module that is read straight from cloud storage
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)


def kept_backbone(backbone: str, folder: Path) -> str:
    """The `image_encoder.backbone` that reads what `keep_backbone` copied; the same one where it copied nothing."""
    kind, source = backbone_kind(backbone)
    copy = folder.resolve() / _name(kind, source)
    if kind == "application" or not copy.exists():
        return backbone
    return f"hub:{copy}" if kind == "hub" else f"keras:{copy}#{source.rpartition('#')[2]}"


def backbone_without_place(backbone: str) -> str:
    """What an `image_encoder.backbone` is, without the path of its files."""
    kind, source = backbone_kind(backbone)
    return {"application": backbone, "hub": "hub", "keras": f"keras#{source.rpartition('#')[2]}"}[kind]


def _name(kind: str, source: str) -> str:
    """The copy's name; a Keras file keeps its suffix, which says its format."""
    return "module" if kind == "hub" else f"model{Path(source.rpartition('#')[0]).suffix}"

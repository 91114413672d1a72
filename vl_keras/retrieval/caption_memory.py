"""Captions of training images with their vectors in a retrieval run's embedding space."""

import hashlib
import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vl_keras.errors import RetrievalError

_FORMAT = 1
_META, _ROWS, _VECTORS, _HEAD = "memory.json", "captions.jsonl", "vectors.npy", "image_head.npz"


class CaptionMemory(NamedTuple):
    """N captions, and the head that embeds an image's tokens in the same space.

    Attributes:
        image_ids: the image of each caption.
        captions: N captions.
        vectors: `(N, E)` float32, L2-normalised.
        scale: factor of the cosine of an image and a caption.
        image_encoder: dict that identifies the encoder of the image tokens: backbone, weights, image size.
        head: arguments of `build_image_head`.
        head_weights: the head's arrays.
    """

    image_ids: list[str]
    captions: list[str]
    vectors: np.ndarray
    scale: float
    image_encoder: dict[str, Any]
    head: dict[str, Any]
    head_weights: list[np.ndarray]

    @property
    def fingerprint(self) -> str:
        """8 hexadecimal digits that change with the captions, their vectors, the scale and the head."""
        digest = hashlib.sha256(json.dumps([self.image_ids, self.captions, self.scale]).encode())
        for array in (self.vectors, *self.head_weights):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:8]

    def save(self, folder: str | Path) -> None:
        """Writes the memory to a new folder, completely or not at all.

        Raises:
            RetrievalError: the folder exists already, or cannot be written.
        """
        folder = Path(folder).expanduser()
        if folder.exists():
            raise RetrievalError(f"`{folder}` is there already; choose another name, or remove it first.")
        part = folder.with_name(f"{folder.name}.part")
        try:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            rows = zip(self.image_ids, self.captions, strict=True)
            lines = (json.dumps({"image": name, "caption": text}, ensure_ascii=False) + "\n" for name, text in rows)
            with open(part / _ROWS, "w", encoding="utf-8") as file:
                file.writelines(lines)
            np.save(part / _VECTORS, self.vectors.astype(np.float32))
            np.savez(part / _HEAD, *self.head_weights)
            meta = {
                "format": _FORMAT,
                "captions": len(self.captions),
                "scale": self.scale,
                "image_encoder": self.image_encoder,
                "head": self.head,
            }
            (part / _META).write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")
            os.rename(part, folder)
        except OSError as error:
            raise RetrievalError(f"The memory `{folder}` cannot be written: {error.strerror or error}.") from error

    @classmethod
    def load(cls, folder: str | Path) -> "CaptionMemory":
        """Reads a memory that `save` wrote.

        Raises:
            RetrievalError: the folder holds no memory, or one that is damaged or of another format.
        """
        folder = Path(folder).expanduser()
        if not (folder / _META).is_file():
            raise RetrievalError(
                f"`{folder}` holds no memory of captions; make one with `vl-keras make-memory`, name its folder "
                "(--set generation.memory=FOLDER), or use none (--set generation.memory=)."
            )
        try:
            meta = json.loads((folder / _META).read_text(encoding="utf-8"))
            if meta["format"] != _FORMAT:
                raise RetrievalError(f"`{folder}` has format {meta['format']}; this version reads {_FORMAT}.")
            with open(folder / _ROWS, encoding="utf-8") as file:
                rows = [json.loads(line) for line in file]  # split at line feeds only: captions may have other breaks
            vectors = np.load(folder / _VECTORS)
            with np.load(folder / _HEAD) as saved:
                head_weights = [saved[f"arr_{i}"] for i in range(len(saved.files))]
            if not len(rows) == len(vectors) == meta["captions"]:
                raise ValueError(f"{len(rows)} captions and {len(vectors)} vectors instead of {meta['captions']}")
            return cls(
                [row["image"] for row in rows],
                [row["caption"] for row in rows],
                vectors,
                meta["scale"],
                meta["image_encoder"],
                meta["head"],
                head_weights,
            )
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise RetrievalError(
                f"The memory `{folder}` cannot be read ({error}); replace it by an intact copy."
            ) from error

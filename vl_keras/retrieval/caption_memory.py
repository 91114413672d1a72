"""Captions of training images and where they lie in a retrieval run's space, to be recalled by an image."""

import hashlib
import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vl_keras.errors import RetrievalError

_FORMAT = 1
_META, _ROWS, _VECTORS, _HEAD = "memory.json", "captions.jsonl", "vectors.npy", "image_head.npz"


class CaptionMemory(NamedTuple):
    """N captions, and the head that brings an image's tokens into their space.

    Attributes:
        image_ids: list of N: whose a caption is.
        captions: list of N strings.
        vectors: `(N, E)` float32, L2-normalised.
        scale: what the cosine of an image and a caption is multiplied by.
        image_encoder: dict that is the same for the same image tokens: backbone, weights, image size.
        head: arguments of `build_image_head`.
        head_weights: list of its arrays.
    """

    image_ids: list
    captions: list
    vectors: np.ndarray
    scale: float
    image_encoder: dict
    head: dict
    head_weights: list

    @property
    def fingerprint(self):
        """8 hexadecimal digits of what is recalled and by what."""
        digest = hashlib.sha256(json.dumps([self.image_ids, self.captions, self.scale]).encode())
        for array in (self.vectors, *self.head_weights):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:8]

    def save(self, folder):
        """Writes a folder that is there whole or not at all.

        Raises:
            RetrievalError: it is there already, or cannot be written.
        """
        folder = Path(folder).expanduser()
        if folder.exists():
            raise RetrievalError(f"`{folder}` is there already; give another name, or remove it first.")
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
    def load(cls, folder):
        """Reads what `save` wrote.

        Raises:
            RetrievalError: there is no memory, or it is damaged or of another format.
        """
        folder = Path(folder).expanduser()
        if not (folder / _META).is_file():
            raise RetrievalError(
                f"`{folder}` holds no memory of captions; make one with `vl-keras make-memory`, say where it is "
                "(--set generation.memory=FOLDER), or do without (--set generation.memory=)."
            )
        try:
            meta = json.loads((folder / _META).read_text(encoding="utf-8"))
            if meta["format"] != _FORMAT:
                raise RetrievalError(f"`{folder}` has format {meta['format']}; this version reads {_FORMAT}.")
            with open(folder / _ROWS, encoding="utf-8") as file:
                rows = [json.loads(line) for line in file]  # at line feeds alone: a caption may hold other breaks
            vectors = np.load(folder / _VECTORS)
            with np.load(folder / _HEAD) as saved:
                head_weights = [saved[f"arr_{i}"] for i in range(len(saved.files))]
            if not len(rows) == len(vectors) == meta["captions"]:
                raise ValueError(f"{len(rows)} captions and {len(vectors)} vectors in place of {meta['captions']}")
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
            raise RetrievalError(f"The memory `{folder}` cannot be read ({error}); put a whole copy there.") from error

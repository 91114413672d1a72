"""A frozen text encoder's token states, computed once for all texts of a split."""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from vl_keras.files import locked
from vl_keras.progress import shown

_BATCH = 64


class TextFeatures:
    """Token states of numbered texts, stored one after the other without padding.

    Texts with the same ids share one entry. On disk: `tokens.npy` float16 `(all tokens, D)` and `lengths.npy`, in a
    folder whose name is a hash of the texts and the encoder.

    Args:
        folder: folder of the two files.
        entries: `(texts,)` int64, the entry of each text.

    Attributes:
        lengths: `(texts,)` number of tokens of each text.
        width: D.
    """

    def __init__(self, folder: Path, entries: np.ndarray) -> None:
        self._tokens = np.load(folder / "tokens.npy", mmap_mode="r")
        lengths = np.load(folder / "lengths.npy")
        self.lengths, self._first = lengths[entries], (np.cumsum(lengths) - lengths)[entries]
        self.width = self._tokens.shape[1]

    @classmethod
    def build_or_open(
        cls,
        data_dir: str | Path,
        ids: Sequence[np.ndarray],
        encode: Callable[[np.ndarray], np.ndarray],
        fingerprint: str,
    ) -> "TextFeatures":
        """Opens the features of these texts; encodes them first if that was not done yet.

        Args:
            data_dir: folder of all caches.
            ids: the token ids of each text.
            encode: function of `(n, T)` int32 ids, 0 for padding, to `(n, T, D)`; a row must not depend on other rows.
            fingerprint: string that changes with the encoder and its weights.
        """
        known: dict[bytes, int] = {}
        entries = np.array(
            [known.setdefault(np.asarray(text, np.int32).tobytes(), len(known)) for text in ids], np.int64
        )
        unique = [np.frombuffer(text, np.int32) for text in known]
        digest = hashlib.sha256(fingerprint.encode())
        lengths = np.array([len(text) for text in unique], np.int64)
        digest.update(lengths.tobytes())
        digest.update(b"".join(known))
        folder = Path(data_dir) / "features" / f"texts-{digest.hexdigest()[:16]}"
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / "lock"):
            if not (folder / "done.json").exists():
                _write(folder, unique, lengths, encode)
        return cls(folder, entries)

    def read(self, numbers: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Reads the token states of texts.

        Args:
            numbers: indices of texts, in any shape; -1 is no text.

        Returns:
            `(…, T, D)` float16, zeros after the end of a text, where T is the length of the longest (at least 1); and
            `(…, T)` bool mask.
        """
        numbers = np.asarray(numbers)
        flat = numbers.reshape(-1)
        lengths = np.where(flat >= 0, self.lengths[flat], 0)
        longest = max(int(lengths.max(initial=0)), 1)
        tokens = np.zeros((len(flat), longest, self.width), np.float16)
        for row, (number, length) in enumerate(zip(flat.tolist(), lengths.tolist(), strict=True)):
            tokens[row, :length] = self._tokens[self._first[number] : self._first[number] + length]
        mask = np.arange(longest) < lengths[:, None]
        return tokens.reshape(*numbers.shape, longest, self.width), mask.reshape(*numbers.shape, longest)


def _write(
    folder: Path, ids: Sequence[np.ndarray], lengths: np.ndarray, encode: Callable[[np.ndarray], np.ndarray]
) -> None:
    first = np.cumsum(lengths) - lengths
    part, tokens = folder / "tokens.part", None
    order = np.argsort(lengths, kind="stable")  # batches of texts of similar length need little padding
    for start in shown(range(0, len(order), _BATCH), "encoding texts"):
        batch = order[start : start + _BATCH]
        padded = np.zeros((len(batch), max(int(lengths[batch].max()), 1)), np.int32)
        for row, number in enumerate(batch):
            padded[row, : lengths[number]] = ids[number]
        states = np.asarray(encode(padded))
        if tokens is None:
            shape = (int(lengths.sum()), states.shape[-1])
            tokens = np.lib.format.open_memmap(part, mode="w+", dtype=np.float16, shape=shape)
        for row, number in enumerate(batch):
            tokens[first[number] : first[number] + lengths[number]] = states[row, : lengths[number]]
    if tokens is None:
        tokens = np.lib.format.open_memmap(part, mode="w+", dtype=np.float16, shape=(0, 1))
    tokens.flush()
    os.replace(part, folder / "tokens.npy")
    np.save(folder / "lengths.npy", lengths)
    (folder / "done.json").write_text(json.dumps({"texts": len(ids), "tokens": int(lengths.sum())}) + "\n")

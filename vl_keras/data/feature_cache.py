"""A frozen encoder's tokens, written once and read many times at memory speed."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vl_keras.config import DataConfig
from vl_keras.data.examples import Examples, first_numbers
from vl_keras.data.modalities import MODALITIES
from vl_keras.data.write_features import (
    Encode,
    cache_key,
    lengths_path,
    read_description,
    shard_path,
    start_cache,
    write_missing,
)
from vl_keras.errors import FeatureCacheError
from vl_keras.files import locked


class FeatureCache:
    """Tokens of every content of one modality of a source, in `views` versions: the plain content, then augmented ones.

    On disk: `cache.json` (what the tokens were made from), `flipped.npy`, and for each view float16 shards
    `view-0-00000.npy`, each with a `.json` that lists its unreadable contents. Where every content has R tokens, a
    shard is `(contents, R, D)`. Where contents have different numbers of tokens, it is `(all tokens, D)`, one content
    after the other, and the `.json` lists their numbers as well. Made by `build_or_open`.

    Attributes:
        views: versions of each content; view 0 is the plain one.
        token_shape: `(R, D)`; R is None where examples have different numbers of tokens.
        flipped: `(examples, views)` bool: mirrored, so that "left" and "right" in captions must be swapped.
        readable: `(contents,)` bool; the others have no tokens.
        unreadable: dict of a content's number -> why it cannot be read.
    """

    def __init__(self, folder: str | Path, description: dict[str, Any], counts: np.ndarray | None = None) -> None:
        self.folder = Path(folder)
        self.views = description["key"]["views"]
        self._contents = description["key"]["images"]
        self._counts = np.ones(self._contents, np.int64) if counts is None else counts
        self._first = first_numbers(self._counts)
        self._shard_rows = description["shard_rows"]
        length, width = description["token_shape"]
        self._fixed = length is not None and bool((self._counts == 1).all())  # every example has as many tokens
        self._length: int = length or 0
        self.token_shape: tuple[int | None, int] = (length if self._fixed else None, width)
        self.flipped = np.load(self.folder / "flipped.npy")
        self.readable = np.ones(self._contents, bool)
        self.unreadable: dict[int, str] = {}
        self._shards: list[np.ndarray] = []
        self._starts: list[np.ndarray | None] = []  # of each ragged shard: where its contents begin, and its end
        for view in range(self.views):
            for shard in range(-(-self._contents // self._shard_rows)):
                path = shard_path(self.folder, view, shard)
                self._shards.append(np.load(path, mmap_mode="r"))
                notes = json.loads(lengths_path(path).read_text(encoding="utf-8"))
                self._starts.append(np.cumsum([0, *notes["lengths"]]) if length is None else None)
                self.unreadable.update({int(number): reason for number, reason in notes["unreadable"].items()})
        self.readable[list(self.unreadable)] = False

    @classmethod
    def build_or_open(
        cls,
        folder: str | Path,
        source: Examples,
        encode_fn: Encode,
        fingerprint: str,
        data: DataConfig,
        views: int = 1,
        batch_size: int = 32,
        modality: str = "image",
    ) -> "FeatureCache":
        """Opens the cache in `folder`, first writing what is not there yet.

        A build that was stopped, by whatever means, goes on with the shards it had not finished. Two processes that
        build the same folder take turns. Contents that cannot be read go to `source.quarantine`.

        Args:
            folder: of this one cache; made where absent.
            source: a `Source`.
            encode_fn: decoded contents as float32, `(batch_size, …)` (of an image 0 to 255), to their tokens
                `(batch_size, R, D)`, or to a pair of these and their mask `(batch_size, R)` bool. Where decoded
                contents differ in length it gets their mask `(batch_size, T)` too. A row must not depend on its
                neighbours.
            fingerprint: string that changes with the encoder's architecture, weights and preprocessing.
            data: `DataConfig`, for the modality, and for `augment` and `max_bad_share`.
            views: versions of each content; 1 is the plain one alone.
            batch_size: contents encoded at once.
            modality: name of the modality whose contents are encoded.

        Raises:
            FeatureCacheError: the folder holds another encoder's or other contents' tokens, the disk is full, or the
                encoder gives values that are no numbers.
            QuarantineError: more contents than `data.max_bad_share` cannot be read.
        """
        folder, kind = Path(folder), MODALITIES[modality]
        folder.mkdir(parents=True, exist_ok=True)
        key = cache_key(source, kind, fingerprint, data, views)
        with locked(folder / "lock"):
            description = read_description(folder, key)
            if description is None:
                description = start_cache(folder, key, source, kind, encode_fn, data, batch_size)
            write_missing(folder, description, source, kind, encode_fn, data, batch_size)
        try:
            cache = cls(folder, description, source.counts(modality))
        except (OSError, ValueError, KeyError) as error:
            raise FeatureCacheError(f"The feature cache {folder} is damaged ({error}); delete it.") from error
        names = source.names(modality)
        for number, reason in cache.unreadable.items():
            source.quarantine.add(names[number], reason)
        source.check_quarantine(data.max_bad_share)
        return cache

    def read(self, indices: Sequence[int] | np.ndarray, views: int | Sequence[int] | np.ndarray) -> np.ndarray:
        """Tokens of examples.

        Args:
            indices: `(n,)` example indices.
            views: `(n,)` view of each, or one for all.

        Returns:
            `(n, R, D)` float16, the tokens of all contents of an example one content after the other; zeros where there
            are fewer than R, and for what could not be read.
        """
        return self.read_with_masks(indices, views)[0]

    def read_with_masks(
        self, indices: Sequence[int] | np.ndarray, views: int | Sequence[int] | np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`read`; the tokens' mask; and which examples are usable.

        Returns:
            Tokens `(n, R, D)` float16; their mask `(n, R)` bool; and `(n,)` bool, False for an example that has
            contents, none of which could be read.
        """
        indices = np.asarray(indices)
        views = np.broadcast_to(views, indices.shape)
        if self._fixed:
            ok = self.readable[indices]
            tokens = np.empty((len(indices), self._length, self.token_shape[1]), np.float16)
            for place, (number, view) in enumerate(zip(indices.tolist(), views.tolist(), strict=True)):
                tokens[place] = self._tokens(number, view)
            return tokens, np.repeat(ok[:, None], self._length, axis=1), ok
        parts = [self._parts(index, view) for index, view in zip(indices.tolist(), views.tolist(), strict=True)]
        lengths = np.array([sum(map(len, own)) for own in parts], np.int64)
        longest = max(int(lengths.max(initial=0)), 1)
        tokens = np.zeros((len(indices), longest, self.token_shape[1]), np.float16)
        for row, own, length in zip(tokens, parts, lengths, strict=True):
            if own:
                np.concatenate(own, out=row[:length])
        ok = np.array([bool(own) for own in parts], bool) | (self._counts[indices] == 0)
        return tokens, np.arange(longest) < lengths[:, None], ok

    def _parts(self, index: int, view: int) -> list[np.ndarray]:
        """The tokens of each readable content of an example."""
        first = int(self._first[index])
        numbers = range(first, first + int(self._counts[index]))
        return [self._tokens(number, view) for number in numbers if self.readable[number]]

    def _tokens(self, number: int, view: int) -> np.ndarray:
        """`(R, D)` of one content."""
        shard, row = divmod(number, self._shard_rows)
        shard += view * -(-self._contents // self._shard_rows)
        starts = self._starts[shard]
        if starts is None:
            return self._shards[shard][row]
        return self._shards[shard][starts[row] : starts[row + 1]]

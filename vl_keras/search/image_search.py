"""Search for images by a text or by another image."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from vl_keras.errors import RunError
from vl_keras.retrieval.vector_index import VectorIndex
from vl_keras.search.image_embedder import ImageEmbedder


class SearchResult(NamedTuple):
    """An image that was found.

    Attributes:
        rank: 1 is the best.
        score: cosine of its vector and the query's, -1 to 1; for a text, if the run has a querybank, minus the
            querybank's correction for the image, which is at most 1/2.
        path: its file.
    """

    rank: int
    score: float
    path: str


class ImageSearch:
    """An index that `index_images` made, with the run it was made with, for any number of searches.

    Args:
        index_dir: folder of the index.
        run_dir: folder of the run; None: where it was when the index was made.

    Attributes:
        note: a warning about the index for the user; empty if there is none.

    Raises:
        RetrievalError: there is no index, or it was made with another encoder than the run's.
        RunError: the run does not exist.
    """

    def __init__(self, index_dir: str | Path, run_dir: str | Path | None = None) -> None:
        self._index = VectorIndex.open(index_dir)
        self.note = self._index.note
        source = self._index.description
        run_dir = run_dir or source["run"]
        self._embedder = ImageEmbedder(run_dir, source["weights"], source["overrides"])
        self._index.check_encoder(self._embedder.fingerprint, f"the run `{run_dir}`")

    def by_text(self, text: str, top: int = 10) -> list[SearchResult]:
        """The `top` best `SearchResult`s for a text, best first."""
        if not text.strip():
            raise RunError("The text is empty; describe what the images should show.")
        return self._nearest(self._embedder.text_query(text), top)

    def by_image(self, path: str | Path, top: int = 10) -> list[SearchResult]:
        """The `top` best `SearchResult`s for an image file, best first; the file itself is found if it is indexed."""
        return self._nearest(self._embedder.image_query(path), top)

    def _nearest(self, vector: np.ndarray, top: int) -> list[SearchResult]:
        if top < 1:
            raise RunError(f"`top` must be at least 1; got {top}.")
        (rows,), (scores,) = self._index.search(vector[None], top)
        paths = [self._index.rows[row]["path"] for row in rows]
        return [SearchResult(rank, *found) for rank, found in enumerate(zip(scores.tolist(), paths, strict=True), 1)]

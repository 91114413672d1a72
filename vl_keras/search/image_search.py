"""Images found by words or by another image."""

from typing import NamedTuple

from vl_keras.errors import RunError
from vl_keras.retrieval.vector_index import VectorIndex
from vl_keras.search.image_embedder import ImageEmbedder


class SearchResult(NamedTuple):
    """An image that was found.

    Attributes:
        rank: 1 is the best.
        score: cosine of its vector and the query's, -1 to 1; where a text asks and the run has a querybank, less what
            that takes off the image, at most 1/2.
        path: of its file.
    """

    rank: int
    score: float
    path: str


class ImageSearch:
    """An index that `index_images` made and the run that it was made with, to be asked many times.

    Args:
        index_dir: folder of the index.
        run_dir: where the run lies now; None: where it lay then.

    Attributes:
        note: what the user should know of the index; empty where there is nothing.

    Raises:
        RetrievalError: there is no index, or it is another encoder's than the run's.
        RunError: the run is not there.
    """

    def __init__(self, index_dir, run_dir=None):
        self._index = VectorIndex.open(index_dir)
        self.note = self._index.note
        source = self._index.description
        run_dir = run_dir or source["run"]
        self._embedder = ImageEmbedder(run_dir, source["weights"], source["overrides"])
        self._index.check_encoder(self._embedder.fingerprint, f"the run `{run_dir}`")

    def by_text(self, text, top=10):
        """List of the `top` best `SearchResult`s of a text, best first."""
        if not text.strip():
            raise RunError("The text is empty; say what the images should show.")
        return self._nearest(self._embedder.text_query(text), top)

    def by_image(self, path, top=10):
        """List of the `top` best `SearchResult`s of an image file, best first; the file itself is not left out."""
        return self._nearest(self._embedder.image_query(path), top)

    def _nearest(self, vector, top):
        if top < 1:
            raise RunError(f"`top` must be at least 1; got {top}.")
        (rows,), (scores,) = self._index.search(vector[None], top)
        paths = [self._index.rows[row]["path"] for row in rows]
        return [SearchResult(rank, *found) for rank, found in enumerate(zip(scores.tolist(), paths, strict=True), 1)]

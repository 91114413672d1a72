"""Evaluates retrieval: scores the search between the images and captions of a split, and draws some searches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vl_keras.drawing.contact_sheet import RIGHT, Tile, draw_contact_sheet
from vl_keras.drawing.example_sheet import source_image
from vl_keras.drawing.metric_table import describe_metrics, metric_rows
from vl_keras.errors import DataError, RunError
from vl_keras.json_files import write_json_lines
from vl_keras.metrics.bootstrap import bootstrap_intervals
from vl_keras.metrics.retrieval_scores import protocol_folds, reranked_ranks, retrieval_ranks, top_candidates
from vl_keras.metrics.weighted_scores import weighted_rank_scores
from vl_keras.progress import Progress
from vl_keras.retrieval.querybank import Querybank
from vl_keras.tasks.described import dataset_name, describe_signature
from vl_keras.tasks.embedding.recall_metrics import PROTOCOL, recall_metrics
from vl_keras.tasks.embedding.reranker import Reranker

if TYPE_CHECKING:
    from vl_keras.data.source import Source
    from vl_keras.models.dual_encoder import DualEncoder
    from vl_keras.tasks.retrieval import RetrievalTask
    from vl_keras.tasks.task import Evaluation

_TOP = 6
_DRAWN_TEXTS, _DRAWN_IMAGES = 8, 12
_SIDE = 180


def evaluate_retrieval(task: RetrievalTask, model: DualEncoder, request: Evaluation) -> dict[str, Any]:
    """Evaluates the search of captions by images and of images by captions on a split.

    Scores are cosines, or those of a `Querybank` if `retrieval.querybank` is set. If `retrieval.rerank_with` names a
    matching run, it reranks the first `retrieval.rerank_candidates` results of every query. Writes `SPLIT_ranks.jsonl`,
    one query per line: the rank of the right result and the first results; and `SPLIT.png`: some queries, spread evenly
    over the split, with their first results; the right ones are framed or green.

    Args:
        task: the task of the run.
        model: its trained model.
        request: `Evaluation`.

    Returns:
        Dict; see `Task.evaluate`. The intervals resample the images that are queries, with all their captions; what is
        searched stays the same. After the metrics of the dual encoder, `measures` has those after reranking, if any.
    """
    split, folder = request.split, request.folder
    source, data = task.source(split), task.config.data
    if not any(source.captions):
        raise RunError(f"Split `{split}` of {dataset_name(data)} has no captions to find images by.")
    start = time.monotonic()
    with Progress(f"vectors of {split}", len(source), "image") as progress:
        image, text, owner, kept = task.embed_split(model, split, progress=progress.to)
    seconds = time.monotonic() - start
    if not len(kept):
        raise RunError(f"No image of split `{split}` of {dataset_name(data)} that has captions can be read.")
    captions = [caption for index in kept for caption in source.captions[index]]
    names = [source.image_ids[index] for index in kept]
    retrieval = task.settings
    scale, bank = task.similarity_scale(model), None
    measured_with: dict[str, Any] = {}
    if retrieval.querybank:
        bank = _querybank(task, model, scale)
        image, text = bank.of_images(image), bank.of_texts(text)
        measured_with["querybank"] = len(bank.texts)
    count = retrieval.rerank_candidates if retrieval.rerank_with else _TOP
    folds = [_Fold(image, text, *fold, count) for fold in protocol_folds(owner, len(image), PROTOCOL)]
    each = f", in each of {len(folds)} folds" if len(folds) > 1 else ""
    notes = [f"searched: {len(folds[0].images)} images, {len(folds[0].texts)} captions of this split{each}"]
    if bank is not None and bank.images is None:
        missing = f"there is no split `{data.train_split}` here"
        notes.append(
            f"{missing}: the querybank has only the captions that the run keeps, and corrects only searches by text"
        )
    if retrieval.rerank_with:
        reranker = Reranker(retrieval.rerank_with, task, split, request.load_run)

        def score(images: np.ndarray, texts: np.ndarray) -> np.ndarray:
            """The sum of both models' log-odds: alone, the matching model ranks worse than the dual encoder."""
            match = reranker.scores(kept[images], [captions[number] for number in texts])
            return match + scale * np.sum(image[images] * text[texts], axis=1)

        for fold in folds:
            fold.rerank(score)
        notes.append(
            f"reranked: the first {count} results, by the scaled similarity plus the scores of {reranker.which}"
        )
    queries = [image for fold in folds for image in (*fold.images, *fold.images[fold.owner])]
    metrics = {name: float(value) for name, (value,) in _metrics(folds, np.ones((1, len(queries)))).items()}
    rows = metric_rows(metrics, bootstrap_intervals(queries, lambda weights: _metrics(folds, weights)))
    files = {"ranks": folder / f"{split}_ranks.jsonl", "contact_sheet": folder / f"{split}.png"}
    write_json_lines(files["ranks"], (row for fold in folds for row in fold.rows(names, captions)))
    counts = {"images": sum(len(fold.images) for fold in folds), "texts": sum(len(fold.texts) for fold in folds)}
    counts["folds"] = len(folds)
    signature = {**task.signature(counts, split, request.weights), **measured_with}
    sections = _sections(folds[0], source, kept, captions)
    title = describe_signature(signature)
    draw_contact_sheet(files["contact_sheet"], title, sections, describe_metrics(rows, rows), side=_SIDE, columns=_TOP)
    return {
        "signature": signature,
        "signature_text": title,
        "measures": rows,
        "notes": notes,
        "files": files,
        "seconds": round(seconds, 2),
    }


def _querybank(task: RetrievalTask, model: DualEncoder, scale: float) -> Querybank:
    """The `Querybank` of the training split; without that split, one of only the captions that the run keeps."""
    split, count = task.config.data.train_split, task.settings.querybank
    try:
        task.source(split)
    except DataError:
        texts = task.querybank_texts  # raises it again if the run keeps none
        with Progress("querybank", len(texts), "text") as progress:
            return Querybank(None, task.embed_captions(model, texts, progress.to), scale)
    with Progress("querybank", count, "image") as progress:
        images, vectors, _, _ = task.embed_split(model, split, count, progress.to, captions_each=1)
    return Querybank(images, vectors, scale)


class _Fold:
    """Images and texts that are searched together, with the rank and the first results of each query.

    Args:
        image, text: vectors of all images and of all texts of the split.
        images, texts: places of the fold's images and texts among all.
        owner: for each text of the fold, the place of its image in the fold.
        count: first results to keep.
    """

    def __init__(
        self,
        image: np.ndarray,
        text: np.ndarray,
        images: np.ndarray,
        texts: np.ndarray,
        owner: np.ndarray,
        count: int,
    ) -> None:
        self.images, self.texts, self.owner = images, texts, owner
        self.stages = [retrieval_ranks(image[images], text[texts], owner)]
        self.of_image = top_candidates(image[images], text[texts], count)
        self.of_text = top_candidates(text[texts], image[images], count)

    @property
    def ranks(self) -> tuple[np.ndarray, np.ndarray]:
        """Ranks of the right results for the images and for the texts, after the last stage."""
        return self.stages[-1]

    def rerank(self, score: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> None:
        """Reranks the first results; `score` maps the places of the images and of the texts of P pairs to scores."""
        number = np.arange(len(self.images))
        image_pairs = np.repeat(number, self.of_image.shape[1]), self.of_image.reshape(-1)
        text_pairs = self.of_text.reshape(-1), np.repeat(np.arange(len(self.texts)), self.of_text.shape[1])
        pairs = [np.concatenate(places) for places in zip(image_pairs, text_pairs, strict=True)]
        scores = score(self.images[pairs[0]], self.texts[pairs[1]])
        to_text, to_image = np.split(scores, [self.of_image.size])
        to_text, to_image = to_text.reshape(self.of_image.shape), to_image.reshape(self.of_text.shape)
        before = self.ranks
        self.stages.append(
            (
                reranked_ranks(before[0], self.of_image, to_text, number, self.owner),
                reranked_ranks(before[1], self.of_text, to_image, self.owner, number),
            )
        )
        self.of_image = np.take_along_axis(self.of_image, np.argsort(-to_text, axis=1, kind="stable"), axis=1)
        self.of_text = np.take_along_axis(self.of_text, np.argsort(-to_image, axis=1, kind="stable"), axis=1)

    def rows(self, names: Sequence[str], captions: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Yields a row of `SPLIT_ranks.jsonl` for each query."""
        for place, image in enumerate(self.images):
            first = [captions[self.texts[number]] for number in self.of_image[place, :_TOP]]
            yield {"query": "image", "image": names[image], "rank": int(self.ranks[0][place]), "first": first}
        for place, text in enumerate(self.texts):
            first = [names[self.images[number]] for number in self.of_text[place, :_TOP]]
            row = {"query": "text", "image": names[self.images[self.owner[place]]], "text": captions[text]}
            yield {**row, "rank": int(self.ranks[1][place]), "first": first}


def _metrics(folds: Sequence[_Fold], weights: np.ndarray) -> dict[str, np.ndarray]:
    """The metrics of every stage under `(n, queries)` weights, as means over the folds, `(n,)` each."""
    metrics: dict[str, np.ndarray] = {}
    for stage, prefix in enumerate(("", "reranked ")[: len(folds[0].stages)]):
        parts, start = [], 0
        for fold in folds:
            scores = {}
            for way, ranks in zip(("image_to_text", "text_to_image"), fold.stages[stage], strict=True):
                scores[way] = weighted_rank_scores(ranks, weights[:, start : start + len(ranks)])
                start += len(ranks)
            parts.append(recall_metrics(scores))
        metrics |= {f"{prefix}{name}": np.mean([part[name] for part in parts], axis=0) for name in parts[0]}
    return metrics


def _sections(fold: _Fold, source: Source, kept: np.ndarray, captions: Sequence[str]) -> list[tuple[str, list[Tile]]]:
    def image(place: int) -> np.ndarray:
        return source_image(source, kept[fold.images[place]])

    sections = []
    for query in _spread(len(fold.texts), _DRAWN_TEXTS):
        tiles = [
            Tile(image(place), [(f"{number}.", "gray")], RIGHT if place == fold.owner[query] else None)
            for number, place in enumerate(fold.of_text[query, :_TOP], 1)
        ]
        heading = f"{captions[fold.texts[query]]}   (its image: rank {fold.ranks[1][query]})"
        sections.append((heading, tiles))
    tiles = []
    for query in _spread(len(fold.images), _DRAWN_IMAGES):
        lines = [(f"its own: rank {fold.ranks[0][query]}", "gray")]
        for number in fold.of_image[query, :_TOP]:
            lines.append((f"• {captions[fold.texts[number]]}", RIGHT if fold.owner[number] == query else "black"))
        tiles.append(Tile(image(query), lines))
    return [*sections, ("captions found for images, the best first; green: its own", tiles)]


def _spread(count: int, wanted: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(wanted, count)).astype(int))

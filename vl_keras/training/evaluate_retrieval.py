"""Pictures and captions of a split found by each other, scored, some searches drawn."""

import time

import numpy as np

from vl_keras.metrics.bootstrap import bootstrap_intervals
from vl_keras.metrics.retrieval_scores import protocol_folds, retrieval_ranks, retrieval_scores, top_candidates
from vl_keras.metrics.weighted_scores import weighted_rank_scores
from vl_keras.tasks.described import dataset_name, describe_signature
from vl_keras.tasks.retrieval import PROTOCOL, recall_measures
from vl_keras.training.errors import TrainingError
from vl_keras.training.json_lines import write_json_lines
from vl_keras.training.measure_table import describe_measures, measure_rows
from vl_keras.training.progress import Progress
from vl_keras.training.run_dir import weights_name
from vl_keras.training.tile_sheet import RIGHT, Tile, draw_tile_sheet, source_picture

_TOP = 6
_DRAWN_TEXTS, _DRAWN_IMAGES = 8, 12
_SIDE = 180


def evaluate_retrieval(task, model, split, folder, which):
    """Has every picture of a split search its captions, and every caption its picture.

    Writes `SPLIT_ranks.jsonl`, a line a query: the rank of the right answer and what came first; and `SPLIT.png`: some
    queries, spread evenly over the split, with what came first, the right answers framed or green.

    Arguments as of `evaluate_captions`.

    Returns:
        Dict, its part of what `evaluate` returns. Intervals are over images that ask, with all their captions; what is
        searched stays.
    """
    source, data = task.source(split), task.config.data
    if not any(source.captions):
        raise TrainingError(f"Split `{split}` of {dataset_name(data)} has no captions to find pictures by.")
    start = time.monotonic()
    with Progress(f"vectors of {split}", len(source), "picture") as progress:
        image, text, owner, kept = task.embed_split(model, split, progress=progress.to)
    seconds = time.monotonic() - start
    scores = retrieval_scores(image, text, owner, PROTOCOL)
    folds = [_Fold(image, text, *fold) for fold in protocol_folds(owner, len(image), PROTOCOL)]
    asking = [np.concatenate([fold.images, fold.images[fold.owner]]) for fold in folds]
    intervals = bootstrap_intervals(np.concatenate(asking), lambda weights: _measures(folds, weights))
    rows = measure_rows(recall_measures(scores), intervals)
    captions = [caption for index in kept for caption in source.captions[index]]
    names = [source.image_ids[index] for index in kept]
    files = {"ranks": folder / f"{split}_ranks.jsonl", "contact_sheet": folder / f"{split}.png"}
    write_json_lines(files["ranks"], (row for fold in folds for row in fold.rows(names, captions)))
    signature = task.signature(scores, split, weights_name(which))
    notes = [
        f"searched: {folds[0].size} of this split" + (f", in each of {len(folds)} folds" if len(folds) > 1 else "")
    ]
    sections = _sections(folds[0], source, kept, captions)
    title = describe_signature(signature)
    draw_tile_sheet(files["contact_sheet"], title, sections, describe_measures(rows, rows), side=_SIDE, columns=_TOP)
    return {
        "signature": signature,
        "signature_text": title,
        "measures": rows,
        "notes": notes,
        "files": files,
        "seconds": round(seconds, 2),
    }


class _Fold:
    """Images and texts that search among themselves: places among all, and each query's rank and first answers."""

    def __init__(self, image, text, images, texts, owner):
        self.images, self.texts, self.owner = images, texts, owner
        self.image_ranks, self.text_ranks = retrieval_ranks(image[images], text[texts], owner)
        self.of_image = top_candidates(image[images], text[texts], _TOP)
        self.of_text = top_candidates(text[texts], image[images], _TOP)

    @property
    def size(self):
        return f"{len(self.images)} pictures, {len(self.texts)} captions"

    def rows(self, names, captions):
        """A dict for each query."""
        for place, image in enumerate(self.images):
            first = [captions[self.texts[number]] for number in self.of_image[place]]
            yield {"query": "image", "image": names[image], "rank": int(self.image_ranks[place]), "first": first}
        for place, text in enumerate(self.texts):
            first = [names[self.images[number]] for number in self.of_text[place]]
            row = {"query": "text", "image": names[self.images[self.owner[place]]], "text": captions[text]}
            yield {**row, "rank": int(self.text_ranks[place]), "first": first}


def _measures(folds, weights):
    """Measures under `(n, queries)` weights, means over the folds."""
    parts, start = [], 0
    for fold in folds:
        middle, end = start + len(fold.images), start + len(fold.images) + len(fold.texts)
        to_text = weighted_rank_scores(fold.image_ranks, weights[:, start:middle])
        to_image = weighted_rank_scores(fold.text_ranks, weights[:, middle:end])
        parts.append(recall_measures({"image_to_text": to_text, "text_to_image": to_image}))
        start = end
    return {name: np.mean([part[name] for part in parts], axis=0) for name in parts[0]}


def _sections(fold, source, kept, captions):
    def picture(place):
        return source_picture(source, kept[fold.images[place]])

    sections = []
    for query in _spread(len(fold.texts), _DRAWN_TEXTS):
        tiles = [
            Tile(picture(place), [(f"{number}.", "gray")], RIGHT if place == fold.owner[query] else None)
            for number, place in enumerate(fold.of_text[query], 1)
        ]
        heading = f"{captions[fold.texts[query]]}   (its picture: rank {fold.text_ranks[query]})"
        sections.append((heading, tiles))
    tiles = []
    for query in _spread(len(fold.images), _DRAWN_IMAGES):
        lines = [(f"its own: rank {fold.image_ranks[query]}", "gray")]
        for number in fold.of_image[query]:
            lines.append((f"• {captions[fold.texts[number]]}", RIGHT if fold.owner[number] == query else "black"))
        tiles.append(Tile(picture(query), lines))
    return [*sections, ("captions found for pictures, the best first; green: its own", tiles)]


def _spread(count, wanted):
    return np.unique(np.linspace(0, count - 1, min(wanted, count)).astype(int))

"""The pointing game on a trained captioner: is the attention of a word for an object highest inside the object?"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from vl_keras.metrics.pointing_game import boxes_of_word, pointing_game

if TYPE_CHECKING:
    from vl_keras.tasks.captioning import CaptioningTask
    from vl_keras.tasks.writing.explain_captions import Explainer


def play_pointing_game(
    task: CaptioningTask,
    explainer: Explainer,
    split: str,
    limit: int = 0,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Writes captions, and compares the attention of the words for objects with the boxes of these objects.

    Args:
        task: a `CaptioningTask` whose data has objects with boxes.
        explainer: an `Explainer` of its captioner.
        split: name.
        limit: only the first so many images; 0: all.
        progress: called with the number of images that are done.

    Returns:
        The result of `pointing_game`. A word that names nothing in the image (the caption is wrong) does not count.
    """
    source = task.source(split)
    count = min(limit, len(source)) if limit else len(source)
    trials = []
    batches = task.evaluation_data(explainer.captioner, split, explainer.batch_size)
    done = 0
    for inputs, indices in itertools.islice(batches, -(-count // explainer.batch_size)):
        explanations, _ = explainer(dict(inputs))
        for index, explanation in zip(indices.numpy()[: count - done], explanations, strict=False):
            for place in range(len(explanation.words)):
                boxes = boxes_of_word(explanation.words, place, source.objects[index])
                if boxes and explanation.attention is not None:
                    trials.append((explanation.attention[place], boxes))
        done = min(done + len(explanations), count)
        if progress is not None:
            progress(done)
    return pointing_game(trials)

"""The pointing game on a trained captioner: for the words that name objects, did it look at them?"""

import itertools

from vl_keras.metrics.pointing_game import boxes_of_word, pointing_game


def play_pointing_game(task, explainer, split, limit=0, progress=None):
    """Writes captions and compares where the model looked with the boxes of the objects that it named.

    Args:
        task: a `CaptioningTask` whose data has objects with boxes.
        explainer: an `Explainer` of its captioner.
        split: name.
        limit: only the first so many images; 0: all.
        progress: called with the number of images that are done.

    Returns:
        What `pointing_game` returns. A word that names nothing in the image (the caption is wrong) is no trial.
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
                if boxes:
                    trials.append((explanation.attention[place], boxes))
        done = min(done + len(explanations), count)
        if progress is not None:
            progress(done)
    return pointing_game(trials)

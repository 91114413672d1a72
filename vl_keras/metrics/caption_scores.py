"""The measures of captioning, through pycocoevalcap's scorers: BLEU, ROUGE-L, CIDEr-D; with Java METEOR and SPICE."""

import contextlib
import dataclasses
import io
import shutil
from pathlib import Path

import numpy as np

from vl_keras.metrics.bootstrap import bleu_of_sums, bootstrap_interval
from vl_keras.metrics.character_tokenizer import character_tokenize, mostly_cjk
from vl_keras.metrics.ptb_tokenizer import ptb_tokenize

TOKENIZERS = {"ptb": ptb_tokenize, "character": character_tokenize}


@dataclasses.dataclass
class CaptionScores:
    """Scores of a set of captions.

    Attributes:
        measures: measure to score: "BLEU-1" to "BLEU-4", "METEOR" and "SPICE" between 0 and 100, "ROUGE-L" between 0
            and 1, "CIDEr-D" between 0 and 10, each as it is usually quoted.
        per_image: measure to `(N,)` scores of the images, in the order of `image_ids`.
        image_ids: the N image ids.
        bleu_statistics: `(N, 10)` counts of each image, as `bleu_of_sums` takes them.
        tokenizer: ptb or character.
        notes: plain lines about measures that could not be run.
    """

    metrics: dict
    per_image: dict
    image_ids: list
    bleu_statistics: np.ndarray
    tokenizer: str
    notes: list

    def intervals(self, resamples=1000, level=0.95, seed=0):
        """Measure to `(low, high)`: percentile bootstrap over images, corpus BLEU computed anew for each resample.

        METEOR has none: its score is of all captions together, which the mean of single captions' scores does not tell.
        """
        intervals = {}
        for measure, scores in self.per_image.items():
            if measure == "METEOR":
                continue
            if measure.startswith("BLEU-"):
                order = int(measure[-1])

                def score(sums, count, order=order):
                    return bleu_of_sums(sums, order)

                intervals[measure] = bootstrap_interval(self.bleu_statistics, score, resamples, level, seed)
            else:
                intervals[measure] = bootstrap_interval(scores, None, resamples, level, seed)
        return intervals


def score_captions(references, candidates, tokenizer="auto", with_java=False):
    """Scores one caption per image against its references.

    Args:
        references: dict of image id to list of reference captions, as they were written.
        candidates: dict of image id to caption.
        tokenizer: ptb (English and other spaced languages), character (Chinese, Japanese), or auto: character where
            the references are mostly Chinese or Japanese.
        with_java: also run METEOR and SPICE. Where they cannot run, a note says why.

    Returns:
        `CaptionScores`.

    Raises:
        ValueError: the image ids of the two do not agree, an image has no reference, or the tokenizer is unknown.
    """
    _check(references, candidates, tokenizer)
    if tokenizer == "auto":
        tokenizer = "character" if mostly_cjk([c for captions in references.values() for c in captions]) else "ptb"
    tokenize = TOKENIZERS[tokenizer]
    image_ids = list(references)
    truths = {key: tokenize(references[key]) for key in image_ids}
    guesses = {key: tokenize([candidates[key]]) for key in image_ids}
    metrics, per_image, notes = {}, {}, []
    statistics = bleu_statistics(truths, guesses)
    for order in range(1, 5):
        metrics[f"BLEU-{order}"] = float(bleu_of_sums(statistics.sum(axis=0), order))
        per_image[f"BLEU-{order}"] = bleu_of_sums(statistics, order)
    for measure, scorer in _scorers(with_java, tokenizer, notes):
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                score, scores = scorer(truths, guesses)
        except Exception as error:  # a Java child can fail in any way; the other scores still stand
            if measure not in ("METEOR", "SPICE"):
                raise
            notes.append(f"{measure} was not measured: its Java program failed ({type(error).__name__}: {error}).")
            continue
        metrics[measure], per_image[measure] = float(score), np.asarray(scores, np.float64)
    return CaptionScores(metrics, per_image, image_ids, statistics, tokenizer, notes)


def bleu_statistics(references, candidates):
    """Per-image counts for BLEU.

    Args:
        references: dict of image id to list of tokenized captions.
        candidates: dict of the same ids to lists of one tokenized caption.

    Returns:
        `(N, 10)` float64, as `bleu_of_sums` takes them; the reference length is the closest one, the shorter on a tie.
    """
    from pycocoevalcap.bleu.bleu_scorer import BleuScorer

    scorer = BleuScorer(n=4)
    for key in references:
        scorer += (candidates[key][0], references[key])
    rows = []
    for counts in scorer.ctest:
        closest = min((abs(length - counts["testlen"]), length) for length in counts["reflen"])[1]
        rows.append([*counts["correct"], *counts["guess"], counts["testlen"], closest])
    return np.asarray(rows, np.float64).reshape(-1, 10)


def _scorers(with_java, tokenizer, notes):
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    yield "ROUGE-L", Rouge().compute_score
    yield "CIDEr-D", Cider().compute_score
    if not with_java:
        return
    if tokenizer != "ptb":
        notes.append("METEOR and SPICE were not measured: they read English only.")
    elif not shutil.which("java"):
        notes.append("METEOR and SPICE were not measured: no `java` is on the PATH (they need Java 8 or later).")
    else:
        yield "METEOR", _meteor
        import pycocoevalcap.spice

        folder = Path(pycocoevalcap.spice.__file__).parent / "lib"
        if list(folder.glob("stanford-corenlp-*-models.jar")):
            yield "SPICE", _spice
        else:
            notes.append(
                "SPICE was not measured: it needs the models of Stanford CoreNLP 3.6.0. `python -c 'from pycocoevalcap."
                "spice.get_stanford_models import get_stanford_models; get_stanford_models()'` downloads them."
            )


def _meteor(references, candidates):
    from pycocoevalcap.meteor.meteor import Meteor

    # METEOR's program has no line for an empty caption; a word that is in no reference scores zero as well.
    candidates = {key: [caption or "_"] for key, (caption,) in candidates.items()}
    scorer = Meteor()
    score, scores = scorer.compute_score(references, candidates)
    return 100 * score, 100 * np.asarray(scores)


def _spice(references, candidates):
    from pycocoevalcap.spice.spice import Spice

    score, scores = Spice().compute_score(references, candidates)
    return 100 * score, [100 * image["All"]["f"] for image in scores]


def _check(references, candidates, tokenizer):
    if tokenizer not in (*TOKENIZERS, "auto"):
        raise ValueError(f"`tokenizer` must be one of {', '.join(TOKENIZERS)}, auto; got {tokenizer!r}.")
    if not references:
        raise ValueError("There is nothing to score: `references` is empty.")
    if missing := [key for key in references if key not in candidates]:
        raise ValueError(f"{len(missing)} images have references but no caption to score: {_some(missing)}.")
    if extra := [key for key in candidates if key not in references]:
        raise ValueError(f"{len(extra)} captions are for images without references: {_some(extra)}.")
    if bare := [key for key, captions in references.items() if not captions]:
        raise ValueError(f"{len(bare)} images have an empty list of references: {_some(bare)}.")


def _some(keys, limit=3):
    return ", ".join(str(key) for key in keys[:limit]) + (", …" if len(keys) > limit else "")

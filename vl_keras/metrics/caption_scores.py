"""The metrics of captioning, by pycocoevalcap's scorers: BLEU, ROUGE-L and CIDEr-D; with Java also METEOR and SPICE."""

import contextlib
import dataclasses
import io
import shutil
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vl_keras.metrics.bootstrap import bleu_of_sums, bootstrap_interval
from vl_keras.metrics.character_tokenizer import character_tokenize, mostly_cjk
from vl_keras.metrics.ptb_tokenizer import is_dropped, ptb_tokenize
from vl_keras.metrics.rouge_l import rouge_l

TOKENIZERS: dict[str, Callable[[Sequence[str]], list[str]]] = {
    "ptb": ptb_tokenize,
    "character": character_tokenize,
}

_Scorer = Callable[[dict[str, list[str]], dict[str, list[str]]], tuple[float, Any]]


@dataclasses.dataclass
class CaptionScores:
    """Scores of a set of captions.

    Attributes:
        metrics: metric to score: "BLEU-1" to "BLEU-4", "METEOR" and "SPICE" between 0 and 100, "ROUGE-L" between 0 and
            1, "CIDEr-D" between 0 and 10, each on its usual scale.
        per_image: metric to `(N,)` scores of the images, in the order of `image_ids`.
        image_ids: the N image ids.
        bleu_statistics: `(N, 10)` counts of each image, as `bleu_of_sums` takes them.
        tokenizer: ptb or character.
        notes: sentences about metrics that could not be computed, and about captions whose score says little.
    """

    metrics: dict[str, float]
    per_image: dict[str, np.ndarray]
    image_ids: list[str]
    bleu_statistics: np.ndarray
    tokenizer: str
    notes: list[str]

    def intervals(self, resamples: int = 1000, level: float = 0.95, seed: int = 0) -> dict[str, tuple[float, float]]:
        """Percentile bootstrap intervals over images; corpus BLEU is computed anew for each resample.

        METEOR has no interval: its score of all captions is not the mean of the scores of single captions.

        Args:
            resamples, level, seed: see `bootstrap_interval`.

        Returns:
            Dict of metric -> `(low, high)`.
        """
        intervals = {}
        for metric, scores in self.per_image.items():
            if metric == "METEOR":
                continue
            if metric.startswith("BLEU-"):
                order = int(metric[-1])

                def score(sums: np.ndarray, count: int, order: int = order) -> np.ndarray:
                    return bleu_of_sums(sums, order)

                intervals[metric] = bootstrap_interval(self.bleu_statistics, score, resamples, level, seed)
            else:
                intervals[metric] = bootstrap_interval(scores, None, resamples, level, seed)
        return intervals


def score_captions(
    references: Mapping[str, Sequence[str]],
    candidates: Mapping[str, str],
    tokenizer: str = "auto",
    with_java: bool = False,
) -> CaptionScores:
    """Scores one caption per image against its references.

    A caption or reference of which the tokenizer leaves nothing, e.g. emoji alone, agrees with nothing: it scores 0,
    and `notes` counts it.

    Args:
        references: image id to reference captions, not tokenized.
        candidates: image id to caption.
        tokenizer: ptb (English and other languages with spaces), character (Chinese, Japanese), or auto: character if
            the references are mostly Chinese or Japanese.
        with_java: whether to compute METEOR and SPICE too. If they cannot run, a note says why.

    Returns:
        `CaptionScores`.

    Raises:
        ValueError: the image ids of the two dicts differ, an image has no reference, or the tokenizer is unknown.
    """
    _check(references, candidates, tokenizer)
    if tokenizer == "auto":
        tokenizer = "character" if mostly_cjk([c for captions in references.values() for c in captions]) else "ptb"
    tokenize = TOKENIZERS[tokenizer]
    image_ids = list(references)
    truths = {key: tokenize(references[key]) for key in image_ids}
    guesses = {key: tokenize([candidates[key]]) for key in image_ids}
    metrics: dict[str, float] = {}
    per_image: dict[str, np.ndarray] = {}
    written = [*candidates.values(), *(caption for captions in references.values() for caption in captions)]
    notes = [*_empty_notes(truths, guesses), *(_dropped_notes(written) if tokenizer == "ptb" else [])]
    if len(image_ids) == 1:
        notes.append(
            "CIDEr-D of a single image is 0 by its definition: it weighs words by how few of the images have them."
        )
    statistics = bleu_statistics(truths, guesses)
    for order in range(1, 5):
        metrics[f"BLEU-{order}"] = float(bleu_of_sums(statistics.sum(axis=0), order))
        per_image[f"BLEU-{order}"] = bleu_of_sums(statistics, order)
    for metric, scorer in _scorers(with_java, tokenizer, notes):
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                score, scores = scorer(truths, guesses)
        except Exception as error:  # a Java process can fail in many ways; the other scores stay valid
            if metric not in ("METEOR", "SPICE"):
                raise
            notes.append(f"{metric} was not computed: its Java program failed ({type(error).__name__}: {error}).")
            continue
        metrics[metric], per_image[metric] = float(score), np.asarray(scores, np.float64)
    return CaptionScores(metrics, per_image, image_ids, statistics, tokenizer, notes)


def bleu_statistics(references: Mapping[str, list[str]], candidates: Mapping[str, list[str]]) -> np.ndarray:
    """Per-image counts for BLEU.

    Args:
        references: image id to tokenized captions.
        candidates: the same image ids to a list of one tokenized caption.

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


def _scorers(with_java: bool, tokenizer: str, notes: list[str]) -> Iterator[tuple[str, _Scorer]]:
    yield "ROUGE-L", _rouge
    yield "CIDEr-D", _cider
    if not with_java:
        return
    if tokenizer != "ptb":
        notes.append("METEOR and SPICE were not computed: they are for English only.")
    elif not shutil.which("java"):
        notes.append("METEOR and SPICE were not computed: no `java` is on the PATH (they need Java 8 or later).")
    else:
        yield "METEOR", _meteor
        import pycocoevalcap.spice

        folder = Path(pycocoevalcap.spice.__file__).parent / "lib"
        if list(folder.glob("stanford-corenlp-*-models.jar")):
            yield "SPICE", _spice
        else:
            notes.append(
                "SPICE was not computed: it needs the models of Stanford CoreNLP 3.6.0. `python -c 'from pycocoevalcap."
                "spice.get_stanford_models import get_stanford_models; get_stanford_models()'` downloads them."
            )


def _rouge(references: dict[str, list[str]], candidates: dict[str, list[str]]) -> tuple[float, np.ndarray]:
    scores = np.array([rouge_l(references[key], caption) for key, (caption,) in candidates.items()])
    return float(scores.mean()), scores


def _cider(references: dict[str, list[str]], candidates: dict[str, list[str]]) -> tuple[float, np.ndarray]:
    from pycocoevalcap.cider.cider import Cider

    if not any(caption for captions in references.values() for caption in captions):
        return 0.0, np.zeros(len(references))  # the original fails without a single word
    return Cider().compute_score(references, candidates)  # type: ignore[no-any-return]


def _meteor(references: dict[str, list[str]], candidates: dict[str, list[str]]) -> tuple[float, np.ndarray]:
    from pycocoevalcap.meteor.meteor import Meteor

    # METEOR's program outputs no line for an empty caption. A word that is in no reference also scores zero.
    candidates = {key: [caption or "_"] for key, (caption,) in candidates.items()}
    scorer = Meteor()
    score, scores = scorer.compute_score(references, candidates)
    return 100 * score, 100 * np.asarray(scores)


def _spice(references: dict[str, list[str]], candidates: dict[str, list[str]]) -> tuple[float, list[float]]:
    from pycocoevalcap.spice.spice import Spice

    score, scores = Spice().compute_score(references, candidates)
    return 100 * score, [100 * image["All"]["f"] for image in scores]


def _empty_notes(truths: Mapping[str, list[str]], guesses: Mapping[str, list[str]]) -> list[str]:
    """Counts references and captions of which the tokenizer left nothing."""
    notes = []
    for kind, rows in (("references", truths), ("captions written", guesses)):
        empty = [key for key, captions in rows.items() if "" in captions]
        if empty:
            count, total = sum(rows[key].count("") for key in empty), sum(map(len, rows.values()))
            notes.append(
                f"{count} of {total} {kind} have no word that is scored, e.g. emoji or punctuation alone; they agree "
                f"with nothing. Images: {_some(empty)}."
            )
    return notes


def _dropped_notes(captions: Sequence[str]) -> list[str]:
    """Says which letters and vowel signs the PTB tokenizer of pycocoevalcap, and so ours, drops from words."""
    characters = sorted(set("".join(captions)))
    letters = "".join(c for c in characters if not c.isascii() and unicodedata.category(c)[0] in "LM" and is_dropped(c))
    if not letters:
        return []
    count = sum(any(letter in caption for letter in letters) for caption in captions)
    names = _some([unicodedata.name(letter, ascii(letter)) for letter in letters])
    return [
        f"{count} captions and references contain letters or signs that pycocoevalcap's PTB tokenizer drops, so that "
        f"their words break ({names}); scores of such texts say little."
    ]


def _check(references: Mapping[str, Sequence[str]], candidates: Mapping[str, str], tokenizer: str) -> None:
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


def _some(keys: Sequence[str], limit: int = 3) -> str:
    return ", ".join(str(key) for key in keys[:limit]) + (", …" if len(keys) > limit else "")

"""ROUGE-L as the COCO evaluation computes it, in time that long captions can bear."""

from collections.abc import Sequence

_BETA = 1.2  # weight of recall, as in pycocoevalcap


def rouge_l(references: Sequence[str], candidate: str) -> float:
    """ROUGE-L of a caption (Lin, 2004, section 3.1): recall and precision each from the reference that gives the best.

    The scores are those of pycocoevalcap, whose table of all pairs of words takes minutes for two texts of 10,000
    words; only a caption without a word differs: it scores 0 here, and equals a reference without a word there.

    Args:
        references: tokenized captions, their tokens joined by spaces; at least one.
        candidate: the tokenized caption.

    Returns:
        Float, 0 to 1.
    """
    words = candidate.split(" ") if candidate else []
    if not words:
        return 0.0
    truths = [reference.split(" ") if reference else [] for reference in references]
    common = [longest_common_subsequence(words, truth) for truth in truths]
    precision = max(common) / len(words)
    recall = max(count / len(truth) if truth else 0.0 for count, truth in zip(common, truths, strict=True))
    if not precision or not recall:
        return 0.0
    return (1 + _BETA**2) * precision * recall / (recall + _BETA**2 * precision)


def longest_common_subsequence(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest common subsequence of two lists of words, a row of the table at a time as bits of an int.

    Bit i of `row` is 0 where the table's row grows at word i of `one` (Hyyrö, 2004).
    """
    places: dict[str, int] = {}
    for index, word in enumerate(one):
        places[word] = places.get(word, 0) | 1 << index
    full = (1 << len(one)) - 1
    row = full
    for word in other:
        matches = row & places.get(word, 0)
        row = (row + matches | row - matches) & full
    return len(one) - row.bit_count()

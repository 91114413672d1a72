"""Tokens of captions in Chinese or Japanese, which are scored character by character."""

import re
import unicodedata
from collections.abc import Sequence

_CJK_RANGES = [(0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3040, 0x30FA), (0x30FC, 0x30FF), (0x31F0, 0x31FF)]
_CJK_RANGES += [(0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0xFF66, 0xFF9F), (0x20000, 0x3FFFF)]
_CJK = "[" + "".join(f"{chr(first)}-{chr(last)}" for first, last in _CJK_RANGES) + "]"


def character_tokenize(captions: Sequence[str]) -> list[str]:
    """Makes every Chinese or Japanese character a token; words of other scripts stay whole.

    Args:
        captions: captions in any script.

    Returns:
        The tokens of each caption joined by spaces, in Unicode NFKC (full-width letters become plain) and lower case,
        without punctuation.
    """
    tokenized = []
    for caption in captions:
        caption = unicodedata.normalize("NFKC", caption).lower()
        caption = "".join(" " if unicodedata.category(character)[0] == "P" else character for character in caption)
        tokenized.append(" ".join(re.sub(f"({_CJK})", r" \1 ", caption).split()))
    return tokenized


def mostly_cjk(captions: Sequence[str]) -> bool:
    """Whether more than half of the captions' letters are Chinese or Japanese."""
    text = "".join(captions)
    letters = sum(character.isalpha() for character in text)
    return len(re.findall(_CJK, text)) * 2 > letters > 0

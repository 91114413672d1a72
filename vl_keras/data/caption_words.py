"""Content words of captions, which can serve as an image's context, and captions of mirrored images."""

import hashlib
import re
import unicodedata

# English function words, and words such as "there" that do not describe the image.
STOP_WORDS = frozenset(
    """a about above across after again against all along also am among an and another any are around as at away be
    because been before behind being below beneath beside between both but by can could did do does doing down during
    each either few for from get gets getting had has have having he her here hers him his how i if in inside into is it
    its itself just like many may me more most much my near next no nor not of off on one onto or other others our out
    outside over own she should so some something such than that the their them themselves then there these they this
    those through to together too toward towards under until up upon us very was we were what when where which while who
    whom whose why will with within without would you your""".split()
)

_SIDES = {"left": "right", "right": "left"}
_SIDE = re.compile(r"\b(left|right)\b", re.IGNORECASE)


def content_words(caption: str) -> str:
    """The words of a caption without stop words, punctuation and repetitions, in lower case, joined by spaces."""
    letters = (
        " " if unicodedata.category(character)[0] in "PSZC" and character not in "'’-" else character
        for character in caption.lower()
    )
    words = (word.strip("'’-").removesuffix("'s").removesuffix("’s") for word in "".join(letters).split())
    return " ".join(dict.fromkeys(word for word in words if word and word not in STOP_WORDS))


def set_aside_caption(image_id: str, caption_count: int) -> int:
    """Chooses the caption of an image that becomes its context at evaluation; the choice depends on the id alone.

    Returns:
        Index from 0, or -1 for an image with fewer than two captions: a single caption stays its reference.
    """
    if caption_count < 2:
        return -1
    digest = hashlib.blake2b(str(image_id).encode("utf-8"), digest_size=8).digest()
    return int.from_bytes(digest, "little") % caption_count


def swap_sides(text: str) -> str:
    """Exchanges the words "left" and "right", for the caption of a mirrored image; capitals are kept."""

    def other(match: re.Match[str]) -> str:
        word = match.group()
        swapped = _SIDES[word.lower()]
        return swapped.upper() if word.isupper() else swapped.capitalize() if word[0].isupper() else swapped

    return _SIDE.sub(other, text)

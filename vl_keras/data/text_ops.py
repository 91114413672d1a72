"""Captions to WordPiece ids and back, in the graph: the same operations in training and in the served model."""

import collections
import string
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

import tensorflow as tf
import tensorflow_text as tf_text
from tensorflow_text.tools.wordpiece_vocab import wordpiece_tokenizer_learner_lib as wordpiece_learner

from vl_keras.errors import ConfigError

# Chinese and Japanese are written without spaces, so each of these characters is treated as a word: radicals, CJK
# punctuation, kana, ideographs with their extensions, full-width forms (RE2 syntax). Marks stay with their character.
_CJK = (
    r"[\x{2E80}-\x{2FDF}\x{3000}-\x{30FF}\x{31F0}-\x{31FF}\x{3400}-\x{4DBF}\x{4E00}-\x{9FFF}\x{F900}-\x{FAFF}"
    r"\x{FE30}-\x{FE4F}\x{FF00}-\x{FF9F}\x{FFE0}-\x{FFE6}\x{20000}-\x{3FFFF}]\p{M}*"
)
_ENDINGS = ("'s", "’s")  # separate pieces, so that "man's" shares the token of "man"
_MAX_WORD_BYTES = 400  # a longer word (e.g. a long URL) becomes the unknown token
_MAX_TOKEN_BYTES = 256  # without "##"; tensorflow-text's tokenizer takes no longer token


def normalise(strings: tf.Tensor) -> tf.Tensor:
    """Converts strings of any shape to lower case and Unicode NFC, with single spaces; bad UTF-8 becomes U+FFFD."""
    strings = tf.strings.unicode_transcode(strings, "UTF-8", "UTF-8", errors="replace")
    strings = tf_text.normalize_utf8(tf.strings.lower(strings, encoding="utf-8"), "NFC")
    return tf.strings.strip(tf.strings.regex_replace(strings, r"[\s\p{Z}\p{Cc}]+", " "))


def tidy_caption(strings: tf.Tensor) -> tf.Tensor:
    """The form of a training target: `normalise`, without the final full stop and the space before it."""
    return tf.strings.regex_replace(normalise(strings), r"(\s*[.。．])+$", "")


class CaptionTokenizer:
    """WordPiece (Song et al., 2021, through tensorflow-text) over a vocabulary learned from captions.

    Captions are split only at white space and around every Chinese or Japanese character. So punctuation inside or
    after a word becomes a continuation piece ("street." is "street", "##.") and is joined again by `detokenize`. A word
    with a character that is not in the vocabulary becomes one `[UNK]`.

    `tokenize`, `encode` and `detokenize` work eagerly, in a `tf.function`, in tf.data and in a SavedModel, which then
    contains the vocabulary.

    Args:
        vocab: tokens in the order of their ids; the first four are `[PAD]`, `[UNK]`, `[START]`, `[END]`.

    Raises:
        ConfigError: the first tokens are not these, or a token is empty, longer than 256 bytes, contains white space
            or occurs twice.
    """

    PAD, UNK, START, END = range(4)
    max_length = 0  # set by its users
    is_learned = True  # learned from the training texts, so a run stores it
    SPECIALS = ("[PAD]", "[UNK]", "[START]", "[END]")

    def __init__(self, vocab: Iterable[str]) -> None:
        self.vocab = [str(token) for token in vocab]
        _check_vocabulary(self.vocab, self.SPECIALS, "The vocabulary")
        self._wordpiece = tf_text.FastWordpieceTokenizer(
            self.vocab,
            max_bytes_per_word=_MAX_WORD_BYTES,
            token_out_type=tf.int32,
            unknown_token=self.SPECIALS[self.UNK],
            no_pretokenization=True,
            support_detokenization=True,
        )
        self._continues = tf.constant([token.startswith("##") and len(token) > 2 for token in self.vocab])

    @property
    def vocab_size(self) -> int:
        """Number of tokens."""
        return len(self.vocab)

    @classmethod
    def learn(cls, captions: Iterable[str], vocab_size: int, min_count: int | None = None) -> "CaptionTokenizer":
        """Learns a vocabulary from captions, whose order does not matter.

        It contains the special tokens, then all characters, alone and as continuations, then the most frequent words,
        then pieces of rarer words that tensorflow-text's learner finds. If the frequent words do not all fit, a tenth
        of the room is reserved for pieces, so that other words are not split into single characters.

        Args:
            captions: training captions.
            vocab_size: largest number of tokens, including the special ones.
            min_count: smallest number of occurrences of a word or piece; by default 5, and with fewer than 5,000
                captions one per thousand, but at least 1.
        """
        return cls(_learn_vocabulary(captions, vocab_size, min_count, list(cls.SPECIALS)))

    def extend(self, captions: Iterable[str], vocab_size: int, min_count: int | None = None) -> "CaptionTokenizer":
        """Returns a tokenizer that keeps all ids of this one and adds tokens for `captions`, up to `vocab_size`."""
        return type(self)(_learn_vocabulary(captions, vocab_size, min_count, self.vocab))

    @classmethod
    def load(cls, path: str | Path) -> "CaptionTokenizer":
        """Reads a file that `save` wrote.

        Raises:
            ConfigError: the file does not exist or is not a vocabulary; the message names file and line.
        """
        try:
            text = Path(path).expanduser().read_bytes().decode("utf-8")
        except FileNotFoundError:
            raise ConfigError(f"There is no vocabulary file `{path}`.") from None
        except UnicodeDecodeError as error:
            raise ConfigError(f"The vocabulary file `{path}` is not UTF-8: {error}.") from None
        vocab = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
        _check_vocabulary(vocab, cls.SPECIALS, f"The vocabulary file `{path}`")
        return cls(vocab)

    def save(self, path: str | Path) -> None:
        """Writes the vocabulary in UTF-8, one token a line, in the order of the ids."""
        Path(path).write_bytes(("\n".join(self.vocab) + "\n").encode("utf-8"))

    tidy = staticmethod(tidy_caption)

    def tokenize(self, strings: tf.Tensor) -> tf.RaggedTensor:
        """`(B,)` strings -> `(B, None)` ragged int32 ids, without special tokens except `[UNK]`."""
        return self._wordpiece.tokenize(tf.strings.split(_space_out(normalise(strings)))).merge_dims(1, 2)

    def encode(self, strings: tf.Tensor, max_length: int) -> tf.Tensor:
        """`(B,)` strings -> `(B, max_length)` int32: ids, `[END]`, `[PAD]`s; a long caption is cut before `[END]`."""
        ids = self.tokenize(strings)[:, : max_length - 1]
        end = tf.fill([ids.nrows(), 1], tf.constant(self.END, tf.int32))
        return tf.concat([ids, tf.RaggedTensor.from_tensor(end)], axis=1).to_tensor(self.PAD, shape=[None, max_length])

    def detokenize(self, ids: tf.Tensor) -> tf.Tensor:
        """`(..., L)` integer ids -> `(...)` strings, up to the first `[END]` and without special tokens.

        Commas and similar marks follow their word without a space.
        """
        ids = tf.cast(ids, tf.int32)
        rows = tf.reshape(ids, [-1, tf.shape(ids)[-1]])
        before_end = tf.cumsum(tf.cast(rows == self.END, tf.int32), axis=1) == 0
        pieces = tf.ragged.boolean_mask(rows, before_end & (rows >= len(self.SPECIALS)))
        text = self._wordpiece.detokenize(pieces)
        # A model may write a caption that starts with a continuation piece; there is no word to join it to.
        opening = tf.gather(self._continues, pieces[:, :1].to_tensor(self.PAD, shape=[None, 1])[:, 0])
        text = tf.where(opening, tf.strings.regex_replace(text, "^##", ""), text)
        for _ in range(2):  # matches do not overlap, so each pass closes every second gap
            text = tf.strings.regex_replace(text, f"({_CJK}) ({_CJK})", r"\1\2")
        text = tf.strings.regex_replace(text, r" ([,.;:!?])", r"\1")
        text = tf.reshape(text, tf.shape(ids)[:-1])
        return tf.ensure_shape(text, ids.shape[:-1])


def _space_out(text: tf.Tensor) -> tf.Tensor:
    """Puts spaces around every CJK character, and around every "#" of a "##", which marks continuation pieces."""
    hashes = tf.strings.regex_full_match(text, ".*##.*")
    text = tf.where(hashes, tf.strings.regex_replace(text, "#", " # "), text)
    return tf.strings.regex_replace(text, f"({_CJK})", r" \1 ")


def _check_vocabulary(vocab: Sequence[str], specials: Sequence[str], name: str) -> None:
    if tuple(vocab[: len(specials)]) != tuple(specials):
        raise ConfigError(f"{name} must begin with {', '.join(specials)}, one a line; it begins with {vocab[:4]!r}.")
    seen: dict[str, int] = {}
    for index, token in enumerate(vocab):
        if not token or token.split() != [token]:
            raise ConfigError(
                f"{name}, line {index + 1}: a token must not be empty or contain white space; got {token!r}."
            )
        if token in seen:
            raise ConfigError(f"{name}: token {token!r} appears twice, on lines {seen[token] + 1} and {index + 1}.")
        seen[token] = index
        if _too_long(token):
            raise ConfigError(
                f'{name}, line {index + 1}: a token must have at most {_MAX_TOKEN_BYTES} bytes in UTF-8, without "##"; '
                f"{token[:20]!r}… has {len(token.encode())}."
            )


def _too_long(token: str, most: int = _MAX_TOKEN_BYTES) -> bool:
    return len(token) * 4 > most and len(token.removeprefix("##").encode("utf-8")) > most


def _learn_vocabulary(
    captions: Iterable[str], vocab_size: int, min_count: int | None, start: Sequence[str]
) -> list[str]:
    captions = list(captions)
    if min_count is None:
        min_count = min(5, max(1, len(captions) // 1000))
    words, endings, characters = _count_words(captions)
    if vocab_size >= 1000:  # enough room for all ASCII characters, so that any ASCII word can be written
        characters.update(dict.fromkeys(string.ascii_lowercase + string.digits + string.punctuation, 0))
    tokens = dict.fromkeys(start)  # a dict keeps the order

    def add(new: Iterable[str], limit: int) -> None:
        for token in new:
            if len(tokens) >= limit:
                return
            tokens.setdefault(token)

    def by_count(counts: collections.Counter[str]) -> list[str]:
        return sorted(counts, key=lambda token: (-counts[token], token))

    # A CJK character never continues a word, so its continuation would waste one of thousands of tokens.
    ordered = by_count(characters)
    alone = tf.strings.regex_full_match(tf.constant(ordered, tf.string), _CJK).numpy()
    for character, never_continues in zip(ordered, alone, strict=True):
        add([character] if never_continues else [character, f"##{character}"], vocab_size)
    whole = words + endings
    frequent = [
        word for word in by_count(whole) if whole[word] >= min_count and word not in tokens and not _too_long(word)
    ]
    room = vocab_size - len(tokens)
    add(frequent, vocab_size if len(frequent) <= room else len(tokens) + room - room // 10)
    if words and len(tokens) < vocab_size:
        pieces = wordpiece_learner.learn(
            sorted(words.items()),
            vocab_size,
            reserved_tokens=[],
            upper_thresh=min_count,
            lower_thresh=min_count,
            max_unique_chars=len(characters),
        )
        add([piece for piece in pieces if len(piece.removeprefix("##")) > 1 and not _too_long(piece)], vocab_size)
    add(frequent, vocab_size)
    return list(tokens)


def _count_words(
    captions: Sequence[str],
) -> tuple[collections.Counter[str], collections.Counter[str], collections.Counter[str]]:
    """Counts words, `##'s` endings and characters in normalised captions.

    Words that `tokenize` makes unknown, because they are too long, are left out: only their characters count. (The
    learner of pieces lists all substrings of a word.)
    """
    written: collections.Counter[str] = collections.Counter()
    for start in range(0, len(captions), 4096):
        for text in _space_out(normalise(captions[start : start + 4096])).numpy().tolist():
            written.update(text.decode("utf-8").split())
    words: collections.Counter[str] = collections.Counter()
    endings: collections.Counter[str] = collections.Counter()
    characters: collections.Counter[str] = collections.Counter()
    for word, count in written.items():
        for character in word:
            characters[character] += count
        if _too_long(word, _MAX_WORD_BYTES):
            continue
        core = _without_edge_punctuation(word)
        for ending in _ENDINGS:
            if core.endswith(ending) and len(core) > len(ending):
                core = core.removesuffix(ending)
                endings[f"##{ending}"] += count
        words[core] += count
    return words, endings, characters


def _without_edge_punctuation(word: str) -> str:
    """ "(street)." -> "street": punctuation around a word becomes separate pieces. Punctuation alone stays."""
    if word in _ENDINGS:
        return word
    inner = [index for index, character in enumerate(word) if unicodedata.category(character)[0] not in "PS"]
    return word[inner[0] : inner[-1] + 1] if inner else word

import re
import zipfile

import numpy as np
import pytest
import tensorflow as tf

from vl_keras.data.text_ops import CaptionTokenizer, normalise, tidy_caption
from vl_keras.errors import ConfigError

CAPTIONS = [
    "A man's tri-colored dog runs .",
    "Two dogs (one brown) run on the street.",
    "A T-shirt , a ball and a man 's hat",
    "the dog jumps",
]
CHINESE = ["一个男人在街上走。", "一只狗和一个球", "犬がボールを追いかけている", "ガラスの前の犬"]


@pytest.fixture(scope="module")
def tokenizer():
    return CaptionTokenizer.learn(CAPTIONS, 400)


def round_trip(tokenizer, captions, max_length=80):
    texts = tokenizer.detokenize(tokenizer.encode(tf.constant(captions), max_length))
    return [text.decode("utf-8") for text in texts.numpy()]


def pieces(tokenizer, caption):
    return [tokenizer.vocab[i] for i in tokenizer.tokenize(tf.constant([caption]))[0].numpy()]


def bare(text):
    return "".join(text.lower().split())


def test_round_trip_keeps_hyphens_apostrophes_and_punctuation_as_written_but_for_a_space_before_it(tokenizer):
    written = [
        "a man's tri-colored dog runs.",
        "two dogs (one brown) run on the street.",
        "a t-shirt, a ball and a man 's hat",
        "the dog jumps",
    ]
    assert round_trip(tokenizer, CAPTIONS) == written


def test_punctuation_in_a_word_is_a_continuation_piece(tokenizer):
    assert pieces(tokenizer, "street.") == ["street", "##."]
    assert pieces(tokenizer, "man's") == ["man", "##'s"]
    assert pieces(tokenizer, "street .") == ["street", "."]


def test_an_unseen_character_makes_its_word_unknown_and_no_other(tokenizer):
    assert pieces(tokenizer, "the żółw runs") == ["the", "[UNK]", "runs"]


def test_words_that_look_like_pieces_or_specials_come_back(tokenizer):
    wide = CaptionTokenizer.learn(CAPTIONS, 1000)
    for caption in ["a ##s dog", "## #", "[end] of [pad]", "#1 dog", "##"]:
        assert bare(round_trip(wide, [caption])[0]) == bare(caption)


def test_encode_ends_pads_and_cuts(tokenizer):
    ids = tokenizer.encode(tf.constant(["the dog jumps", "the", ""]), 3).numpy()
    the, dog = tokenizer.vocab.index("the"), tokenizer.vocab.index("dog")
    np.testing.assert_array_equal(ids, [[the, dog, 3], [the, 3, 0], [3, 0, 0]])
    assert ids.dtype == np.int32


def test_detokenize_stops_at_the_end_and_skips_specials(tokenizer):
    the, dog, s = (tokenizer.vocab.index(token) for token in ("the", "dog", "##s"))
    ids = [[[2, the, 0, dog, 3, the], [s, 1, the, 3, 3, 3]]]
    assert tokenizer.detokenize(tf.constant(ids, tf.int64)).numpy().tolist() == [[b"the dog", b"s the"]]


def test_chinese_and_japanese_are_tokenized_by_character():
    tokenizer = CaptionTokenizer.learn(CHINESE, 200)
    assert pieces(tokenizer, CHINESE[1]) == list(CHINESE[1])
    assert round_trip(tokenizer, CHINESE) == CHINESE
    assert not any(token.startswith("##") for token in tokenizer.vocab)


def test_normalise_folds_case_space_and_composition_and_survives_bad_bytes():
    strings = [" A\u3000B\tc\n", "Cafe\u0301 ÉTÉ", b"\xff dog", ""]
    expected = ["a b c", "café été", "\ufffd dog", ""]
    assert [s.decode("utf-8") for s in normalise(tf.constant(strings)).numpy()] == expected


@pytest.mark.parametrize(
    "caption, target",
    [
        ("A dog .", "a dog"),
        ("A dog.", "a dog"),
        ("a dog !", "a dog !"),
        ("a 1.5 m dog", "a 1.5 m dog"),
        ("狗。", "狗"),
        (".", ""),
    ],
)
def test_tidy_caption_drops_only_the_final_full_stop(caption, target):
    assert tidy_caption(tf.constant(caption)).numpy().decode("utf-8") == target


def test_same_answers_eagerly_in_a_function_in_tf_data_and_in_a_saved_model(tokenizer, tmp_path):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def both(strings):
        ids = tokenizer.encode(strings, 9)
        return {"ids": ids, "text": tokenizer.detokenize(ids)}

    module = tf.Module()
    module.both = both
    tf.saved_model.save(module, tmp_path)
    strings = tf.constant(CAPTIONS)
    ids = tokenizer.encode(strings, 9).numpy()
    text = tokenizer.detokenize(ids).numpy()
    for answer in (both(strings), tf.saved_model.load(tmp_path).both(strings)):
        np.testing.assert_array_equal(answer["ids"].numpy(), ids)
        np.testing.assert_array_equal(answer["text"].numpy(), text)
    dataset = tf.data.Dataset.from_tensor_slices(CAPTIONS).batch(3).map(lambda s: tokenizer.encode(s, 9))
    np.testing.assert_array_equal(np.concatenate(list(dataset.as_numpy_iterator())), ids)


def test_batch_neighbours_do_not_matter(tokenizer):
    alone = np.concatenate([tokenizer.encode(tf.constant([caption]), 7).numpy() for caption in CAPTIONS])
    np.testing.assert_array_equal(tokenizer.encode(tf.constant(CAPTIONS), 7).numpy(), alone)


def test_learning_does_not_depend_on_order_and_keeps_to_its_limit():
    rng = np.random.default_rng(0)
    words = [f"word{i}" for i in range(300)]
    captions = [" ".join(rng.choice(words, 5)) for _ in range(500)]
    for size in (20, 60, 200, 500):
        learned = CaptionTokenizer.learn(captions, size)
        assert learned.vocab_size <= size
        assert learned.vocab == CaptionTokenizer.learn(captions[::-1], size).vocab
        if size >= 60:  # all characters, alone and as continuations, fit
            assert round_trip(learned, captions[:20]) == captions[:20]


def test_frequent_words_are_single_tokens_and_rare_ones_are_not():
    captions = ["a common thing"] * 5 + ["a rarity thing"] * 4
    learned = CaptionTokenizer.learn(captions, 200, min_count=5)
    assert "common" in learned.vocab and "rarity" not in learned.vocab
    assert "rarity" in CaptionTokenizer.learn(captions, 200).vocab


def test_extend_keeps_every_id(tokenizer):
    extended = tokenizer.extend([*CHINESE, "a zebra crossing"], 500)
    assert extended.vocab[: tokenizer.vocab_size] == tokenizer.vocab
    assert "zebra" in extended.vocab and "狗" in extended.vocab
    assert round_trip(extended, CHINESE) == CHINESE


def test_save_and_load(tokenizer, tmp_path, monkeypatch):
    tokenizer.save(tmp_path / "vocabulary.txt")
    assert CaptionTokenizer.load(tmp_path / "vocabulary.txt").vocab == tokenizer.vocab
    monkeypatch.setenv("HOME", str(tmp_path))
    assert CaptionTokenizer.load("~/vocabulary.txt").vocab == tokenizer.vocab


@pytest.mark.parametrize(
    "text, message",
    [
        ("the\n[UNK]\n", r"must begin with \[PAD\], \[UNK\]"),
        ("[PAD]\n[UNK]\n[START]\n[END]\na\na\n", "'a' appears twice, on lines 5 and 6"),
        ("[PAD]\n[UNK]\n[START]\n[END]\na b\n", "line 5"),
        ("[PAD]\n[UNK]\n[START]\n[END]\n\na\n", "line 5"),
    ],
)
def test_a_bad_vocabulary_file_is_refused_by_name_and_line(tmp_path, text, message):
    (tmp_path / "v.txt").write_text(text)
    with pytest.raises(ConfigError, match=message):
        CaptionTokenizer.load(tmp_path / "v.txt")
    with pytest.raises(ConfigError, match="no vocabulary file"):
        CaptionTokenizer.load(tmp_path / "absent.txt")


def test_round_trip_on_all_flickr8k_captions(shared_dir):
    with zipfile.ZipFile(shared_dir / "data/flickr8k/Flickr8k_text.zip") as archive:
        lines = archive.read("Flickr8k.token.txt").decode("utf-8").splitlines()
        train = set(archive.read("Flickr_8k.trainImages.txt").decode("utf-8").split())
    captions = [line.split("\t")[1] for line in lines]
    targets = tidy_caption([line.split("\t")[1] for line in lines if line.split("#")[0] in train])
    targets = [target.decode("utf-8") for target in targets.numpy()]
    learned = CaptionTokenizer.learn(targets, 4000)
    written = [re.sub(r" ([,.;:!?])", r"\1", " ".join(caption.lower().split())) for caption in captions]
    assert round_trip(learned, captions) == written
    counts = {}
    for word in " ".join(targets).split():
        counts[word] = counts.get(word, 0) + 1
    assert [word for word in counts if counts[word] >= 5 and word not in learned.vocab] == []
    assert learned.vocab_size <= 4000

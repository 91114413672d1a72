"""Scores against NumPy float64 transcriptions of the papers' formulas."""

import dataclasses
import json
import math
import shutil
import zipfile
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.texts import TEXTS
from vl_keras.metrics.caption_scores import score_captions
from vl_keras.metrics.character_tokenizer import character_tokenize, mostly_cjk
from vl_keras.metrics.coco_results import read_coco_results, write_coco_results
from vl_keras.metrics.ptb_tokenizer import ptb_tokenize
from vl_keras.metrics.rouge_l import longest_common_subsequence as common_words
from vl_keras.metrics.score_signature import ScoreSignature

WORDS = "a the dog man red ball runs on grass with two kids".split()


def small_set(images=7, seed=0):
    rng = np.random.default_rng(seed)

    def sentence():
        return " ".join(rng.choice(WORDS, rng.integers(3, 12)))

    references = {f"{i}.jpg": [sentence() for _ in range(rng.integers(2, 6))] for i in range(images)}
    # The end of a reference and then something else: some n-grams of every order match, and not all.
    candidates = {key: " ".join(captions[0].split()[1:]) + " " + sentence() for key, captions in references.items()}
    return references, candidates


def ngrams(tokens, n):
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))


def bleu(references, candidates, order):
    """Papineni et al. (2002), section 2.3, closest reference length; log precisions averaged with equal weights."""
    logs = np.zeros(order)
    for n in range(1, order + 1):
        matched = total = 0
        for key, candidate in candidates.items():
            counts = ngrams(candidate, n)
            most = Counter()
            for reference in references[key]:
                most |= ngrams(reference, n)
            matched += sum(min(count, most[gram]) for gram, count in counts.items())
            total += sum(counts.values())
        logs[n - 1] = math.log(matched / total) if matched else -math.inf
    c = sum(len(candidate) for candidate in candidates.values())
    r = sum(
        min((abs(len(reference) - len(candidates[key])), len(reference)) for reference in references[key])[1]
        for key in candidates
    )
    return 100 * math.exp(min(0, 1 - r / c)) * math.exp(logs.mean())


def longest_common_subsequence(a, b):
    table = np.zeros((len(a) + 1, len(b) + 1), int)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1, j + 1] = table[i, j] + 1 if x == y else max(table[i, j + 1], table[i + 1, j])
    return table[-1, -1]


def rouge_l(references, candidate, beta=1.2):
    """Lin (2004), section 3.1, recall and precision each from the best reference, as in the COCO evaluation."""
    common = [longest_common_subsequence(candidate, reference) for reference in references]
    precision = max(c / len(candidate) for c in common)
    recall = max(c / len(reference) for c, reference in zip(common, references, strict=True))
    return (1 + beta**2) * precision * recall / (recall + beta**2 * precision) if precision * recall else 0.0


def cider_d(references, candidates, sigma=6.0):
    """Vedantam et al. (2015), equation 4 (CIDEr-D): clipped TF-IDF cosine, length penalty, times 10, mean over n."""
    images = len(references)
    scores = {}
    for key, candidate in candidates.items():
        per_order = []
        for n in range(1, 5):
            frequency = Counter()
            for captions in references.values():
                frequency.update(set().union(*(ngrams(caption, n) for caption in captions)))

            def vector(tokens, n=n, frequency=frequency):
                counts = ngrams(tokens, n)
                return {g: c * (math.log(images) - math.log(max(1, frequency[g]))) for g, c in counts.items()}

            total = 0.0
            guess = vector(candidate)
            for reference in references[key]:
                truth = vector(reference)
                dot = sum(min(weight, truth.get(gram, 0)) * truth.get(gram, 0) for gram, weight in guess.items())
                norms = math.sqrt(sum(w**2 for w in guess.values())) * math.sqrt(sum(w**2 for w in truth.values()))
                # The released code takes the length in bigrams; their difference is that of the words.
                difference = max(len(candidate) - 1, 0) - max(len(reference) - 1, 0)
                total += math.exp(-(difference**2) / (2 * sigma**2)) * (dot / norms if norms else 0.0)
            per_order.append(10 * total / len(references[key]))
        scores[key] = float(np.mean(per_order))
    return scores


def test_scores_equal_the_papers_formulas():
    references, candidates = small_set(images=23)
    scores = score_captions(references, candidates)
    truths = {key: [caption.split() for caption in captions] for key, captions in references.items()}
    guesses = {key: caption.split() for key, caption in candidates.items()}
    for order in range(1, 5):
        assert scores.metrics[f"BLEU-{order}"] == pytest.approx(bleu(truths, guesses, order), abs=1e-4)
    rouge = [rouge_l(truths[key], guesses[key]) for key in scores.image_ids]
    np.testing.assert_allclose(scores.per_image["ROUGE-L"], rouge, atol=1e-12)
    assert scores.metrics["ROUGE-L"] == pytest.approx(np.mean(rouge))
    cider = cider_d(truths, guesses)
    np.testing.assert_allclose(scores.per_image["CIDEr-D"], [cider[key] for key in scores.image_ids], atol=1e-9)
    assert scores.metrics["CIDEr-D"] == pytest.approx(np.mean(list(cider.values())))


def test_bleu_equals_pycocoevalcaps_own():
    bleu_module = pytest.importorskip("pycocoevalcap.bleu.bleu")
    references, candidates = small_set(images=9, seed=4)
    guesses = {key: ptb_tokenize([caption]) for key, caption in candidates.items()}
    truths = {key: ptb_tokenize(captions) for key, captions in references.items()}
    corpus, per_image = bleu_module.Bleu(4).compute_score(truths, guesses, verbose=0)
    scores = score_captions(references, candidates)
    for order in range(1, 5):
        assert scores.metrics[f"BLEU-{order}"] == pytest.approx(100 * corpus[order - 1], rel=1e-12)
        expected = 100 * np.asarray(per_image[order - 1])
        np.testing.assert_allclose(scores.per_image[f"BLEU-{order}"], expected, rtol=1e-9)


def test_a_copied_reference_is_perfect_and_an_empty_caption_scores_nothing():
    references = {1: ["a dog runs on the grass"], 2: ["two kids with a red ball"], 3: ["a man on a bench"]}
    copied = score_captions(references, {key: captions[0] for key, captions in references.items()}).metrics
    assert copied["BLEU-4"] == pytest.approx(100) and copied["ROUGE-L"] == pytest.approx(1)
    assert copied["CIDEr-D"] == pytest.approx(10)
    empty = score_captions(references, dict.fromkeys(references, ""))
    assert set(empty.metrics.values()) == {0.0}


def test_nothing_is_printed(capfd):
    score_captions(*small_set())
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def test_order_of_images_does_not_matter():
    references, candidates = small_set()
    turned = score_captions(dict(reversed(references.items())), candidates)
    straight = score_captions(references, candidates)
    assert turned.metrics == pytest.approx(straight.metrics)


def test_chinese_is_scored_by_character_unasked():
    references = {1: ["一只狗在草地上跑。", "狗在跑"], 2: ["一个男人骑车", "男人骑自行车"], 3: ["两个孩子", "孩子"]}
    assert mostly_cjk(references[1]) and not mostly_cjk(["a dog 狗"])
    assert character_tokenize(["一只Dog, 跑。ＡＢ"]) == ["一 只 dog 跑 ab"]
    scores = score_captions(references, {1: "狗在跑。", 2: "男人骑车", 3: "狗"})
    assert scores.tokenizer == "character"
    assert scores.metrics["BLEU-1"] > 50
    assert score_captions(references, {1: "狗在跑", 2: "", 3: ""}, tokenizer="ptb").tokenizer == "ptb"


def test_ids_that_do_not_agree_are_named():
    with pytest.raises(ValueError, match="1 images have references but no caption to score: 2"):
        score_captions({1: ["a"], 2: ["b"]}, {1: "a"})
    with pytest.raises(ValueError, match="1 captions are for images without references: 7"):
        score_captions({1: ["a"]}, {1: "a", 7: "b"})
    with pytest.raises(ValueError, match="empty list of references: 1"):
        score_captions({1: []}, {1: "a"})
    with pytest.raises(ValueError, match="tokenizer"):
        score_captions({1: ["a"]}, {1: "a"}, tokenizer="words")


def test_without_java_a_note_says_so(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    scores = score_captions(*small_set(), with_java=True)
    assert "METEOR" not in scores.metrics and "no `java`" in scores.notes[0]


def test_meteor_has_no_interval_since_its_score_is_no_mean():
    scores = score_captions(*small_set())
    scores.metrics["METEOR"], scores.per_image["METEOR"] = 41.5, scores.per_image["CIDEr-D"]
    assert set(scores.intervals()) == set(scores.metrics) - {"METEOR"}


@pytest.mark.slow
def test_with_java_meteor_is_measured():
    if not shutil.which("java"):
        pytest.skip("no `java` on the PATH, which METEOR needs")
    references, candidates = small_set(images=3)
    candidates["0.jpg"], candidates["1.jpg"] = references["0.jpg"][0], ""
    scores = score_captions(references, candidates, with_java=True)
    if "METEOR" not in scores.metrics:
        pytest.skip(f"METEOR cannot run here: {scores.notes}")
    meteor = scores.per_image["METEOR"]
    assert meteor[0] > meteor[2] > meteor[1] == 0
    assert "SPICE" in scores.metrics or any("SPICE" in note for note in scores.notes)


def test_result_files_and_signature(tmp_path):
    captions = {"12": "a dog", "x.jpg": "狗"}
    write_coco_results(tmp_path / "r.json", captions)
    assert json.loads((tmp_path / "r.json").read_text())[0] == {"image_id": 12, "caption": "a dog"}
    assert read_coco_results(tmp_path / "r.json") == captions
    (tmp_path / "bad.json").write_text('[{"image": 3}]')
    with pytest.raises(ValueError, match="bad.json"):
        read_coco_results(tmp_path / "bad.json")
    (tmp_path / "twice.json").write_text('[{"image_id": 3, "caption": "a"}, {"image_id": 3, "caption": "b"}]')
    with pytest.raises(ValueError, match="one per image"):
        read_coco_results(tmp_path / "twice.json")
    signature = ScoreSignature.of(
        {1: ["a"] * 5, 2: ["b"] * 4}, "ptb", dataset="flickr8k", split="dev", generation="beam 3", weights="ema"
    )
    assert str(signature) == "flickr8k dev, 2 images, 4-5 references, ptb tokens, beam 3, ema weights"
    assert ScoreSignature(**signature.as_dict()) == signature
    shown = dataclasses.replace(signature, image_size="288x288", context="caption words")
    assert str(shown) == (
        "flickr8k dev at 288x288, 2 images, 4-5 references, ptb tokens, context caption words, beam 3, ema weights"
    )


def test_people_and_a_constant_caption_on_flickr8k(shared_dir):
    """Known for the test split: people CIDEr-D 0.823, BLEU-4 21.4; the constant caption CIDEr-D 0.095, BLEU-1 48.0."""
    with zipfile.ZipFile(shared_dir / "data/flickr8k/Flickr8k_text.zip") as archive:
        lines = archive.read("Flickr8k.token.txt").decode("utf-8").splitlines()
        dev = archive.read("Flickr_8k.devImages.txt").decode("utf-8").split()
    captions = {key: [] for key in dev}
    for line in lines:
        name, caption = line.split("\t")
        if name.split("#")[0] in captions:
            captions[name.split("#")[0]].append(caption)
    people = score_captions({k: c[:4] for k, c in captions.items()}, {k: c[4] for k, c in captions.items()}).metrics
    assert people["CIDEr-D"] == pytest.approx(0.823, abs=0.06) and people["BLEU-4"] == pytest.approx(21.4, abs=2.5)
    constant = dict.fromkeys(captions, "a man in a red shirt is standing in the grass")
    constant = score_captions(captions, constant).metrics
    assert constant["CIDEr-D"] == pytest.approx(0.095, abs=0.01) and constant["BLEU-1"] == pytest.approx(48.0, abs=1)


def test_captions_without_words_score_zero_and_are_counted():
    references = {1: ["🐕🏃", "a dog runs"], 2: ["🙂"], 3: ["..."]}
    scores = score_captions(references, {1: "a dog runs", 2: "🙂", 3: "a cat"})
    assert scores.per_image["ROUGE-L"].tolist() == [1, 0, 0] and scores.metrics["CIDEr-D"] > 0
    assert "3 of 4 references have no word" in scores.notes[0] and "Images: 1, 2, 3." in scores.notes[0]
    assert "1 of 3 captions written have no word" in scores.notes[1]
    nothing = score_captions({1: ["🙂"], 2: ["🙃"]}, {1: "🙂", 2: ""})
    assert set(nothing.metrics.values()) == {0.0} and set(nothing.intervals().values()) == {(0.0, 0.0)}


def test_a_single_image_is_said_to_have_no_cider():
    scores = score_captions({1: ["a dog"]}, {1: "a dog"})
    assert scores.metrics["CIDEr-D"] == 0 and "CIDEr-D of a single image is 0" in scores.notes[0]
    assert not score_captions({1: ["a dog"], 2: ["a cat"]}, {1: "a dog", 2: "a cat"}).notes


def test_words_of_scripts_that_the_tokenizer_breaks_are_said():
    burmese = "ကလေးတစ်ယောက်"
    (note,) = score_captions({1: [burmese], 2: ["a dog"]}, {1: burmese, 2: "a dog"}).notes
    assert "2 captions and references" in note and "MYANMAR" in note
    assert not score_captions({1: [burmese], 2: ["a"]}, {1: burmese, 2: "a"}, tokenizer="character").notes


def test_hindi_words_that_differ_in_a_vowel_sign_are_different_words():
    references = {1: ["लड़का"], 2: ["कुत्ता"]}
    same, other = (
        score_captions(references, {1: word, 2: "कुत्ता"}).per_image["CIDEr-D"][0] for word in ("लड़का", "लड़की")
    )
    assert same > 0 and other == 0


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=4))
def test_any_text_can_be_scored(pairs):
    for tokenizer in ("auto", "ptb", "character"):
        scores = score_captions(
            {index: [reference, "a dog"][: index + 1] for index, (reference, _) in enumerate(pairs)},
            {index: caption for index, (_, caption) in enumerate(pairs)},
            tokenizer=tokenizer,
        )
        assert all(np.isfinite(values).all() for values in scores.per_image.values())


def test_rouge_equals_pycocoevalcaps_own():
    rouge_module = pytest.importorskip("pycocoevalcap.rouge.rouge")
    references, candidates = small_set(images=30, seed=5)
    _, theirs = rouge_module.Rouge().compute_score(references, {key: [text] for key, text in candidates.items()})
    np.testing.assert_allclose(score_captions(references, candidates).per_image["ROUGE-L"], theirs, rtol=1e-12)


def test_text_without_a_space_is_tokenized_and_scored_in_proportion_to_its_length():
    """Where a rule's cost grew with the square of the text, 100,000 characters took minutes."""
    assert ptb_tokenize(["a," * 50_000])[0].count("a") == 50_000
    assert ptb_tokenize(["🙂" * 100_000]) == [""]
    assert common_words(["a", "b"] * 20_000, ["b"] * 40_000) == 20_000

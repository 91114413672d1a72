"""Question answering: what a question's target is, how answers are measured, and laws of the classifier."""

import numpy as np
import pytest
import tensorflow as tf

from vl_keras.data.caption_words import swap_sides
from vl_keras.data.text_ops import CaptionTokenizer
from vl_keras.errors import ConfigError
from vl_keras.metrics.calibration import TEMPERATURES, expected_calibration_error
from vl_keras.metrics.vqa_accuracy import soft_target, vqa_accuracy
from vl_keras.tasks.vqa import VqaTask


@pytest.fixture(scope="module")
def task(task_config):
    return VqaTask(task_config("vqa"))


@pytest.fixture(scope="module")
def model(task):
    return task.build()


def _questions(task, split="dev"):
    return [
        (index, question)
        for index, questions in enumerate(task.source(split).questions)
        for question in questions
        if question["answer"]
    ]


@pytest.mark.parametrize("fusion", ["interactive", "late"])
def test_a_pair_is_read_alone_as_among_others_and_whatever_the_padding(task_config, fusion):
    task = VqaTask(task_config("vqa", f"model.fusion={fusion}"))
    model = task.build()
    asked = _questions(task)
    asked = [asked[place] for place in np.random.default_rng(0).permutation(len(asked))]  # owners in no order
    owners, texts = [index for index, _ in asked], [question["question"] for _, question in asked]
    logits = task.pair_logits(model, "dev", owners, texts)
    assert len(set(np.round(logits[:, 0], 4))) > len(asked) / 2
    images = np.concatenate([inputs["image"] for inputs, _ in task._image_batches(model, "dev")])
    for place in (0, 7, len(asked) - 1):
        ids = task.encode_texts([texts[place]])
        regions = model.read_images({"image": images[owners[place]][None]})
        np.testing.assert_allclose(model.answer(regions, ids)["logits"][0], logits[place], atol=1e-5)
        short = ids[:, : int(tf.math.count_nonzero(ids))]
        np.testing.assert_allclose(model.answer(regions, short)["logits"][0], logits[place], atol=1e-5)
    x = {"image": images[owners[0]][None], "text_ids": task.encode_texts(texts[:1])[None]}
    np.testing.assert_allclose(model.training_model(x, training=False)[0, 0], logits[0], atol=1e-5)


def test_a_mirrored_image_swaps_the_sides_of_question_and_answer(task_config, write_manifest):
    sides = [
        ("is the dog left of the tree", "left\nleft\nright\nno"),
        ("what is on the right", "dog"),
        ("why", "right"),
    ]
    rows = [{"question": question, "answer": answer} for question, answer in sides * 3]
    task = VqaTask(task_config("vqa", write_manifest(rows), "data.augment.word_swap=0"))
    assert set(task.answers) == {"left", "right", "dog"}
    data = task.training_data(task.build())
    seen = set()
    for x, y, weight in data.take(9):
        for image, ids, target, real in zip(
            x["image"].numpy(), x["text_ids"][:, 0], y[:, 0], weight[:, 0], strict=True
        ):
            mirrored = image[:, :16].mean() < image[:, 16:].mean()
            question = task.tokenizer.detokenize(ids).numpy().decode()
            swap = swap_sides if mirrored else str
            ((_, answer),) = {(q, a) for q, a in sides if swap(q) == question}
            wanted = soft_target(answer.split("\n"))
            known = {swap(a): score for a, score in wanted.items() if swap(a) in task.answers}
            found = dict(zip(task.answers, target.numpy(), strict=True))
            assert real > 0
            assert {a: s for a, s in found.items() if s} == pytest.approx(
                {a: score / sum(known.values()) for a, score in known.items()}
            )
            assert sum(found.values()) == pytest.approx(1)
            seen.add((question, mirrored))
    assert len(seen) == 6  # each question both ways


def test_a_question_without_a_candidate_does_not_count(task_config):
    task = VqaTask(task_config("vqa", "vqa.num_answers=2"))
    counts = {}
    for _, question in _questions(task, "train"):
        counts[question["answer"]] = counts.get(question["answer"], 0) + 1
    assert task.answers == sorted(counts, key=lambda answer: (-counts[answer], answer))[:2]
    for x, y, weight in task.training_data(task.build()).take(3):
        assert x["text_ids"].shape[:2] == y.shape[:2] == weight.shape == (6, 2)
        np.testing.assert_allclose(tf.reduce_sum(y, axis=-1), weight > 0)
        assert 0 < np.count_nonzero(weight) < 12
        assert float(tf.reduce_mean(weight)) == pytest.approx(1)
    metrics, _ = task.score_split(task.build(), "dev")
    asked = [question["answer"] for _, question in _questions(task)]
    assert metrics["in_candidates"] == pytest.approx(np.mean([answer in task.answers for answer in asked]))


def test_metrics_are_those_of_the_answers(task, model):
    metrics, answers = task.score_split(model, "dev")
    asked = _questions(task)
    assert [(answer.index, answer.question, answer.kinds) for answer in answers] == [
        (index, question["question"], [question["kind"]]) for index, question in asked
    ]
    for answer, (_, question) in zip(answers, asked, strict=True):
        assert answer.truth == [question["answer"]]
        assert answer.accuracy == vqa_accuracy(answer.answer, answer.truth) == (answer.answer == question["answer"])
    for kind in {kind for answer in answers for kind in answer.kinds}:
        of_kind = [answer.accuracy for answer in answers if answer.kinds == [kind]]
        assert metrics[f"accuracy {kind}"] == pytest.approx(np.mean(of_kind))
    assert metrics["accuracy"] == pytest.approx(np.mean([answer.accuracy for answer in answers]))
    confidence = np.array([answer.confidence for answer in answers])
    accuracy = np.array([answer.accuracy for answer in answers])
    assert metrics["calibration_error"] == pytest.approx(expected_calibration_error(confidence, accuracy))
    few, first = task.score_split(model, "dev", limit=2)
    wanted = [answer for answer in answers if answer.index < 2]
    assert [(a.index, a.question, a.answer) for a in first] == [(a.index, a.question, a.answer) for a in wanted]
    assert few["accuracy"] == pytest.approx(np.mean([answer.accuracy for answer in first]))


def test_temperature_and_threshold_are_fitted_only_where_asked(task_config, model, task):
    task = VqaTask(task_config("vqa", "vqa.target_accuracy=0.6"), task.tokenizer)
    asked = _questions(task)
    labels = np.array([task.answers.index(question["answer"]) for _, question in asked])
    logits = task.pair_logits(model, "dev", [index for index, _ in asked], [q["question"] for _, q in asked])

    def loss(temperature):
        scaled = logits.astype(np.float64) / temperature
        scaled -= scaled.max(axis=1, keepdims=True)
        log_probs = scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))
        count, classes = logits.shape
        target = np.full((count, classes), 1 / ((count + 2) * (classes - 1)))  # of Platt, 1999
        target[np.arange(count), labels] = (count + 1) / (count + 2)
        return -np.mean((target * log_probs).sum(axis=1))

    plain, answers = task.score_split(model, "dev")
    assert (task.temperature, task.threshold) == (1.0, 0.0) and "temperature" not in plain
    fitted, calibrated = task.score_split(model, "dev", fit=True)
    assert [answer.answer for answer in calibrated] == [answer.answer for answer in answers]
    best = task.temperature
    assert best != 1.0 and fitted["temperature"] == best
    others = [loss(other) for other in (1.0, best * 1.05, best / 1.05) if TEMPERATURES[0] <= other <= TEMPERATURES[1]]
    assert loss(best) <= min(others) + 1e-9
    given = [answer.accuracy for answer in calibrated if answer.confidence >= task.threshold]
    assert fitted["coverage"] == pytest.approx(len(given) / len(answers))
    again, _ = task.score_split(model, "test")
    assert (task.temperature, task.threshold) == (best, fitted["threshold"]) and "temperature" not in again
    other = VqaTask(task.config, task.tokenizer)
    other.use_metrics(fitted)
    assert [a.confidence for a in other.score_split(model, "dev")[1]] == pytest.approx(
        [a.confidence for a in calibrated]
    )


def test_an_unreadable_image_costs_its_own_questions(task_config, task, model, break_image):
    task = VqaTask(task_config("vqa", "data.max_bad_share=0.3"), task.tokenizer)
    break_image(task.source("dev"), 1)
    _, answers = task.score_split(model, "dev")
    assert {answer.index for answer in answers} == {0, 2, 3, 4, 5}


def test_answers_of_an_earlier_run_keep_their_places(task_config, task):
    old, new = VqaTask(task.config, task.tokenizer), VqaTask(task.config, task.tokenizer)
    old._candidates, new._candidates = ["yes", "teal", "no"], ["no", "yes", "7"]
    lines = []
    new.take_vocabularies(old, lines.append)
    assert new.answers == ["yes", "teal", "no", "7"] and "1 added" in lines[0]
    assert new.vocabulary_sizes() == [task.tokenizer.vocab_size, 4]


def test_vocabularies_are_kept(task_config, task, tmp_path):
    task.save_vocabularies(tmp_path)
    other = VqaTask(task.config)
    other.load_vocabularies(tmp_path)
    assert other.answers == task.answers and other.tokenizer.vocab == task.tokenizer.vocab


def test_texts_that_training_changes_are_not_cached(task_config, hub_bert):
    with pytest.raises(ConfigError, match="`text_encoder.cache_features` reads texts as they were encoded once"):
        task_config("vqa", *hub_bert, "text_encoder.cache_features=true", "data.augment.word_swap=0.1")


def test_cached_texts_are_the_encoded_ones(task_config, hub_bert):
    plain = VqaTask(task_config("vqa", *hub_bert))
    cached = VqaTask(task_config("vqa", *hub_bert, "text_encoder.cache_features=true"))
    model = plain.build()
    asked = _questions(plain)
    pairs = [index for index, _ in asked], [question["question"] for _, question in asked]
    np.testing.assert_allclose(
        cached.pair_logits(model, "dev", *pairs), plain.pair_logits(model, "dev", *pairs), atol=5e-3
    )
    ours, theirs = next(iter(cached.training_data(cached.build()))), next(iter(plain.training_data(model)))
    mask = ours[0]["text_mask"].numpy()
    ids = theirs[0]["text_ids"].numpy()[..., : mask.shape[-1]]
    np.testing.assert_array_equal(ids != 0, mask)
    tokens = (
        model.text_encoder(ids.reshape(-1, ids.shape[-1]))["text_tokens"].numpy().reshape(ours[0]["text_tokens"].shape)
    )
    np.testing.assert_allclose(ours[0]["text_tokens"].numpy()[mask], tokens[mask], atol=2e-3)
    np.testing.assert_array_equal(ours[1], theirs[1])


def test_candidates_are_read_back_as_they_were(task_config, tmp_path):
    task, again = (VqaTask(task_config("vqa"), CaptionTokenizer(CaptionTokenizer.SPECIALS)) for _ in range(2))
    task._candidates = ["yes", "two\u2028lines", "a\rb", "\x85c", "no"]
    task.save_vocabularies(tmp_path)
    again.load_vocabularies(tmp_path)
    assert again.answers == task.answers

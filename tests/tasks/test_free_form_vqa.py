"""Answers that are written: what is learned, and that training, measuring and serving mean the same model."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from vl_keras.data.caption_words import swap_sides
from vl_keras.data.quarantine import Quarantine
from vl_keras.inference.evaluate import evaluate
from vl_keras.inference.predict import predict
from vl_keras.metrics.vqa_accuracy import vqa_accuracy
from vl_keras.runs.load_run import load_run
from vl_keras.tasks.free_form_vqa import FreeFormVqaTask
from vl_keras.tasks.writing import write_answers as module


@pytest.fixture(scope="module")
def task(task_config):
    return FreeFormVqaTask(task_config("free_form_vqa", "data.augment.word_swap=0"))


@pytest.fixture(scope="module")
def model(task):
    model = task.build()
    random = np.random.default_rng(0)
    for part in task.parts(model).values():  # fresh biases are zero, and zero hides what is left out
        for weight in part.weights:
            weight.assign_add(random.normal(0, 0.05, weight.shape))
    return model


def test_a_batch_is_the_mean_over_answers_of_the_mean_over_their_tokens(task, model):
    """Of the loss in NumPy float64; and what is learned of a mirrored image is said of its mirror image."""
    pairs = {(q["question"], q["answer"]) for questions in task.source("train").questions for q in questions}
    pairs |= {(swap_sides(question), swap_sides(answer)) for question, answer in pairs}
    tidy = lambda text: task.tokenizer.tidy([text]).numpy()[0].decode()  # noqa: E731
    pairs = {(tidy(question), tidy(answer)) for question, answer in pairs}
    for x, y, weight in task.training_data(model).take(2):
        logits = model.training_model(x, training=False)
        assert logits.shape == (*y.shape, task.answer_tokenizer.vocab_size)
        scores = logits.numpy().astype(np.float64)
        scores -= np.log(np.exp(scores).sum(axis=-1, keepdims=True))
        wanted = []
        for image, question in np.ndindex(*y.shape[:2]):
            target = y[image, question].numpy()
            target = target[target != 0]
            if not len(target):
                assert not weight[image, question].numpy().any()
                continue
            read = x["answer_ids"][image, question].numpy()
            assert read[0] == task.answer_tokenizer.START and list(read[1 : len(target)]) == list(target[:-1])
            asked = task.tokenizer.detokenize(x["text_ids"][image, question]).numpy().decode()
            assert (asked, task.answer_tokenizer.detokenize(target).numpy().decode()) in pairs
            wanted.append(-np.mean(scores[image, question, np.arange(len(target)), target]))
        assert len(wanted) > 2
        np.testing.assert_allclose(task.loss()(y, logits, weight), np.mean(wanted), rtol=1e-5)


def test_the_probability_is_that_of_teacher_forcing(task, model):
    x, _, _ = next(iter(task.training_data(model)))
    image, ids = x["image"], x["text_ids"][:, 0]
    written = model.write(model.read_images({"image": image}), ids, method="beam", beam_size=3, max_length=6)
    tokens = written.tokens[:, :1]
    before = tf.concat([tf.fill(tf.shape(tokens[..., :1]), 2), tf.where(tokens == 3, 0, tokens)[..., :-1]], axis=-1)
    logits = model.training_model({"image": image, "text_ids": ids[:, None], "answer_ids": before}, training=False)
    never = 1e9 * tf.cast(tf.range(logits.shape[-1]) < 3, tf.float32)  # padding, unknown, start
    scores = tf.gather(tf.nn.log_softmax(logits - never), tokens, batch_dims=3)
    log_probs = tf.reduce_sum(tf.where(tokens != 0, scores, 0.0), axis=-1)
    np.testing.assert_allclose(log_probs[:, 0], written.log_probs[:, 0], atol=1e-4)


def test_what_is_measured_is_what_is_served(task, model):
    """Every dev question, among others, against the serving signature with the pair alone."""
    metrics, answers = task.score_split(model, "dev", limit=4)
    assert metrics["accuracy"] == np.mean([vqa_accuracy(answer.answer, answer.truth) for answer in answers])
    assert len(answers) == sum(bool(q["answer"]) for questions in task.source("dev").questions[:4] for q in questions)
    images = np.concatenate([inputs["image"] for inputs, _ in task._image_batches(model, "dev")])
    serve = task.serving_signatures(model)["answer"].function
    for answer in answers[::7]:
        said = serve({"image": images[answer.index][None], "question": tf.constant([answer.question])})
        assert said["answer"].numpy()[0].decode() == answer.answer
        np.testing.assert_allclose(said["score"][0], answer.confidence, rtol=1e-4)
        assert said["answers"].shape == said["scores"].shape == (1, 3)


@pytest.mark.slow
def test_a_run_answers_more_than_the_commonest_answer(task_config, tmp_path):
    """Trained, measured, asked about a file with an explanation, started from: the whole road of the tiny config."""
    from vl_keras.config import load_config
    from vl_keras.training.train import train

    data = task_config("free_form_vqa").data
    config = load_config("configs/free_form_vqa/tiny.yaml", [f"data.data_dir={data.data_dir}", "training.epochs=4"])
    train(config, tmp_path / "run")
    result = evaluate(tmp_path / "run", "dev")
    _, task, model, _ = load_run(tmp_path / "run")
    answers = [q["answer"] for questions in task.source("dev").questions for q in questions if q["answer"]]
    commonest = max(answers.count(answer) for answer in set(answers)) / len(answers)
    assert result["measures"]["accuracy"]["score"] > commonest + 0.1
    image = tmp_path / "image.png"
    image.write_bytes(task.source("dev").read_images([0])[0])
    question = task.texts("dev")[0][0]
    (said,) = predict(tmp_path / "run", [image], inputs={"question": [question]}, explain=tmp_path / "look.png")
    assert said.output["answer"] in said.line and (tmp_path / "look.png").stat().st_size > 5000
    more = load_config(
        "configs/free_form_vqa/tiny.yaml",
        [f"data.data_dir={data.data_dir}", "training.epochs=1", "data.max_examples=40"],
    )
    train(more, tmp_path / "more", init_from=tmp_path / "run")
    assert (
        (tmp_path / "more" / "answer_vocabulary.txt")
        .read_text("utf-8")
        .startswith((tmp_path / "run" / "answer_vocabulary.txt").read_text("utf-8"))
    )


def test_answers_are_compared_in_lower_case_as_they_are_written(task_config, monkeypatch):
    task = FreeFormVqaTask(task_config("free_form_vqa"))
    rows = [{"question": "what?", "answer": answer, "kind": ""} for answer in ("Light  Blue", "No", "")]
    source = SimpleNamespace(questions=[rows], image_ids=["1.jpg"], quarantine=Quarantine())
    task._sources = {"dev": source}
    monkeypatch.setattr(module, "write_answers", lambda *args: [("light blue", 0.5), ("yes", 0.25)])
    metrics, answers = task.score_split(None, "dev")
    assert [answer.accuracy for answer in answers] == [1, 0] and metrics["accuracy"] == 0.5
    assert [answer.truth for answer in answers] == [["Light  Blue"], ["No"]]

"""Answers to questions about anybody's images, and whether texts are about them."""

import functools

import tensorflow as tf

from vl_keras.drawing.attention_drawing import explanation_sheet
from vl_keras.tasks.pairing.explain_pairs import PairExplainer
from vl_keras.tasks.writing.explain_answers import AnswerExplainer


class PairPredictor:
    """Says of each image, with each of some texts, what a classifier of pairs says when it is served.

    Args:
        task, model: as `load_run` gives them, of vqa or matching.
        texts: list of strings, each put beside every image.
        explains: also draws where the model looked.
    """

    def __init__(self, task, model, texts, explains):
        self._task, self._texts, self.count = task, texts, len(texts)
        self._name, self._describe, explainer = _SAID[task.config.task]
        self._explainer = explainer(task, model) if explains else None
        self._read = tf.function(lambda image: model.read_images({"image": image}), reduce_retracing=True)

        @functools.partial(tf.function, reduce_retracing=True, autograph=False)
        def answer(regions, text):
            ids = task.encode_texts(tf.fill([tf.shape(regions)[0]], text))
            return task.say(model, regions, ids)

        self._answer = answer

    def __call__(self, image, texts=None):
        """What is said of `(n, height, width, 3)` uint8 images with each text, by default the constructor's.

        Returns:
            For each image a list of a `(line, output, draw)` a text, as of `CaptionPredictor`.
        """
        regions = self._read(image)
        rows = [[] for _ in range(len(image))]
        for text in self._texts if texts is None else texts:
            columns = {name: value.numpy() for name, value in self._answer(regions, tf.constant(text)).items()}
            for row, found in enumerate(rows):
                output = {name: _plain(values[row]) for name, values in columns.items()}
                said = self._describe(output)
                draw = None
                if self._explainer is not None:
                    explanation = self._explainer(image[row : row + 1], text, said, f"{text} → {said}")
                    draw = functools.partial(explanation_sheet, explanation, note=self._explainer.note)
                found.append((f"{text}\t{said}", {self._name: text, **output}, draw))
        return rows


def _describe_answer(output):
    if not output["answer"]:
        return f"no answer ({output['answers'][0]} {output['score']:.2f})"
    return f"{output['answer']} ({output['score']:.2f})"


def _describe_match(output):
    return f"{'match' if output['probability'] >= 0.5 else 'no match'} ({output['probability']:.2f})"


_SAID = {
    "vqa": ("question", _describe_answer, PairExplainer),
    "free_form_vqa": ("question", _describe_answer, AnswerExplainer),
    "matching": ("text", _describe_match, PairExplainer),
}


def _plain(value):
    if isinstance(value, bytes):
        return value.decode("utf-8")
    return [_plain(item) for item in value] if getattr(value, "ndim", 0) else value.item()

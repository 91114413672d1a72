"""A SavedModel with every signature of every task and almost no work: it names an image's colours."""

import json

import tensorflow as tf

from vl_keras.config import DataConfig
from vl_keras.data.modalities import MODALITIES
from vl_keras.data.row_status import OK
from vl_keras.data.serve_contents import serve_contents

WORDS = ("grey", "red", "green", "blue", "bright", "dark", "wide", "small")
DATA = DataConfig(image_size=(8, 12), max_pixels=10**6)
CANDIDATES, LENGTH, MAP, WIDTH = 3, 4, (2, 3), 5


_INPUTS = {
    "caption": ("image_bytes",),
    "caption_with_context": ("image_bytes", "context"),
    "caption_candidates": ("image_bytes",),
    "caption_explain": ("image_bytes",),
    "embed_image": ("image_bytes",),
    "answer": ("image_bytes", "question"),
    "match": ("image_bytes", "text"),
    "embed_text": ("text",),
}


class TinyCaptioner(tf.Module):
    """Its variable makes answers of two versions different: `shift` moves every score."""

    def __init__(self, shift):
        super().__init__()
        self.shift = tf.Variable(float(shift))
        self.words = tf.constant(WORDS)

    def caption(self, image_bytes):
        numbers, status = self._read(image_bytes)
        return {"caption": self._sentence(numbers, 0), "score": self._score(numbers, 0), "status": status}

    def caption_with_context(self, image_bytes, context):
        answer = self.caption(image_bytes)
        return {**answer, "caption": tf.strings.join([answer["caption"], " beside ", context])}

    def caption_candidates(self, image_bytes):
        numbers, status = self._read(image_bytes)
        captions = tf.stack([self._sentence(numbers, k) for k in range(CANDIDATES)], 1)
        scores = tf.stack([self._score(numbers, k) for k in range(CANDIDATES)], 1)
        return {"captions": captions, "scores": scores, "status": status}

    def caption_explain(self, image_bytes):
        numbers, status = self._read(image_bytes)
        blank = tf.zeros_like(status)
        tokens = tf.stack([blank + "a", self._word(numbers, 0), self._word(numbers, 1), blank], 1)
        attention = tf.nn.softmax(tf.reshape(numbers, [-1, 1, 3]) * tf.reshape(tf.range(8.0), [1, 8, 1]) / 99)
        attention = tf.reshape(attention, [-1, LENGTH, *MAP]) / 2
        answer = {"caption": self._sentence(numbers, 0), "score": self._score(numbers, 0), "status": status}
        return {**answer, "tokens": tokens, "attention": attention}

    def embed_image(self, image_bytes):
        numbers, status = self._read(image_bytes)
        return {"embedding": tf.concat([numbers, numbers[:, :2]], 1), "status": status}

    def answer(self, image_bytes, question):
        found = self.caption_candidates(image_bytes)
        answers = tf.strings.join([tf.repeat(question[:, None], CANDIDATES, 1), found["captions"]], " ")
        return {
            "answer": answers[:, 0],
            "score": found["scores"][:, 0],
            "answers": answers,
            "scores": found["scores"],
            "status": found["status"],
        }

    def match(self, image_bytes, text):
        numbers, status = self._read(image_bytes)
        length = tf.cast(tf.strings.length(text), tf.float32)
        return {"probability": tf.sigmoid(numbers[:, 0] / 99 - length), "status": status}

    def embed_text(self, text):
        length = tf.cast(tf.strings.length(text), tf.float32)
        return {"embedding": tf.stack([length] * WIDTH, 1), "status": tf.fill(tf.shape(text), OK)}

    def _read(self, image_bytes):
        images, _, status = serve_contents(image_bytes, MODALITIES["image"], DATA)
        return tf.reduce_mean(images, [1, 2]), status

    def _word(self, numbers, place):
        return tf.gather(self.words, tf.cast(numbers[:, place], tf.int64) % len(WORDS))

    def _sentence(self, numbers, rank):
        words = [self._word(numbers, (rank + place) % 3) for place in range(2)]
        return tf.where(numbers[:, 0] > 0, tf.strings.join([tf.fill(tf.shape(words[0]), "a"), *words], " "), "")

    def _score(self, numbers, rank):
        return -tf.reduce_mean(numbers, 1) / 99 - float(rank) + self.shift


def write_tiny_captioner(folder, shift=0.0, fingerprint="tiny"):
    """Saves one version to `folder`, with the part of a manifest that the commands read."""
    module = TinyCaptioner(shift)
    signatures = {}
    for name, inputs in _INPUTS.items():
        specs = [tf.TensorSpec([None], tf.string, name=each) for each in inputs]
        signatures[name] = tf.function(getattr(module, name), input_signature=specs).get_concrete_function()
    tf.saved_model.save(module, str(folder), signatures={"serving_default": signatures["caption"], **signatures})
    manifest = {
        "model": folder.parent.name,
        "version": int(folder.name),
        "fingerprint": fingerprint,
        "warmup": {"batch_sizes": [1, 4, 16]},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


__all__ = ["CANDIDATES", "LENGTH", "MAP", "OK", "WIDTH", "write_tiny_captioner"]

"""Yes-or-no questions about images: a new task over the pair machinery, in one file."""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf
import tf_keras as keras

from vl_keras.config.setting import PROBABILITY, setting
from vl_keras.tasks.described import describe_data
from vl_keras.tasks.pairing.pair_task import PairTask
from vl_keras.tasks.task import TextInput


@dataclass(frozen=True)
class YesNoSettings:
    """Yes-or-no questions about images."""

    threshold: float = setting(0.5, "Probability from which the answer is yes.", PROBABILITY)


class YesNoTask(PairTask):
    sections = {"yes_no": YesNoSettings}
    monitor = "accuracy"
    reads = "yes-or-no questions"
    signature_name = "yes_no"
    inputs = (TextInput("question", "yes-or-no question about every image", many=True, required=True),)

    def asked(self, split):
        return [[q for q in own if q["kind"] == "yes_no"] for own in self.source(split).questions]

    def has_examples(self, split):
        return any(self.asked(split))

    def texts(self, split):
        return [[q["question"] for q in own] for own in self.asked(split)]

    def training_data(self, model, first_step=0, num_workers=1, worker=0):
        answers = [q["answer"] == "yes" for own in self.asked(self.config.data.train_split) for q in own]
        answers = tf.constant(answers, tf.float32)

        def label(number):  # numbers above the count of questions are those of mirrored images
            return tf.gather(answers, tf.maximum(number, 0) % len(answers))[..., None], number >= 0

        return self._text_dataset(model, lambda rows: label, first_step, num_workers, worker)

    def loss(self):
        return keras.losses.BinaryCrossentropy(from_logits=True)

    def epoch_metrics(self, model, split, limit=0, progress=None, weights=""):
        asked = [(index, q) for index, own in enumerate(self.asked(split)[: limit or None]) for q in own]
        owners, questions = [index for index, _ in asked], [q["question"] for _, q in asked]
        logits = self.pair_logits(model, split, owners, questions, progress)[:, 0]
        readable = ~np.isnan(logits)
        right = (logits > 0) == np.array([q["answer"] == "yes" for _, q in asked])
        signature = {**describe_data(self.config.data, split), "questions": int(readable.sum()), "weights": weights}
        return {"accuracy": float(right[readable].mean())}, signature

    def outputs(self, model, regions, text_ids):
        probability = tf.sigmoid(model.answer(regions, text_ids)["logits"][:, 0])
        yes = tf.where(probability >= self.settings.threshold, "yes", "no")
        return {"answer": yes, "probability": probability}

    def describe(self, output):
        return f"{output['answer']} ({output['probability']:.2f})"

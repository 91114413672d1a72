"""The second phase of captioning: self-critical training by the CIDEr-D of sampled captions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from vl_keras.data.text_ops import CaptionTokenizer, tidy_caption
from vl_keras.losses.cider_reward import CiderReward
from vl_keras.models.self_critical_model import SelfCriticalModel
from vl_keras.tasks.phase_plan import PhasePlan

if TYPE_CHECKING:
    from vl_keras.models.captioner import Captioner
    from vl_keras.tasks.captioning import CaptioningTask

_WARMUP_STEPS = 100


def self_critical_phase(task: CaptioningTask, captioner: Captioner, log: Callable[[str], None]) -> PhasePlan:
    """The phase that follows cross-entropy, from the best weights so far; see `SelfCriticalModel`.

    Args:
        task: supplies the settings and the training captions.
        captioner: what the task built.
        log: called with a line when the phase begins.
    """
    training, settings = task.config.training, task.config.training.self_critical
    steps = task.steps_per_epoch()

    def make_model() -> SelfCriticalModel:
        log("Counting the n-grams of the training captions for the CIDEr reward.")
        return SelfCriticalModel(
            captioner,
            CiderReward(_reference_ids(task), task.tokenizer.vocab_size),
            settings.samples,
            # The gradient is of the plain probabilities, so the samples are drawn from these.
            {**task.generation_settings(), "no_repeat_ngram": 0, "repetition_penalty": 1.0},
            settings.temperature,
            training.seed,
            task.config.model.image_dropout,
            settings.cross_entropy,
            settings.region_dropout,
            name="self_critical",
        )

    return PhasePlan(
        name=task.phase_names[1],
        epochs=settings.epochs,
        steps_per_epoch=steps,
        learning_rate=settings.learning_rate,
        warmup_steps=min(_WARMUP_STEPS, steps),
        weight_decay=0.0,
        make_model=make_model,
        loss=task.loss(),
        data=lambda first_batch, num_workers, worker: task.training_data(captioner, first_batch, num_workers, worker),
        jit_compile=False,
        from_best=True,
    )


def _reference_ids(task: CaptioningTask) -> Iterator[list[np.ndarray]]:
    """Yields the captions of each training image that has any, as in batches: ids with the end token, cut to length."""
    config = task.config
    for captions in filter(None, task.source(config.data.train_split).captions):
        ids = task.tokenizer.encode(tidy_caption(tf.constant(captions)), config.text.max_length).numpy()
        yield [row[row != CaptionTokenizer.PAD] for row in ids]

"""Starts a new run from a trained one: from its weights, matched by name and shape, and from its vocabulary."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from vl_keras.config import Config
from vl_keras.errors import RunError
from vl_keras.runs.load_run import load_run
from vl_keras.tasks.task import Task

_LISTED = 10  # most words or weights that a line of the log lists


class Start:
    """A trained run as the start of a new one, of the same task or another.

    Args:
        run_dir: folder of the trained run; its best weights are used, or its last ones if it was never evaluated.
    """

    def __init__(self, run_dir: str | Path) -> None:
        self._path = run_dir
        self._config, self._task, self._model, self._which = load_run(run_dir)

    def has_image_encoder_of(self, config: Config) -> bool:
        """Whether the run's image encoder is the network that a config names, so that its weights can be used."""
        return self._config.image_encoder.backbone == config.image_encoder.backbone

    def give_vocabularies(self, task: Task, log: Callable[[str], None]) -> None:
        """Gives a new task the run's vocabulary, extended at its end by the frequent words of the new training texts.

        Args:
            task: a `Task`, of any class.
            log: called with a line about what was done.

        Raises:
            RunError: `text.vocabulary` is set.
        """
        reads_ids = not task.config.text_encoder.encoder or not hasattr(task, "texts")  # of a learned vocabulary
        if self._task.tokenizer.is_learned and reads_ids:
            task.tokenizer = self._tokenizer(task, log)
        task.take_vocabularies(self._task, log)

    def fill(self, task: Task, model: Any, log: Callable[[str], None]) -> None:
        """Copies the run's weights into a fresh model of a task, part by part.

        Parts are matched by name. Within a part, weights are matched by their places if both parts have the same
        layers, and by name otherwise; their shapes must be equal except for axes that a vocabulary has lengthened. Rows
        that were added to vocabularies, and weights without a counterpart in the run, keep their fresh values.

        Args:
            task: the new `Task`.
            model: what its `build` made.
            log: called with lines that list what was taken over, what is new, and what was left in the run.

        Raises:
            RunError: nothing matches.
        """
        lengths = self._grown_lengths(task)
        old_parts = self._task.parts(self._model)
        kept = set()  # a frozen text encoder keeps the weights of its module, which the new run has a copy of
        if task.text_encoder is not None and not task.config.text_encoder.trainable:
            kept = {id(weight) for weight in task.text_encoder.model.weights}
        taken: list[str] = []
        fresh: list[str] = []
        used: set[int] = set()
        filled: set[int] = set()  # parts may share layers, such as a text encoder inside a reader
        for name, part in task.parts(model).items():
            old = old_parts[name].weights if name in old_parts else []
            pairs = dict(_matched(old, part.weights, lengths))
            for place, new in enumerate(part.weights):
                if place in pairs and id(new) in kept:
                    filled.add(id(new))
                elif place in pairs:
                    _copy(pairs[place], new)
                    filled.add(id(new))
                    used.add(id(pairs[place]))
            own = [weight for weight in part.weights if id(weight) not in filled]
            if part.weights and not own:
                taken.append(name)
            elif len(own) < len(part.weights):
                taken.append(f"{name} in part")
                fresh += [f"{name}/{weight.name.split(':')[0]}" for weight in own]
            elif own:
                fresh.append(name)
        if not taken:
            raise RunError(
                f"The run `{self._path}` cannot be the start of this model: no part of it has the name and the shapes "
                f"of one of the new model's ({', '.join(task.parts(model))}). Give model.*, image_encoder.* and "
                "text_encoder.* the values of its config.yaml, or start without --init-from."
            )
        left = [
            name
            for name, part in old_parts.items()
            if part.weights and not any(id(weight) in used for weight in part.weights)
        ]
        log(f"Starting from {self._path}: {self._which}.")
        log(f"Taken over: {_listed(taken)}. New: {_listed(fresh)}. Left in the run: {_listed(left)}.")

    def _grown_lengths(self, task: Task) -> set[tuple[int, int]]:
        """Pairs of lengths, in the run and now, of axes whose length is that of a vocabulary that both tasks have."""
        if type(task) is type(self._task):
            return set(zip(self._task.vocabulary_sizes(), task.vocabulary_sizes(), strict=True))
        tokenizers = (self._task.tokenizer, task.tokenizer)
        if all(tokenizer.is_learned for tokenizer in tokenizers):
            return {tuple(tokenizer.vocab_size for tokenizer in tokenizers)}
        return set()

    def _tokenizer(self, task: Task, log: Callable[[str], None]) -> Any:
        old, text = self._task.tokenizer, task.config.text
        if text.vocabulary:
            raise RunError(
                f"`text.vocabulary` is set, but a run that starts from `{self._path}` keeps that run's vocabulary. "
                "Leave it empty."
            )
        new = old.extend(task.training_texts(), max(text.vocab_size, old.vocab_size))
        added = new.vocab[old.vocab_size :]
        if added:
            log(
                f"The vocabulary of {self._path} ({old.vocab_size} tokens) is kept and {len(added)} are added: "
                f"{_listed(added)}"
            )
        else:
            full = old.vocab_size >= text.vocab_size
            why = f"`text.vocab_size` ({text.vocab_size}) leaves no room for more" if full else "the texts need no more"
            log(f"The vocabulary of {self._path} ({old.vocab_size} tokens) is kept as it is: {why}.")
        return new


def _matched(old: list[tf.Variable], new: list[tf.Variable], lengths: set) -> Iterator[tuple[int, tf.Variable]]:
    """Yields `(place, counterpart)` for each weight of `new` that has a counterpart in `old`."""
    if len(old) == len(new) and all(_fits(*pair, lengths) for pair in zip(old, new, strict=True)):
        yield from enumerate(old)
        return
    known: dict[str, list[tf.Variable]] = {}
    for weight in old:
        known.setdefault(_layer_name(weight), []).append(weight)
    for place, weight in enumerate(new):
        same_name = known.get(_layer_name(weight), [])
        found = next((i for i, candidate in enumerate(same_name) if _fits(candidate, weight, lengths)), None)
        if found is not None:
            yield place, same_name.pop(found)


def _fits(old: tf.Variable, new: tf.Variable, lengths: set) -> bool:
    """Whether a weight can be copied to another: equal shapes, except for axes that a vocabulary has lengthened."""
    if old.shape.rank != new.shape.rank or old.dtype != new.dtype:
        return False
    return all(ends[0] == ends[1] or ends in lengths for ends in zip(old.shape, new.shape, strict=True))


def _layer_name(weight: tf.Variable) -> str:
    """A weight's name without the numbers that Keras appends to make names unique within a process."""
    return re.sub(r"_\d+(?=/|:|$)", "", weight.name.split(":")[0])


def _copy(old: tf.Variable, new: tf.Variable) -> None:
    value = np.array(new)  # `np.array`: a scalar weight becomes an array too
    value[tuple(slice(length) for length in old.shape)] = old.numpy()
    new.assign(value)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_LISTED]) + (", …" if len(names) > _LISTED else "") if names else "nothing"

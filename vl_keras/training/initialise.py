"""Starting from a trained run: its weights, and its vocabulary, kept or extended."""

import numpy as np

from vl_keras.errors import RunError
from vl_keras.runs.load_run import load_run


class Start:
    """A trained run as the start of a new one.

    Args:
        run_dir: folder of the trained run; its best weights are taken, or its last where none were measured.
    """

    def __init__(self, run_dir):
        self._path = run_dir
        self._config, self._task, self._model, self._which = load_run(run_dir)

    def give_vocabularies(self, task, log):
        """Gives a task of new data the run's vocabulary, with what the new texts' frequent words need at its end.

        Args:
            task: a `Task` of the same name as the run's.
            log: called with a line that says what was done.
        """
        if task.config.task != self._config.task:
            raise RunError(
                f"`{self._path}` is a run of the task {self._config.task}; it cannot be the start of one of "
                f"{task.config.task}."
            )
        if self._task.tokenizer.is_learned:
            task.tokenizer = self._tokenizer(task, log)
        task.take_vocabularies(self._task, log)

    def _tokenizer(self, task, log):
        old, text = self._task.tokenizer, task.config.text
        if text.vocabulary:
            raise RunError(
                f"`text.vocabulary` is set, but a run that starts from `{self._path}` keeps that vocabulary. "
                "Leave it empty."
            )
        new = old.extend(task.training_texts(), max(text.vocab_size, old.vocab_size))
        added = new.vocab[old.vocab_size :]
        if added:
            some = ", ".join(added[:10]) + (", …" if len(added) > 10 else "")
            log(f"The vocabulary of {self._path} ({old.vocab_size} tokens) is kept and {len(added)} are added: {some}")
        else:
            full = old.vocab_size >= text.vocab_size
            why = f"`text.vocab_size` ({text.vocab_size}) leaves no room for more" if full else "the texts need no more"
            log(f"The vocabulary of {self._path} ({old.vocab_size} tokens) is kept as it is: {why}.")
        return new

    def fill(self, task, model, log):
        """Copies the run's weights into a fresh model of the new task; what was added to vocabularies stays fresh.

        Raises:
            RunError: the two models differ in more than the vocabulary's length.
        """
        fresh = task.parts(model)
        sizes = list(zip(self._task.vocabulary_sizes(), task.vocabulary_sizes(), strict=True))
        pairs = []
        for name, before in self._task.parts(self._model).items():
            after, name = fresh[name], name.replace("_", " ")
            if len(before.weights) != len(after.weights):
                raise self._misfit(f"its {name} has {len(before.weights)} weights, the new one {len(after.weights)}")
            for old, new in zip(before.weights, after.weights, strict=True):
                differ = [ends for ends in zip(old.shape, new.shape, strict=False) if ends[0] != ends[1]]
                if old.shape.rank != new.shape.rank or any(ends not in sizes for ends in differ):
                    raise self._misfit(f"`{old.name}` of its {name} is {old.shape}, the new one {new.shape}")
                pairs.append((old, new))
        for old, new in pairs:
            value = np.array(new)  # an array even of a scalar weight
            value[tuple(slice(length) for length in old.shape)] = old.numpy()
            new.assign(value)
        log(f"Starting from {self._path}: {self._which}.")

    def _misfit(self, difference):
        sections = ("model", "image_encoder", "text_encoder")
        ours = ", ".join(f"{name}.*" for name in sections)
        if self._config.task == "free_form_vqa":  # the longest answer that its model is made for
            ours += ", generation.max_length"
        return RunError(
            f"The run `{self._path}` cannot be the start of this model: {difference}. Give {ours} and text.max_length "
            "the values of its config.yaml."
        )

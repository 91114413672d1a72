"""Starting from a trained run: its weights, and its vocabulary, kept or extended."""

import tensorflow as tf

from vl_keras.training.errors import TrainingError
from vl_keras.training.run_dir import load_run


class Start:
    """A trained run as the start of a new one.

    Args:
        run_dir: folder of the trained run; its best weights are taken, or its last where none were measured.
    """

    def __init__(self, run_dir):
        self._path = run_dir
        self._config, self._task, self._captioner, self._which = load_run(run_dir)

    def tokenizer(self, task, log):
        """The run's vocabulary, with what the new captions' frequent words need added at its end.

        Args:
            task: a `CaptioningTask` of the new data.
            log: called with a line that says what was done.

        Returns:
            A `CaptionTokenizer` in which every token of the run has its old id.
        """
        old, text = self._task.tokenizer, task.config.text
        if text.vocabulary:
            raise TrainingError(
                f"`text.vocabulary` is set, but a run that starts from `{self._path}` keeps that vocabulary. "
                "Leave it empty."
            )
        new = old.extend(task.training_captions(), max(text.vocab_size, old.vocab_size))
        added = new.vocab[old.vocab_size :]
        if added:
            some = ", ".join(added[:10]) + (", …" if len(added) > 10 else "")
            log(f"The vocabulary of {self._path} ({old.vocab_size} tokens) is kept and {len(added)} are added: {some}")
        else:
            full = old.vocab_size >= text.vocab_size
            why = (
                f"`text.vocab_size` ({text.vocab_size}) leaves no room for more"
                if full
                else "the captions need no more"
            )
            log(f"The vocabulary of {self._path} ({old.vocab_size} tokens) is kept as it is: {why}.")
        return new

    def fill(self, task, captioner, log):
        """Copies the run's weights into a fresh captioner of the new task; rows of added tokens stay fresh.

        Raises:
            TrainingError: the two models differ in more than the vocabulary's length.
        """
        parts = (
            ("image encoder", self._captioner.image_encoder, captioner.image_encoder),
            ("reader", self._captioner.reader, captioner.reader),
            ("decoder", self._captioner.decoder.model, captioner.decoder.model),
        )
        sizes = (self._task.tokenizer.vocab_size, task.tokenizer.vocab_size)
        pairs = []
        for name, before, after in parts:
            if len(before.weights) != len(after.weights):
                raise self._misfit(f"its {name} has {len(before.weights)} weights, the new one {len(after.weights)}")
            for old, new in zip(before.weights, after.weights, strict=True):
                grown = (old.shape[:1], new.shape[:1]) == (sizes[:1], sizes[1:]) and old.shape[1:] == new.shape[1:]
                if old.shape != new.shape and not grown:
                    raise self._misfit(f"`{old.name}` of its {name} is {old.shape}, the new one {new.shape}")
                pairs.append((old, new))
        for old, new in pairs:
            new.assign(tf.concat([old, new[old.shape[0] :]], axis=0) if old.shape != new.shape else old)
        log(f"Starting from {self._path}: {self._which}.")

    def _misfit(self, difference):
        sections = ("model", "image_encoder", "text_encoder")
        ours = ", ".join(f"{name}.*" for name in sections)
        return TrainingError(
            f"The run `{self._path}` cannot be the start of this model: {difference}. Give {ours} and text.max_length "
            "the values of its config.yaml."
        )

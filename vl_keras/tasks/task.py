"""The contract of a task: everything that belongs to one job, in one place.

Training, evaluation, prediction, run directories, export and the command line call the methods of a task and know no
task by its name. Task modules import TensorFlow inside their methods, so that the command line can list tasks and check
a config quickly, from the class attributes alone.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from vl_keras.config import Config
from vl_keras.errors import ConfigError, DataError, RunError
from vl_keras.tasks.described import dataset_name

if TYPE_CHECKING:
    import tensorflow as tf
    import tf_keras as keras

    from vl_keras.data.feature_cache import FeatureCache
    from vl_keras.data.source import Source
    from vl_keras.tasks.phase_plan import PhasePlan
    from vl_keras.tasks.serving_signature import ServingSignature

_VOCABULARY = "vocabulary.txt"


class TextInput(NamedTuple):
    """A text that a trained run reads beside images.

    Attributes:
        name: name of the input and of the command line's option.
        help: description for the command line.
        many: whether there may be several texts; each is combined with every image.
        required: whether a prediction needs it.
    """

    name: str
    help: str
    many: bool = False
    required: bool = False


class Evaluation(NamedTuple):
    """The arguments of `Task.evaluate`.

    Attributes:
        split: name of the split.
        folder: folder for the files that the task writes.
        which: the weights in words, for titles.
        weights: `best`, `last` or `ema`, for signatures.
        load_run: loads another run that the evaluation needs: maps `(run_dir, overrides=…)` to
            `(config, task, model, which)`.
        with_java: also compute the metrics that need Java.
    """

    split: str
    folder: Path
    which: str
    weights: str
    load_run: Callable[..., tuple]
    with_java: bool = False


class Task:
    """One job with the settings of one `Config`.

    A subclass sets the class attributes that differ from the defaults and implements `training_texts`, `build`,
    `parts`, `loss`, `training_data`, `epoch_metrics`, `predictor` and `serving_signatures`.

    Args:
        config: `Config`.
        tokenizer: for the texts; None: the one of `text.vocabulary`, or one learned from the training texts.
        load_weights: false: the image encoder starts with random weights, because a run's weights are loaded later.
        jit_compile: whether the model's functions will be compiled with XLA.
    """

    sections: ClassVar[Mapping[str, type]] = {}  # the task's own settings: name of the section -> dataclass
    min_layers: ClassVar[int] = 1  # smallest `model.num_layers`
    unused_settings: ClassVar[tuple[str, ...]] = ()  # settings that have no effect; a name ending in "." is a prefix
    run_settings: ClassVar[tuple[str, ...]] = ("data.",)  # prefixes of settings that may be set for a trained run
    inputs: ClassVar[tuple[TextInput, ...]] = ()  # texts that the task reads beside an image
    returns: ClassVar[tuple[str, ...]] = ()  # outputs of the default serving signature, for descriptions
    monitor: ClassVar[str] = ""  # metric of the development split that selects the best epoch; higher is better
    reads: ClassVar[str] = "captions"  # what training reads beside images, for messages
    vocabulary_files: ClassVar[tuple[str, ...]] = (_VOCABULARY,)  # that `save_vocabularies` may write
    phase_names: ClassVar[tuple[str, ...]] = ("cross_entropy",)  # folders of `checkpoints/`, in order of training
    epoch_settings: ClassVar[tuple[str, ...]] = ("training.epochs",)  # of each of `phase_names`: its number of epochs
    renamed_phases: ClassVar[Mapping[str, str]] = {}  # what runs of older versions call a phase -> its name
    has_java_metrics: ClassVar[bool] = False  # `evaluate --java` adds metrics

    def __init__(
        self, config: Config, tokenizer: Any = None, load_weights: bool = True, jit_compile: bool = False
    ) -> None:
        self.config = config
        self.text_encoder: Any = None
        self._load_weights = load_weights
        self._jit_compile = jit_compile
        self._sources: dict[str, Source] = {}
        self._features: dict[str, FeatureCache] = {}
        self.end_step: int | None = None  # batch before which `training_data` ends; see `development_view`
        if tokenizer is not None:
            self.tokenizer = tokenizer

    @property
    def settings(self) -> Any:
        """The task's own section of settings, an instance of the first of `sections`."""
        return self.config.sections[next(iter(self.sections))]

    @classmethod
    def check_settings(cls, config: Config) -> None:
        """Raises `ConfigError` if settings contradict each other for this task; called whenever a config is read."""
        if config.model.num_layers < cls.min_layers:
            raise ConfigError(
                f"`model.num_layers` must be at least {cls.min_layers} for the task {config.task}; got "
                f"{config.model.num_layers}."
            )

    # Data

    def source(self, split: str) -> Source:
        """The `Source` of a split, prepared on first use."""
        if split not in self._sources:
            from vl_keras.data.source import open_source

            self._sources[split] = open_source(self.config.data, split)
        return self._sources[split]

    def has_examples(self, split: str) -> bool:
        """Whether a split has anything that the task `reads`."""
        return any(self.source(split).captions)

    def check_data(self) -> None:
        """Raises `DataError` if a split has nothing to learn from or to evaluate with."""
        data = self.config.data
        for split in (data.train_split, data.dev_split):
            if not self.has_examples(split):
                raise DataError(
                    f"Split `{split}` of {dataset_name(data)} has no {self.reads}; the task {self.config.task} is "
                    "trained and evaluated with them. Add some, or choose another task."
                )

    def steps_per_epoch(self) -> int:
        """Batches in one pass over the training split."""
        from vl_keras.data.pipeline import steps_per_epoch

        return steps_per_epoch(self.config, self.source(self.config.data.train_split))

    def training_data(self, model: Any, first_step: int = 0, num_workers: int = 1, worker: int = 0) -> tf.data.Dataset:
        """Endless dataset of `(x, y, weight)` of `data.train_split` from batch `first_step` on, the rows of one worker.

        `development_view` gives it another `data.train_split` and an end, `end_step`; so what an implementation keeps
        for its next call is kept by split.
        """
        raise self._lacks("training_data")

    @contextlib.contextmanager
    def quarantine_errors(self) -> Iterator[None]:
        """Inside, a `QuarantineError` of an input pipeline is raised as itself; TensorFlow would wrap it."""
        import tensorflow as tf

        try:
            yield
        except tf.errors.OpError:
            for source in self._sources.values():
                source.check_quarantine(self.config.data.max_bad_share)
            raise

    def features(self, model: Any, split: str) -> FeatureCache | None:
        """The `FeatureCache` of a split, made on first use; None if the model reads images directly."""
        if not self.config.image_encoder.cache_features:
            return None
        if split not in self._features:
            from vl_keras.tasks.image_features import image_features

            self._features[split] = image_features(self, model, split)
        return self._features[split]

    # Vocabularies

    def training_texts(self) -> list[str]:
        """The strings that the vocabulary is learned from."""
        raise self._lacks("training_texts")

    @functools.cached_property
    def tokenizer(self) -> Any:
        """Converts strings to ids; learned from `training_texts` unless `text.vocabulary` names a file."""
        from vl_keras.data.text_ops import CaptionTokenizer

        text = self.config.text
        if text.vocabulary:
            return CaptionTokenizer.load(text.vocabulary)
        return CaptionTokenizer.learn(self.training_texts(), text.vocab_size)

    def save_vocabularies(self, folder: str | Path) -> None:
        """Writes the vocabularies to a folder; called before the first step."""
        self.tokenizer.save(Path(folder) / _VOCABULARY)

    def load_vocabularies(self, folder: str | Path) -> None:
        """Reads what `save_vocabularies` wrote."""
        from vl_keras.data.text_ops import CaptionTokenizer

        self.tokenizer = CaptionTokenizer.load(Path(folder) / _VOCABULARY)

    def take_vocabularies(self, task: Task, log: Callable[[str], None]) -> None:
        """Takes over and extends the vocabularies of a trained run, except its tokenizer. Default: does nothing.

        Args:
            task: the task of the run; of any class.
            log: called with a line about what was done.
        """

    def vocabulary_sizes(self) -> list[int]:
        """Sizes of the vocabularies; axes of weights with these lengths may grow when a vocabulary does."""
        return [self.tokenizer.vocab_size]

    # Model and training

    def build(self) -> Any:
        """The task's models with fresh weights, under the current strategy and precision policy.

        Returns:
            Named tuple with at least `training_model`, which `fit` trains, and `image_encoder`.
        """
        raise self._lacks("build")

    def parts(self, model: Any) -> dict[str, keras.Model]:
        """Dict of name -> keras.Model with all weights; checkpoints and `--init-from` use these names."""
        raise self._lacks("parts")

    def weights(self, model: Any) -> dict[str, list[tf.Variable]]:
        """The variables that training changes: dict of part -> list of variables, without frozen encoders."""
        frozen = []
        if not self.config.image_encoder.trainable_from:
            frozen += model.image_encoder.weights
        if self.text_encoder is not None and not self.config.text_encoder.trainable:
            frozen += self.text_encoder.model.weights
        ids = {id(variable) for variable in frozen}
        kept = {name: [v for v in part.weights if id(v) not in ids] for name, part in self.parts(model).items()}
        return {name: variables for name, variables in kept.items() if variables}

    def start_fresh(self, model: Any, log: Callable[[str], None]) -> None:
        """Hook for initialising a new run. Default: does nothing.

        Args:
            model: what `build` made.
            log: called with a line about what was done.
        """

    def loss(self) -> Callable[..., Any]:
        """The loss of the training model's outputs."""
        raise self._lacks("loss")

    def training_model(self, model: Any, accumulate_steps: int) -> keras.Model:
        """The `keras.Model` that the first phase compiles and fits; it shares the weights of `model`."""
        from vl_keras.models.training_model import TrainingModel

        return TrainingModel(model.training_model.input, model.training_model.output, accumulate_steps)

    def phases(self, model: Any, log: Callable[[str], None]) -> Sequence[PhasePlan]:
        """The phases of training, in order: those of `phase_names` that are switched on."""
        from vl_keras.tasks.phase_plan import first_phase

        return (first_phase(self, model, log),)

    # Metrics, evaluation, prediction

    def epoch_metrics(
        self,
        model: Any,
        split: str,
        limit: int = 0,
        progress: Callable[[int], None] | None = None,
        weights: str = "",
    ) -> tuple[dict[str, float], dict[str, Any]]:
        """Metrics of a split during training.

        Args:
            model: what `build` made.
            split: name.
            limit: only the first so many images; 0: all.
            progress: called with the number of images that are done.
            weights: which weights these are, in a word, for the signature.

        Returns:
            Dict of metrics, with `monitor` among them; and the signature, a dict that describes how they were computed.
        """
        raise self._lacks("epoch_metrics")

    def use_metrics(self, metrics: Mapping[str, float]) -> None:
        """Takes over the values that were fitted to the development split when a run was evaluated in training."""

    def evaluate(self, model: Any, request: Evaluation) -> dict[str, Any]:
        """Evaluates a trained model on a split and writes files with its predictions. Default: `epoch_metrics` only.

        Returns:
            Dict with `signature`, `signature_text`, `measures` (the metrics: name -> `score`, `low`, `high`), `notes`,
            `files`, `seconds`, and what the task adds.
        """
        from vl_keras.tasks.plain_evaluation import plain_evaluation

        return plain_evaluation(self, model, request)

    def predictor(self, model: Any, texts: Sequence[str], explains: bool) -> Callable[[tf.Tensor], list]:
        """Makes a predictor for batches of images.

        Args:
            model: of a trained run.
            texts: for the task's input; empty if it has no input or none was given.
            explains: also draw attention weights.

        Returns:
            Callable of `(n, height, width, 3)` uint8 images, with an attribute `count`: the number of predictions for
            each image. It returns for each image a list of `(line, output, draw)`: a line for a terminal, a dict with
            the names of the serving signature, and None or `draw(image, title)`, which returns a `PIL.Image`.
        """
        raise RunError(f"A run of the task {self.config.task} makes no predictions for images.")

    def sample_images(self, model: Any, split: str) -> Callable[[], tuple[list, list[str]]] | None:
        """Makes a function that draws a few images of a split with predictions, called at the end of each epoch.

        Returns:
            Callable that returns uint8 images `(height, width, 3)` and a line of text for each; None: draws nothing.
        """
        return None

    # Use of a trained run

    @classmethod
    def next_commands(cls, run: str) -> list[str]:
        """What to do with a trained run, as command lines; logged at the end of training.

        Args:
            run: its folder, quoted for a shell.
        """
        return [f"vl-keras evaluate {run}", cls.use_command(run), f"vl-export savedmodel {run} --out models/mine"]

    @classmethod
    def use_command(cls, run: str) -> str:
        """The command line that shows a trained run new images. Default: `predict`, with the texts that it needs."""
        texts = "".join(f' --{text.name} "…"' for text in cls.inputs if text.required)
        return f"vl-keras predict {run} --image IMAGE.jpg{texts}"

    def check_overrides(self, trained: Config) -> None:
        """Raises `RunError` if this config does not fit weights that were trained with the config `trained`."""

    def prepare(self, model: Any) -> Any:
        """Adds to the model what the settings name for prediction besides its weights. Default: returns the model."""
        return model

    def describe_image_encoder(self, model: Any) -> dict[str, Any]:
        """A description that is equal for two tasks if their models read the same tokens from an image."""
        from vl_keras.tasks.image_features import describe_image_encoder

        return describe_image_encoder(self.config, model.image_encoder)

    def serving_signatures(self, model: Any) -> dict[str, ServingSignature]:
        """The signatures of the exported model; the first one is the default."""
        raise self._lacks("serving_signatures")

    def join_settings(self, count: int) -> list[str]:
        """Overrides that turn the config of a member into that of an ensemble of `count` members; see `join`."""
        raise RunError(f"Runs of the task {self.config.task} cannot be joined into an ensemble.")

    def join(self, model: Any, members: Sequence[tuple[Task, Any]]) -> None:
        """Fills the model of an ensemble with the weights of its members' `(task, model)`."""
        raise RunError(f"Runs of the task {self.config.task} cannot be joined into an ensemble.")

    # For subclasses

    def _build_image_encoder(self) -> keras.Model:
        from vl_keras.tasks.image_features import build_encoder

        return build_encoder(self.config, self._load_weights)

    def _load_text_encoder(self) -> Any:
        """Loads the hub BERT that the settings name into `text_encoder`; None if they name none."""
        text = self.config.text_encoder
        if text.encoder:
            from vl_keras.encoders.text_encoder import load_text_encoder

            self.text_encoder = load_text_encoder(
                text.encoder, text.preprocessor, text.trainable, text.max_length, fixed_shapes=self._jit_compile
            )
        return self.text_encoder

    def _lacks(self, name: str) -> RunError:
        return RunError(f"The task {self.config.task} has no `{name}`; see the contract of `Task`.")

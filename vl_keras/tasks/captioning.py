"""Captioning: images, with a context beside them or not, to sentences."""

import dataclasses
from typing import NamedTuple

import numpy as np

from vl_keras.data.pipeline import caption_dataset, evaluation_batches, references
from vl_keras.data.text_ops import CaptionTokenizer
from vl_keras.encoders.text_encoder import load_text_encoder
from vl_keras.encoders.word_vectors import word_vectors
from vl_keras.errors import ConfigError, RetrievalError
from vl_keras.losses.caption_loss import CaptionLoss
from vl_keras.metrics.caption_scores import score_captions
from vl_keras.metrics.score_signature import ScoreSignature
from vl_keras.models.captioner import build_captioner
from vl_keras.retrieval.caption_memory import CaptionMemory
from vl_keras.tasks.described import describe_data, describe_generation
from vl_keras.tasks.task import Task
from vl_keras.tasks.writing.caption_signatures import caption_signatures
from vl_keras.tasks.writing.caption_writer import CaptionWriter
from vl_keras.tasks.writing.consensus import Consensus

_WRITTEN_AT_ONCE = 64  # images whose captions are written side by side
_WORD_PIECES = 16  # of a word that a BERT reads alone
MODEL_SETTINGS = (  # of the decoder and of what stands before it
    "decoder",
    "hidden_dim",
    "num_heads",
    "num_layers",
    "image_layers",
    "intermediate_dim",
    "dropout",
    "image_dropout",
    "word_dropout",
)


class Caption(NamedTuple):
    """What was written for one image.

    Attributes:
        image_id: of the source.
        caption: the best one.
        score: its length-normalised log-probability, with `generation.memory` its weighted consensus added.
        captions: all `generation.num_captions`, best first.
        references: people's captions that it is scored against.
        context: what the model was shown beside the image.
        index: place in the source.
    """

    image_id: str
    caption: str
    score: float
    captions: list
    references: list
    context: str
    index: int


class CaptioningTask(Task):
    """The captioning job of one `Config`; see `Task`."""

    monitor = "CIDEr-D"

    def __init__(self, config, tokenizer=None, encoder_weights=None, jit_compile=False):
        super().__init__(config, tokenizer, encoder_weights, jit_compile)
        self._writer = (None, None, None)
        self._memories, self._consensus = {}, {}  # by folder

    def training_texts(self):
        """Every caption of the training split, as written."""
        source = self.source(self.config.data.train_split)
        return [caption for captions in source.captions for caption in captions]

    def build(self):
        """A `Captioner` with fresh weights, under the current strategy and precision policy."""
        self.generation_settings()  # which it would otherwise be found not to suit at the end of its first epoch
        config = self.config
        image_encoder = self._build_image_encoder()
        text_encoder = self._load_text_encoder()
        return build_captioner(
            image_encoder,
            self.tokenizer.vocab_size,
            text_encoder=text_encoder and text_encoder.model,
            max_length=config.text.max_length,
            members=config.model.members,
            from_image_tokens=config.image_encoder.cache_features,
            **{name: getattr(config.model, name) for name in MODEL_SETTINGS},
        )

    def start_fresh(self, captioner, log):
        """Word vectors by a BERT, where the settings name one; see `Task`.

        Pieces that continue a word and words that the BERT does not know keep their random vectors.
        """
        handles = self.config.text.word_vectors
        if not handles.encoder:
            return
        section = "text.word_vectors"
        reader = load_text_encoder(handles.encoder, handles.preprocessor, max_length=_WORD_PIECES, section=section)
        decoders = getattr(captioner.decoder, "members", [captioner.decoder])
        tables = [decoder.model.get_layer("embedding").embeddings for decoder in decoders]
        vocabulary = self.tokenizer.vocab
        places = [i for i, token in enumerate(vocabulary) if token not in self.tokenizer.SPECIALS and token[:2] != "##"]
        vectors, known = word_vectors([vocabulary[i] for i in places], reader, tables[0].shape[1])
        for table in tables:
            value = table.numpy()
            value[np.array(places)[known], : vectors.shape[1]] = vectors[known]
            table.assign(value)
        log(f"{known.sum()} of {len(vocabulary)} word vectors start from {handles.encoder}.")

    def check_data(self):
        """As of `Task`; raises `RetrievalError` too, where `generation.memory` is damaged or knows the dev split."""
        super().check_data()
        self._check_not_recalled(self.config.data.dev_split, self.config.generation)

    def recalling(self, captioner, generation=None):
        """The captioner that ranks what it writes by a memory.

        Args:
            captioner: a `Captioner` with its trained or loaded weights.
            generation: `GenerationConfig`; None: the config's.

        Returns:
            `Captioner`; the same one where `generation.memory` is empty.

        Raises:
            RetrievalError: there is no such memory, or it does not go with the captioner.
        """
        path = (generation or self.config.generation).memory
        if not path:
            return captioner
        if path not in self._consensus:
            memory = self._memory(path)
            known, own = memory.image_encoder, self.describe_image_encoder(captioner)
            if known != own:
                differ = ", ".join(name for name in own if own[name] != known.get(name))
                raise RetrievalError(
                    f"`generation.memory` `{path}` was made with another image encoder; they differ in {differ}. Train "
                    "the retrieval run of `vl-keras make-memory` with this run's image_encoder.backbone, "
                    "image_encoder.weights and data.image_size, frozen in both."
                )
            try:
                self._consensus[path] = Consensus(memory, self.tokenizer, self.config.text.max_length)
            except ValueError as error:
                raise RetrievalError(f"`generation.memory` cannot be used by this run: {error}") from error
        return captioner._replace(consensus=self._consensus[path])

    def parts(self, captioner):
        """Dict of name -> keras.Model: everything of a `Captioner` that has weights."""
        return {
            "image_encoder": captioner.image_encoder,
            "reader": captioner.reader,
            "decoder": captioner.decoder.model,
        }

    def training_data(self, captioner, first_step=0, num_workers=1, worker=0):
        """Endless dataset of `(x, y, weight)` from batch `first_step` on; see `caption_dataset`."""
        split = self.config.data.train_split
        return caption_dataset(
            self.config,
            self.source(split),
            self.tokenizer,
            training=True,
            first_step=first_step,
            features=self.features(captioner, split),
            prepare_context=self._prepare_context,
            num_workers=num_workers,
            worker=worker,
        )

    def evaluation_data(self, captioner, split, batch_size=_WRITTEN_AT_ONCE):
        """Dataset of `(x, indices)`: every image of a split once, in order."""
        return evaluation_batches(
            self.config,
            self.source(split),
            features=self.features(captioner, split),
            prepare_context=self._prepare_context,
            batch_size=batch_size,
        )

    def loss(self):
        return CaptionLoss(self.config.training.label_smoothing)

    def generation_settings(self, generation=None):
        """Arguments of `generate` for a `GenerationConfig`, by default the config's own."""
        generation = generation or self.config.generation
        if generation.max_length > self.config.text.max_length:
            raise ConfigError(
                "`generation.max_length` must be at most `text.max_length`, the longest caption the model is made for; "
                f"got {generation.max_length} and {self.config.text.max_length}."
            )
        return writing_settings(generation)

    def caption_split(self, captioner, split, generation=None, limit=0, progress=None):
        """Writes a caption for each image of a split.

        Args:
            captioner: a `Captioner` that `build` made.
            split: name.
            generation: `GenerationConfig`; None: the config's.
            limit: only the first so many images; 0: all.
            progress: called with the number of images that are done.

        Returns:
            List of `Caption`, without the images that could not be read.
        """
        source = self.source(split)
        count = min(limit, len(source)) if limit else len(source)
        batches = self.evaluation_data(captioner, split)
        rows = self.writer(captioner, generation).write_all(batches, count, progress)
        known, contexts = references(self.config, source)
        unreadable = {name for name, _ in source.quarantine.rows}
        captions = []
        for index, texts, scores in rows:
            name = source.image_ids[index]
            if name in unreadable:
                continue
            captions.append(Caption(name, texts[0], float(scores[0]), texts, known[name], contexts[index], index))
        return captions

    def measure(self, captioner, split, generation=None, limit=0, progress=None, with_java=False):
        """`CaptionScores` of the captions written for a split, and the `Caption`s; arguments as `caption_split`."""
        self._check_not_recalled(split, generation or self.config.generation)
        captions = self.caption_split(captioner, split, generation, limit, progress)
        scored = [caption for caption in captions if caption.references]
        scores = score_captions(
            {caption.image_id: caption.references for caption in scored},
            {caption.image_id: caption.caption for caption in scored},
            with_java=with_java,
        )
        return scores, captions

    def epoch_metrics(self, captioner, split, limit=0, progress=None, weights=""):
        """Measures of a split as a dict, and how they were taken; see `Task`."""
        scores, captions = self.measure(captioner, split, limit=limit, progress=progress)
        return scores.metrics, self.signature(captions, scores, split, weights).as_dict()

    def signature(self, captions, scores, split, weights):
        """`ScoreSignature` of what `measure` returned.

        Args:
            weights: in a word, which they were.
        """
        data, generation = self.config.data, self.config.generation
        context = "" if data.context == "none" else data.context.replace("_", " ")
        if context and not data.show_context:
            context += " shown empty"
        described = describe_generation(generation)
        if generation.memory:
            described += f" {self._memory(generation.memory).fingerprint}"
        return ScoreSignature.of(
            {caption.image_id: caption.references for caption in captions if caption.references},
            scores.tokenizer,
            **describe_data(data, split),
            context=context,
            generation=described,
            weights=weights,
        )

    def serving_signatures(self, captioner):
        """What the trained captioner answers when it is served; the first one is the default."""
        return caption_signatures(self, captioner)

    def writer(self, captioner, generation=None):
        """The `CaptionWriter` of these settings; the last one is kept, so that its graph is built once."""
        memory = (generation or self.config.generation).memory
        settings = {**self.generation_settings(generation), "memory": memory}
        of, with_settings, writer = self._writer
        if of is not captioner or with_settings != settings:
            ranked = self.recalling(captioner, generation)
            search = self.generation_settings(generation)
            writer = CaptionWriter(ranked, self.tokenizer, search, _WRITTEN_AT_ONCE, self._jit_compile)
            self._writer = (captioner, settings, writer)
        return writer

    def _memory(self, path):
        if path not in self._memories:
            self._memories[path] = CaptionMemory.load(path)
        return self._memories[path]

    def _check_not_recalled(self, split, generation):
        """Raises `RetrievalError` where the memory holds references of a split, which it would then find."""
        if not generation.memory:
            return
        source, memory = self.source(split), self._memory(generation.memory)
        own = {(name, text) for name, texts in zip(source.image_ids, source.captions, strict=True) for text in texts}
        known = own.intersection(zip(memory.image_ids, memory.captions, strict=True))
        if known:
            raise RetrievalError(
                f"`generation.memory` `{generation.memory}` holds {len(known)} captions of split `{split}` itself, so "
                "that its measures would say nothing; leave it out (--set generation.memory=)."
            )

    @property
    def _prepare_context(self):
        return self.text_encoder.preprocess if self.text_encoder is not None else None


def writing_settings(generation):
    """Arguments of `generate` for a `GenerationConfig` and the ids of a `CaptionTokenizer`."""
    ids = CaptionTokenizer
    settings = dataclasses.asdict(generation)
    del settings["memory"]
    return {
        **settings,
        "start_id": ids.START,
        "end_id": ids.END,
        "forbidden_ids": (ids.PAD, ids.UNK, ids.START),
    }

"""The settings that tasks share: frozen dataclasses with every default, rule and meaning.

Rules that join several settings stand in `rules.py`; a task's own sections stand with the task.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vl_keras.config.setting import (
    BELOW_ONE,
    PROBABILITY,
    SHARE,
    Rule,
    above,
    at_least,
    between,
    one_of,
    section,
    setting,
)

_IMAGE_SIZE = Rule(lambda size: min(size) >= 16, "be at least 16 pixels each way")
_RISING = Rule(
    lambda values: list(values) == sorted(set(values)) and min(values, default=1) > 0, "rise, e.g. [12, 16, 24]"
)


@dataclass(frozen=True)
class ShapesConfig:
    """The embedded `shapes` data: synthetic scenes with captions and questions."""

    scenes: int = setting(4000, "Training scenes; dev and test get a tenth of this number each.", at_least(1))
    image_size: tuple[int, int] = setting((96, 96), "Height and width of the scenes in pixels.", _IMAGE_SIZE)
    seed: int = setting(0, "Seed of the scenes; another seed gives other scenes.")


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes to training images and texts; 0 or false switches a change off."""

    crop_min_area: float = setting(
        1.0, "Smallest share of the image's area that a random crop keeps; 1 switches cropping off.", SHARE
    )
    flip: bool = setting(False, 'Mirrors half of the images and swaps "left" and "right" in their texts.')
    rotation: float = setting(0.0, "Largest angle of a random rotation, in degrees.", between(0, 180))
    color: float = setting(0.0, "Largest relative change of brightness, contrast and saturation.", PROBABILITY)
    synonym: float = setting(0.0, "Probability that a word is replaced by a synonym from WordNet.", PROBABILITY)
    word_deletion: float = setting(0.0, "Probability that a word is deleted.", PROBABILITY)
    word_swap: float = setting(0.0, "Probability that a word changes places with the next one.", PROBABILITY)


@dataclass(frozen=True)
class DataConfig:
    """Which examples are read, and how they become batches."""

    dataset: str = setting(
        "shapes", "Name of the dataset: shapes, flickr8k, flickr30k, coco, coco_captions, easy_vqa or vqa_v2."
    )
    manifest: str = setting("", "JSONL file with your own examples; if set, it is read instead of `data.dataset`.")
    manual_dir: str = setting("", "Folder with the dataset's official archives.")
    data_dir: str = setting("~/.cache/vl_keras", "Folder for prepared records and feature caches.")
    train_split: str = setting("train", "Split that training reads.")
    dev_split: str = setting("dev", "Split that selects the best epoch.")
    max_examples: int = setting(0, "Images to keep of each split, from its beginning; 0 keeps all.", at_least(0))
    image_size: tuple[int, int] = setting(
        (224, 224), "Height and width in pixels to which images are resized for the model.", _IMAGE_SIZE
    )
    max_pixels: int = setting(
        50_000_000, "Largest number of pixels of an image; a larger one is quarantined before decoding.", at_least(1)
    )
    max_bad_share: float = setting(
        0.01, "Share of unreadable images above which the run stops with an error.", PROBABILITY
    )
    batch_size: int = setting(32, "Images per step, over all replicas.", at_least(1))
    captions_per_image: int = setting(
        5, "Captions (or questions) of an image that share its encoding in a step.", at_least(1)
    )
    length_buckets: tuple[int, ...] = setting(
        (12, 16, 20, 24), "Caption lengths in tokens to which batches are padded.", _RISING
    )
    context: str = setting(
        "none",
        "Text that the model reads beside the image. field: the example's own context; caption_words: the content "
        "words of one caption, which is then neither a target nor a reference.",
        one_of("none", "field", "caption_words"),
    )
    context_dropout: float = setting(0.0, "Probability that a training example is shown an empty context.", PROBABILITY)
    show_context: bool = setting(
        True, "If false, contexts are read, and their captions set aside, but the model is shown empty ones."
    )
    shapes: ShapesConfig = section(ShapesConfig)
    augment: AugmentConfig = section(AugmentConfig)


@dataclass(frozen=True)
class WordVectorsConfig:
    """A TensorFlow Hub BERT whose encoding of each word initialises the vocabulary's embeddings; empty: random."""

    encoder: str = setting("", "Handle (URL or folder) of the encoder module.")
    preprocessor: str = setting("", "Handle (URL or folder) of the preprocessing module.")


@dataclass(frozen=True)
class TextConfig:
    """The vocabulary that is learned from training texts."""

    vocabulary: str = setting("", "Vocabulary file to use; empty: learned from the training texts.")
    vocab_size: int = setting(4000, "Largest size of a learned vocabulary, in tokens.", at_least(8))
    max_length: int = setting(
        24,
        "Largest length of a caption in tokens, the end token included; longer captions are cut.",
        Rule(lambda value: value >= 2, "be at least 2 (a word and the end)"),
    )
    word_vectors: WordVectorsConfig = section(WordVectorsConfig)


@dataclass(frozen=True)
class ImageEncoderConfig:
    """The network that encodes images."""

    backbone: str = setting(
        "ResNet50",
        "Name of a network in `tf_keras.applications`, or SmallCNN; hub:HANDLE, a TensorFlow Hub module (URL or "
        "folder); or keras:PATH#LAYER, a saved Keras model and the layer whose output is taken.",
    )
    weights: str = setting(
        "imagenet",
        "imagenet, none (random), or a weights file; a hub: or keras: backbone brings its own weights.",
    )
    trainable_from: str = setting(
        "", "First layer that is trained, with all after it; all: every layer; empty: the encoder is frozen."
    )
    cache_features: bool = setting(False, "Reads the tokens of a frozen encoder from the feature cache.")
    cache_views: int = setting(
        1, "Cached versions of each training image: the original, then augmented ones.", at_least(1)
    )


@dataclass(frozen=True)
class TextEncoderConfig:
    """The network that encodes texts: a TensorFlow Hub BERT, or a small Transformer trained from random weights."""

    encoder: str = setting(
        "",
        "Handle (URL or folder) of the BERT's encoder module. Empty: captioning reads no context, and the other tasks "
        "train a small Transformer.",
    )
    preprocessor: str = setting("", "Handle (URL or folder) of the BERT's preprocessing module.")
    trainable: bool = setting(False, "Trains the BERT's weights; false keeps them frozen.")
    max_length: int = setting(32, "Largest length of a context, question or other text, in tokens.", at_least(2))
    num_layers: int = setting(2, "Layers of the small Transformer.", at_least(1))
    cache_features: bool = setting(False, "Reads the tokens of a frozen BERT from a cache.")


@dataclass(frozen=True)
class ModelConfig:
    """What lies between the encoders and the output."""

    decoder: str = setting("transformer", "Decoder that writes the text.", one_of("transformer", "lstm"))
    fusion: str = setting(
        "co_attention",
        "How text and image are joined.",
        one_of(
            "concatenation",
            "sum",
            "product",
            "weighted_sum",
            "gated",
            "bilinear",
            "late",
            "early",
            "attention",
            "cross_modal",
            "interactive",
            "co_attention",
            "multi_stream",
            "graph_alignment",
        ),
    )
    reads: str = setting(
        "both",
        "Which inputs the model sees; the other one is blanked, which gives a baseline.",
        one_of("both", "text", "image"),
    )
    hidden_dim: int = setting(256, "Width of the model; must be divisible by `model.num_heads`.", at_least(1))
    num_heads: int = setting(8, "Attention heads of each layer.", at_least(1))
    num_layers: int = setting(3, "Layers of the decoder, the fusion or the text head.", at_least(0))
    image_layers: int = setting(0, "Self-attention layers over the image tokens.", at_least(0))
    intermediate_dim: int = setting(1024, "Width inside the feed-forward blocks.", at_least(1))
    dropout: float = setting(0.1, "Dropout rate in the model.", BELOW_ONE)
    image_dropout: float = setting(0.1, "Dropout rate on the image encoder's tokens.", BELOW_ONE)
    word_dropout: float = setting(0.0, "Probability that an input word is hidden from the decoder.", BELOW_ONE)
    members: int = setting(1, "Captioners with weights of their own whose logits are averaged.", at_least(1))


@dataclass(frozen=True)
class SelfCriticalConfig:
    """A second phase of training: self-critical sequence training (Rennie et al., 2017)."""

    epochs: int = setting(
        0,
        "Epochs of the second phase; 0 switches it off. A trained run goes on (--resume) with a higher number.",
        at_least(0),
    )
    samples: int = setting(
        5, "Captions sampled per image; the baseline of each is the mean reward of the others.", at_least(2)
    )
    temperature: float = setting(
        0.5,
        "Temperature of the samples and of the gradient; at 1, too many samples hold a word that no search would "
        "write.",
        above(0),
    )
    learning_rate: float = setting(2e-5, "Largest learning rate of the second phase.", above(0))
    cross_entropy: float = setting(
        0.0, "Weight of the first phase's loss, which is added to that of the reward.", at_least(0)
    )
    region_dropout: float = setting(
        0.0, "Share of an image's cached tokens that are hidden from each training step.", BELOW_ONE
    )


@dataclass(frozen=True)
class TrainingConfig:
    """How long, how fast, and where the model is trained."""

    epochs: int = setting(
        20,
        "Passes over the training split. A trained run goes on (--resume) with a higher number, and then with the "
        "learning rate of a training of that many.",
        at_least(0),
    )
    seed: int = setting(0, "Seed of weights, order and augmentation.", at_least(0))
    strategy: str = setting(
        "auto", "How training is distributed over devices.", one_of("auto", "none", "mirrored", "multi_worker")
    )
    jit_compile: str = setting("auto", "Compiles with XLA; auto: on a GPU only.", one_of("auto", "on", "off"))
    precision: str = setting(
        "float32",
        "Precision of the arithmetic; mixed_bfloat16 is slower on a CPU without AMX.",
        one_of("float32", "mixed_bfloat16", "mixed_float16"),
    )
    learning_rate: float = setting(5e-4, "Largest learning rate, reached after the warm-up.", above(0))
    warmup_steps: int = setting(500, "Steps in which the learning rate rises from zero.", at_least(0))
    weight_decay: float = setting(0.01, "Decoupled weight decay of AdamW.", at_least(0))
    clip_norm: float = setting(1.0, "Largest global norm of the gradients; 0 does not clip.", at_least(0))
    accumulate_steps: int = setting(1, "Batches whose gradients are added up for one update.", at_least(1))
    label_smoothing: float = setting(0.1, "Label smoothing of the cross-entropy.", PROBABILITY)
    ema_decay: float = setting(
        0.0, "Decay of the exponential moving average of the weights; 0 keeps no average.", BELOW_ONE
    )
    checkpoint_steps: int = setting(0, "Steps between checkpoints; 0: only at the end of an epoch.", at_least(0))
    patience: int = setting(
        0, "Epochs without a better development metric after which training stops; 0: never.", at_least(0)
    )
    evaluate_every: int = setting(1, "Epochs between evaluations on the development split.", at_least(1))
    evaluate_examples: int = setting(
        0, "Development images that are evaluated at the end of an epoch; 0: all.", at_least(0)
    )
    self_critical: SelfCriticalConfig = section(SelfCriticalConfig)


@dataclass(frozen=True)
class GenerationConfig:
    """How texts are written."""

    method: str = setting("beam", "Search for the best text, or sampling.", one_of("greedy", "beam", "sample"))
    beam_size: int = setting(3, "Hypotheses that a beam search keeps.", at_least(1))
    num_captions: int = setting(
        1, "Captions returned per image, best first; at most `generation.beam_size` unless sampled.", at_least(1)
    )
    max_length: int = setting(20, "Largest length in tokens, the end token included.", at_least(1))
    min_length: int = setting(0, "Smallest length in tokens, the end token included.", at_least(0))
    length_penalty: float = setting(0.7, "alpha of Wu et al. (2016), equation 14; 0 ranks by log-probability.")
    no_repeat_ngram: int = setting(0, "No n-gram of this size appears twice; 0 switches it off.", at_least(0))
    repetition_penalty: float = setting(
        1.0, "Penalty of words already written (Keskar et al., 2019, section 4.1); 1 switches it off.", above(0)
    )
    temperature: float = setting(1.0, "Temperature of samples.", above(0))
    top_k: int = setting(0, "Samples only from this many of the most probable tokens; 0: from all.", at_least(0))
    top_p: float = setting(1.0, "Samples only from the most probable tokens whose probabilities add up to this.", SHARE)
    seed: int = setting(0, "Seed of samples.")
    memory: str = setting(
        "",
        "Folder written by `vl-keras make-memory`; candidate captions are re-ranked by how well they agree with "
        "people's captions of similar images.",
    )
    consensus_weight: float = setting(
        3.0, "Weight of that agreement (CIDEr-D), which is added to a caption's score.", above(0)
    )


@dataclass(frozen=True)
class Config:
    """One experiment.

    Attributes:
        sections: the task's own sections by name, e.g. `config.sections["vqa"].num_answers`; in YAML they are top-level
            keys like the others.
    """

    task: str = setting("captioning", "What the model learns to do; see `vl-keras configs` for an example of each.")
    data: DataConfig = section(DataConfig)
    text: TextConfig = section(TextConfig)
    image_encoder: ImageEncoderConfig = section(ImageEncoderConfig)
    text_encoder: TextEncoderConfig = section(TextEncoderConfig)
    model: ModelConfig = section(ModelConfig)
    training: TrainingConfig = section(TrainingConfig)
    generation: GenerationConfig = section(GenerationConfig)
    sections: Mapping[str, Any] = field(default_factory=dict)

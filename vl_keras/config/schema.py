"""Experiment settings: frozen dataclasses that hold every default."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class ShapesConfig:
    """Size and seed of the embedded `shapes` data."""

    scenes: int = 4000  # training scenes; dev and test get a tenth each
    image_size: tuple[int, int] = (96, 96)  # height, width in pixels
    seed: int = 0


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes to training images and captions; zero or false is off."""

    crop_min_area: float = 1.0  # smallest share of the image a random resized crop keeps; 1 is off
    flip: bool = False  # mirror half of the images and swap "left" and "right" in their captions
    rotation: float = 0.0  # largest angle, degrees
    color: float = 0.0  # largest relative change of brightness, contrast and saturation
    synonym: float = 0.0  # chance of each word to become a WordNet synonym
    word_deletion: float = 0.0  # chance of each word to go
    word_swap: float = 0.0  # chance of each word to change places with its right neighbour


@dataclass(frozen=True)
class DataConfig:
    """Which examples, and how they become batches."""

    dataset: str = "shapes"  # shapes, flickr8k, flickr30k, coco, coco_captions, easy_vqa, vqa_v2
    manifest: str = ""  # a JSONL file of one's own; wins over `dataset`
    manual_dir: str = ""  # folder that holds the dataset's official archives
    data_dir: str = "~/.cache/vl_keras"  # prepared records and feature caches
    train_split: str = "train"
    dev_split: str = "dev"
    max_examples: int = 0  # keep only the first so many images of each split; 0 keeps all
    image_size: tuple[int, int] = (224, 224)  # height, width that models see
    max_pixels: int = 50_000_000  # a larger image is quarantined before it is decoded
    max_bad_share: float = 0.01  # the run stops when more than this share of images is unreadable
    batch_size: int = 32  # images per step, over all replicas
    captions_per_image: int = 5  # captions of one image that share its encoding in a step
    length_buckets: tuple[int, ...] = (12, 16, 20, 24)  # caption lengths (tokens) that batches are padded to
    # none; field: the example's own; caption_words: content words of one caption, then neither target nor reference
    context: str = "none"
    context_dropout: float = 0.0  # chance that a training example is shown an empty context
    show_context: bool = True  # false: contexts are read (and their captions set aside) but shown empty
    shapes: ShapesConfig = field(default_factory=ShapesConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)


@dataclass(frozen=True)
class WordVectorsConfig:
    """A TensorFlow Hub BERT whose reading of each word the caption vocabulary's vectors start from; empty: random."""

    encoder: str = ""  # handle (URL or folder) of the encoder module
    preprocessor: str = ""  # handle of the preprocessing module


@dataclass(frozen=True)
class TextConfig:
    """The caption vocabulary."""

    vocabulary: str = ""  # vocabulary file to use; empty: learned from the training captions
    vocab_size: int = 4000  # upper limit of the learned vocabulary
    max_length: int = 24  # caption tokens, the end token included; longer captions are cut
    word_vectors: WordVectorsConfig = field(default_factory=WordVectorsConfig)  # of captioning


@dataclass(frozen=True)
class ImageEncoderConfig:
    """The image side."""

    backbone: str = "ResNet50"  # a name in tf_keras.applications, or SmallCNN
    weights: str = "imagenet"  # imagenet, none, or a weights file
    trainable_from: str = ""  # empty: frozen; all; or the first layer that is trained
    cache_features: bool = False  # read a frozen encoder's tokens from the feature cache
    cache_views: int = 1  # cached versions of each training image: the plain one and augmented ones


@dataclass(frozen=True)
class TextEncoderConfig:
    """The context side: a TensorFlow Hub BERT."""

    # handle (URL or folder) of the encoder module; empty: captioning reads no context, the other tasks train a small
    # Transformer of their own
    encoder: str = ""
    preprocessor: str = ""  # handle of the preprocessing module
    trainable: bool = False
    max_length: int = 32  # tokens of a context, question or other text that is read
    num_layers: int = 2  # of the small Transformer
    cache_features: bool = False  # read a frozen hub encoder's tokens from a cache; not for captioning


@dataclass(frozen=True)
class ModelConfig:
    """What lies between the encoders and the words, answers or vectors."""

    decoder: str = "transformer"  # of captioning: transformer or lstm
    # of vqa and matching: how text and image are joined; one of config_rules.FUSION_NAMES
    fusion: str = "co_attention"
    reads: str = "both"  # of vqa and matching: both, text or image; the other is blanked, which gives a baseline
    hidden_dim: int = 256
    num_heads: int = 8
    num_layers: int = 3
    image_layers: int = 0  # self-attention layers over the image tokens
    intermediate_dim: int = 1024
    dropout: float = 0.1
    image_dropout: float = 0.1  # on the encoder's tokens
    word_dropout: float = 0.0  # chance that an input word is hidden from the decoder
    members: int = 1  # of captioning: captioners with other weights each whose logits are averaged


@dataclass(frozen=True)
class VqaConfig:
    """Visual question answering."""

    num_answers: int = 3000  # candidates: the most frequent training answers; free_form_vqa has none, it writes
    # coverage and accuracy: an answer below the confidence that reaches this accuracy on dev is withheld; 0: never
    target_accuracy: float = 0.0


@dataclass(frozen=True)
class MatchingConfig:
    """Image-text matching."""

    # random: captions of any other image; nearest: of images that look alike; batch: each text with every other image
    # of the batch; hardest: with those that fool the model most; given: the data's own labels
    negatives: str = "random"
    neighbours: int = 50  # of each image, that `nearest` draws from


@dataclass(frozen=True)
class RetrievalConfig:
    """Images and texts in one space."""

    loss: str = "info_nce"  # info_nce, sigmoid_pairwise, hardest_triplet
    embedding_dim: int = 512  # D of the shared space
    temperature: float = 0.07  # where the learned temperature starts
    margin: float = 0.2  # of the triplet loss
    querybank: int = 0  # training images, with a caption each, that what lies near to everything is told by; 0: none
    rerank_with: str = ""  # run of the matching task whose scores, added, order the first candidates anew
    rerank_candidates: int = 20


@dataclass(frozen=True)
class SelfCriticalConfig:
    """The second phase: self-critical sequence training (Rennie et al., 2017)."""

    epochs: int = 0  # zero: no second phase
    samples: int = 5  # sampled captions per image; the baseline of each is the mean reward of the others
    temperature: float = 0.5  # of the samples and of the gradient; 1 draws too many words that no search would write
    learning_rate: float = 2e-5
    cross_entropy: float = 0.0  # weight of the first phase's loss, added to that of the reward
    region_dropout: float = 0.0  # share of a cached image's tokens that a step does not see


@dataclass(frozen=True)
class TrainingConfig:
    """How long, how fast, and where."""

    epochs: int = 20
    seed: int = 0
    strategy: str = "auto"  # auto, none, mirrored, multi_worker
    jit_compile: str = "auto"  # auto: on with a GPU; on; off
    precision: str = "float32"  # float32, mixed_bfloat16 (slower on a CPU without AMX), mixed_float16
    learning_rate: float = 5e-4
    warmup_steps: int = 500
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    accumulate_steps: int = 1  # batches whose gradients are added before the weights move
    label_smoothing: float = 0.1
    ema_decay: float = 0.0  # zero: no moving average of the weights
    checkpoint_steps: int = 0  # steps between checkpoints; zero: at epoch ends only
    patience: int = 0  # epochs without a better development measure before stopping; zero: never
    evaluate_every: int = 1  # epochs between development measures
    evaluate_examples: int = 0  # development images measured at epoch ends; zero: all
    self_critical: SelfCriticalConfig = field(default_factory=SelfCriticalConfig)


@dataclass(frozen=True)
class GenerationConfig:
    """How captions are written."""

    method: str = "beam"  # greedy, beam, sample
    beam_size: int = 3
    num_captions: int = 1  # captions returned per image, best first; at most beam_size
    max_length: int = 20  # tokens, the end token included
    min_length: int = 0
    length_penalty: float = 0.7  # alpha of Wu et al. (2016), equation 14; 0 ranks by log-probability
    no_repeat_ngram: int = 0  # no n-gram of this size appears twice; 0 is off
    repetition_penalty: float = 1.0  # Keskar et al. (2019), section 4.1; 1 is off
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    # of captioning: folder that `vl-keras make-memory` wrote; the captions that a search or samples give are ranked
    # anew by how well they agree with what people said of such images
    memory: str = ""
    consensus_weight: float = 3.0  # of the CIDEr-D with those, added to the score


@dataclass(frozen=True)
class Config:
    """One experiment."""

    task: str = "captioning"  # one of config_rules.TASK_NAMES
    data: DataConfig = field(default_factory=DataConfig)
    text: TextConfig = field(default_factory=TextConfig)
    image_encoder: ImageEncoderConfig = field(default_factory=ImageEncoderConfig)
    text_encoder: TextEncoderConfig = field(default_factory=TextEncoderConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    vqa: VqaConfig = field(default_factory=VqaConfig)
    matching: MatchingConfig = field(default_factory=MatchingConfig)
    retrieval: RetrievalConfig = field(default_factory=RetrievalConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    generation: GenerationConfig = field(default_factory=GenerationConfig)

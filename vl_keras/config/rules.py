"""What each setting may be, and what may not stand beside what."""

from vl_keras.errors import ConfigError

# What `task`, `model.fusion` and `retrieval.loss` may be; the things themselves lie above this module.
TASK_NAMES = ("captioning", "vqa", "free_form_vqa", "matching", "retrieval")
FUSION_NAMES = (
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
)
LOSS_NAMES = ("info_nce", "sigmoid_pairwise", "hardest_triplet")


def check_config(config):
    """Raises `ConfigError` for the first value that breaks its rule."""
    rules = _rules(config)
    for key, value, holds, rule in rules:
        if not holds:
            raise ConfigError(f"`{key}` must {rule}; got {value!r}.")
    model = config.model
    if model.hidden_dim % model.num_heads:
        raise ConfigError(
            f"`model.hidden_dim` must be divisible by `model.num_heads`; got {model.hidden_dim} and {model.num_heads}."
        )
    if config.task == "captioning" and config.text_encoder.encoder and config.data.context == "none":
        raise ConfigError(
            "`text_encoder.encoder` is set but `data.context` is none, so it would read nothing; set `data.context` to "
            "field or caption_words, or leave the encoder empty."
        )
    if config.text_encoder.cache_features and (config.text_encoder.trainable or not config.text_encoder.encoder):
        raise ConfigError(
            "`text_encoder.cache_features` needs a frozen hub encoder (`text_encoder.encoder`, and `trainable` false): "
            "cached features do not follow training."
        )
    if config.text_encoder.cache_features and config.task == "free_form_vqa":
        raise ConfigError("`text_encoder.cache_features` is for vqa, matching and retrieval; free_form_vqa reads ids.")
    vectors = config.text.word_vectors
    if (vectors.encoder or vectors.preprocessor) and config.task != "captioning":
        raise ConfigError("`text.word_vectors` is for captioning; the other tasks read texts with `text_encoder`.")
    if bool(vectors.encoder) != bool(vectors.preprocessor):
        raise ConfigError("`text.word_vectors` needs both its `encoder` and its `preprocessor`, or neither.")
    augment = config.data.augment
    if config.text_encoder.cache_features and (augment.synonym or augment.word_deletion or augment.word_swap):
        raise ConfigError(
            "`text_encoder.cache_features` reads texts as they were encoded once, so they cannot be changed in "
            "training; set `data.augment.synonym`, `word_deletion` and `word_swap` to 0, or do not cache."
        )
    if config.image_encoder.cache_features and config.image_encoder.trainable_from:
        raise ConfigError(
            "`image_encoder.cache_features` needs a frozen encoder, since cached features do not follow its training; "
            f"`image_encoder.trainable_from` is {config.image_encoder.trainable_from!r}."
        )


def _rules(config):
    data, text, training, generation = config.data, config.text, config.training, config.generation

    def one_of(section, name, allowed):
        value = getattr(getattr(config, section), name)
        return f"{section}.{name}", value, value in allowed, f"be one of {', '.join(allowed)}"

    def at_least(section, least, *names):
        for name in names:
            value = getattr(getattr(config, section), name)
            yield f"{section}.{name}", value, value >= least, f"be at least {least}"

    def below_one(section, *names):
        for name in names:
            value = getattr(getattr(config, section), name)
            yield f"{section}.{name}", value, 0 <= value < 1, "be at least 0 and below 1"

    def share(section_name, section, *names):
        for name in names:
            value = getattr(section, name)
            yield f"{section_name}.{name}", value, 0 <= value <= 1, "lie between 0 and 1"

    yield "task", config.task, config.task in TASK_NAMES, f"be one of {', '.join(TASK_NAMES)}"
    yield one_of("data", "context", ("none", "field", "caption_words"))
    yield one_of("model", "fusion", FUSION_NAMES)
    yield one_of("retrieval", "loss", LOSS_NAMES)
    yield one_of("model", "decoder", ("transformer", "lstm"))
    yield one_of("model", "reads", ("both", "text", "image"))
    yield one_of("matching", "negatives", ("random", "nearest", "batch", "hardest", "given"))
    yield one_of("training", "strategy", ("auto", "none", "mirrored", "multi_worker"))
    yield one_of("training", "jit_compile", ("auto", "on", "off"))
    yield one_of("training", "precision", ("float32", "mixed_bfloat16", "mixed_float16"))
    yield one_of("generation", "method", ("greedy", "beam", "sample"))
    yield from at_least("data", 1, "max_pixels", "batch_size", "captions_per_image")
    yield from at_least("data", 0, "max_examples")
    yield from at_least("model", 1, "hidden_dim", "num_heads", "intermediate_dim", "members")
    members = config.model.members
    yield "model.members", members, config.task == "captioning" or members == 1, f"be 1 for {config.task}"
    yield from at_least("model", 0 if config.task == "retrieval" else 1, "num_layers")
    yield from at_least("model", 0, "image_layers")
    yield from at_least("image_encoder", 1, "cache_views")
    yield from at_least("text_encoder", 2, "max_length")
    yield from at_least("text_encoder", 1, "num_layers")
    yield from at_least("vqa", 2, "num_answers")
    yield from at_least("matching", 1, "neighbours")
    yield from at_least("retrieval", 1, "embedding_dim", "rerank_candidates")
    yield from at_least("retrieval", 0, "querybank", "margin")
    yield from at_least(
        "training", 0, "epochs", "warmup_steps", "weight_decay", "clip_norm", "checkpoint_steps", "patience"
    )
    yield from at_least("training", 0, "evaluate_examples", "seed")
    yield from at_least("training", 1, "accumulate_steps", "evaluate_every")
    yield from at_least("generation", 1, "beam_size", "num_captions", "max_length")
    yield from at_least("generation", 0, "min_length", "no_repeat_ngram", "top_k")
    critical = training.self_critical
    yield "training.self_critical.epochs", critical.epochs, critical.epochs >= 0, "be at least 0"
    yield "training.self_critical.samples", critical.samples, critical.samples >= 2, "be at least 2"
    rate = critical.learning_rate
    yield "training.self_critical.learning_rate", rate, rate > 0, "be above 0"
    yield from share("data", data, "max_bad_share", "context_dropout")
    yield from share("data.augment", data.augment, "crop_min_area", "color", "synonym", "word_deletion", "word_swap")
    yield from share("training", training, "label_smoothing")
    yield from below_one("model", "dropout", "image_dropout", "word_dropout")
    yield from below_one("training", "ema_decay")
    yield "generation.top_p", generation.top_p, 0 < generation.top_p <= 1, "be above 0 and at most 1"
    yield from share("vqa", config.vqa, "target_accuracy")
    yield "retrieval.temperature", config.retrieval.temperature, config.retrieval.temperature > 0, "be above 0"
    yield "data.augment.crop_min_area", data.augment.crop_min_area, data.augment.crop_min_area > 0, "be above 0"
    yield "training.self_critical.temperature", critical.temperature, critical.temperature > 0, "be above 0"
    mixed = critical.cross_entropy
    yield "training.self_critical.cross_entropy", mixed, mixed >= 0, "be 0 or above"
    hidden = critical.region_dropout
    yield "training.self_critical.region_dropout", hidden, 0 <= hidden < 1, "be at least 0 and below 1"
    yield "generation.temperature", generation.temperature, generation.temperature > 0, "be above 0"
    yield (
        "generation.num_captions",
        generation.num_captions,
        generation.method == "sample" or generation.num_captions <= generation.beam_size,
        f"be at most `generation.beam_size` ({generation.beam_size})",
    )
    if generation.memory:
        yield "generation.memory", generation.memory, config.task == "captioning", f"be empty for {config.task}"
        method = generation.method
        yield "generation.method", method, method != "greedy", "be beam or sample where `generation.memory` is set"
        layer = config.image_encoder.trainable_from
        yield "image_encoder.trainable_from", layer, not layer, "be empty where `generation.memory` is set"
    weight = generation.consensus_weight
    yield "generation.consensus_weight", weight, weight > 0, "be above 0"
    shortest = generation.min_length
    yield "generation.min_length", shortest, shortest <= generation.max_length, "be at most `generation.max_length`"
    penalty = generation.repetition_penalty
    yield "generation.repetition_penalty", penalty, penalty > 0, "be above 0"
    angle = data.augment.rotation
    yield "data.augment.rotation", angle, 0 <= angle <= 180, "lie between 0 and 180 (degrees)"
    yield "data.shapes.scenes", data.shapes.scenes, data.shapes.scenes >= 1, "be at least 1"
    yield "text.vocab_size", text.vocab_size, text.vocab_size >= 8, "be at least 8"
    yield "text.max_length", text.max_length, text.max_length >= 2, "be at least 2 (a word and the end)"
    for name, size in (("data.shapes.image_size", data.shapes.image_size), ("data.image_size", data.image_size)):
        yield name, size, min(size) >= 16, "be at least 16 pixels each way"
    yield (
        "data.length_buckets",
        data.length_buckets,
        list(data.length_buckets) == sorted(set(data.length_buckets)) and min(data.length_buckets, default=1) > 0,
        "rise, e.g. [12, 16, 24]",
    )
    yield "training.learning_rate", training.learning_rate, training.learning_rate > 0, "be above 0"

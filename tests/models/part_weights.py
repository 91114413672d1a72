"""The models of the tiny configs, and some variants, with the weights of their parts.

A checkpoint stores each part as a list of variables in order, so names, shapes and order must not change.
`python -m tests.models.part_weights` prints what `part_weights.json` holds.
"""

import json
from pathlib import Path

import vl_keras  # noqa: F401  before TensorFlow  # isort: skip
import tensorflow as tf
import tf_keras as keras

from vl_keras.config import load_config
from vl_keras.encoders.image_encoder import build_image_encoder
from vl_keras.encoders.text_model import TextModelSettings, small_text_model
from vl_keras.layers.fusion import FUSIONS
from vl_keras.models.answer_writer import build_answer_writer
from vl_keras.models.captioner import build_captioner
from vl_keras.models.dual_encoder import build_dual_encoder
from vl_keras.models.pair_classifier import build_pair_classifier

FROZEN = Path(__file__).with_name("part_weights.json")
_CONFIGS = Path(__file__).resolve().parents[2] / "configs"
_VOCABULARY, _ANSWERS = 23, 5
_BLOCKS = ("hidden_dim", "num_heads", "num_layers", "image_layers", "intermediate_dim", "dropout", "image_dropout")
VARIANTS = {
    "captioning": {
        "": (),
        "lstm": ("model.decoder=lstm", "model.num_layers=2"),
        "context": ("context",),
        "members": ("model.members=2", "context"),
        "blocks": ("model.image_layers=2", "model.num_layers=2", "cached"),
    },
    "free_form_vqa": {"": (), "blocks": ("model.image_layers=1", "cached")},
    "vqa": {"": (), "blocks": ("model.image_layers=2", "cached")}
    | {name: (f"model.fusion={name}",) for name in FUSIONS},
    "matching": {"": (), "all_pairs": ("all_pairs", "cached")},
    "retrieval": {"": (), "blocks": ("model.image_layers=2", "model.num_layers=1", "cached")},
}


def tiny_model(task, marks=()):
    """The model of a task's tiny config, with overrides and with `context`, `cached` or `all_pairs` among `marks`."""
    overrides = [mark for mark in marks if "=" in mark]
    config = load_config(_CONFIGS / task / "tiny.yaml", overrides)
    image = build_image_encoder(config.image_encoder.backbone, "none", "all", config.data.image_size)
    model = config.model
    settings = {name: getattr(model, name) for name in _BLOCKS} | {"from_image_tokens": "cached" in marks}
    if task == "captioning":
        context = _context_encoder() if "context" in marks else None
        settings |= {"decoder": model.decoder, "members": model.members, "max_length": config.text.max_length}
        return build_captioner(image, _VOCABULARY, text_encoder=context, **settings)
    layers = config.text_encoder.num_layers
    sizes = (model.hidden_dim, model.num_heads, layers, model.intermediate_dim, model.dropout)
    text = small_text_model(TextModelSettings(_VOCABULARY, config.text.max_length, *sizes))
    if task == "free_form_vqa":
        return build_answer_writer(image, text, _VOCABULARY, max_length=config.generation.max_length, **settings)
    if task == "retrieval":
        return build_dual_encoder(image, text, config.sections["retrieval"].embedding_dim, log_scale=1.0, **settings)
    settings |= {"fusion": model.fusion, "all_pairs": "all_pairs" in marks}
    return build_pair_classifier(image, text, _ANSWERS if task == "vqa" else 1, **settings)


def parts(task, model):
    """Dict of part -> keras.Model, as the task stores them."""
    if task in ("captioning", "free_form_vqa"):
        captioner = getattr(model, "captioner", model)
        return {
            "image_encoder": captioner.image_encoder,
            "reader": captioner.reader,
            "decoder": captioner.decoder.model,
        }
    names = {"retrieval": ("image_encoder", "text_encoder", "image_head", "text_head", "scale")}
    names = names.get(task, ("image_encoder", "text_encoder", "image_reader", "pair_reader"))
    return {name: getattr(model, name) for name in names}


def described(task, marks):
    """Dict of part -> list of [name, shape] of its weights, in order."""
    keras.backend.clear_session()  # Keras counts names up
    model = tiny_model(task, marks)
    return {
        name: [[weight.name, list(weight.shape)] for weight in part.weights]
        for name, part in parts(task, model).items()
    }


def _context_encoder():
    ids = keras.Input((None,), dtype="int32", name="input_word_ids")
    mask = keras.Input((None,), dtype="int32", name="input_mask")
    tokens = keras.layers.Embedding(20, 6, name="words")(ids) * tf.cast(mask, tf.float32)[..., None]
    outputs = {"text_tokens": tokens, "text_mask": mask > 0}
    return keras.Model({"input_word_ids": ids, "input_mask": mask}, outputs, name="text_encoder")


if __name__ == "__main__":
    rows = (
        f'"{task} {name}": {json.dumps(described(task, marks))}'
        for task, own in VARIANTS.items()
        for name, marks in own.items()
    )
    print("{\n" + ",\n".join(rows) + "\n}")

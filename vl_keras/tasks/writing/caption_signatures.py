"""The serving signatures of captioning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from vl_keras.encoders.token_layout import token_layout
from vl_keras.tasks.serving_signature import ServingSignature

if TYPE_CHECKING:
    from vl_keras.models.captioner import Captioner
    from vl_keras.tasks.captioning import CaptioningTask


def caption_signatures(task: CaptioningTask, captioner: Captioner) -> dict[str, ServingSignature]:
    """Dict of name -> `ServingSignature`; a model that reads a context has `caption_with_context` too.

    `caption`: the best caption and its score: the length-normalised log-probability, with `generation.memory` plus its
    weighted consensus. `caption_candidates`: all captions that the search keeps, best first. `caption_explain`: also
    the caption's L tokens (empty strings after its end) and the attention weights of each, `(B, L, rows, columns)`, or
    `(B, L, R)` if the image's tokens are not a grid. `embed_image`: the image encoder's vector.
    """
    captioner = task.prepare(captioner)
    settings = task.generation_settings()
    kept = settings["num_captions"] if settings["method"] == "sample" else settings["beam_size"]
    layout = token_layout(captioner.image_encoder, task.config.data.image_size)
    vocabulary = tf.constant(task.tokenizer.vocab)

    def write(inputs: dict[str, tf.Tensor], **changes: Any) -> Any:  # `Generated`
        contexts = inputs.get("context", tf.fill(tf.shape(inputs["image"])[:1], ""))
        read = task.text_encoder.preprocess(contexts) if task.text_encoder is not None else {}
        return captioner.generate({"image": inputs["image"], **read}, **{**settings, **changes})

    def caption(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        written = write(inputs, num_captions=1)
        return {"caption": task.tokenizer.detokenize(written.tokens[:, 0]), "score": written.scores[:, 0]}

    def candidates(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        method = "beam" if settings["method"] == "greedy" else settings["method"]
        written = write(inputs, method=method, num_captions=kept)
        return {"captions": task.tokenizer.detokenize(written.tokens), "scores": written.scores}

    def explain(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        written = write(inputs, num_captions=1, return_attention=True)
        tokens, attention = written.tokens[:, 0], written.attention[:, 0]
        attention = tf.ensure_shape(attention, (None, settings["max_length"], None))
        is_word = (tokens != task.tokenizer.PAD) & (tokens != task.tokenizer.END)
        return {
            "caption": task.tokenizer.detokenize(tokens),
            "score": written.scores[:, 0],
            "tokens": tf.where(is_word, tf.gather(vocabulary, tokens), ""),
            "attention": layout.arrange(attention),
        }

    def embed(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {
            "embedding": tf.cast(captioner.image_encoder(inputs["image"], training=False)["image_vector"], tf.float32)
        }

    signatures = {
        "caption": ServingSignature(caption, ("image",)),
        "caption_candidates": ServingSignature(candidates, ("image",)),
        "caption_explain": ServingSignature(explain, ("image",)),
        "embed_image": ServingSignature(embed, ("image",)),
    }
    if task.text_encoder is not None:
        signatures["caption_with_context"] = ServingSignature(caption, ("image", "context"))
    return signatures

"""The serving signatures of retrieval."""

from vl_keras.tasks.serving_signature import ServingSignature


def retrieval_signatures(task, model):
    """Dict of name -> `ServingSignature`: `embed_image`, the default, and `embed_text`, to `embedding` `(B, E)`.

    The vectors are L2-normalised: the inner product of an image's and a text's is their similarity.
    """

    def embed_image(inputs):
        return {"embedding": task.embed_images(model, inputs["image"])}

    def embed_text(inputs):
        return {"embedding": task.embed_texts(model, inputs["text"])}

    return {
        "embed_image": ServingSignature(embed_image, ("image",)),
        "embed_text": ServingSignature(embed_text, ("text",)),
    }

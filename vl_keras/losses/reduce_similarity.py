"""What a contrastive loss needs of the similarities of all images and texts, without holding them all."""

import tensorflow as tf


def reduce_similarity(terms, reduce, neutral, image, text, owner, scale=1.0, bias=0.0, chunk_size=None):
    """Reduces the matrix `scale * text · imageᵀ + bias` along both axes.

    With `chunk_size` the rows of so many texts are made at a time, and made again for the gradient: memory grows with
    `chunk_size * B` and not with `M * B`, for a third more arithmetic. That holds inside a `tf.function`; a gradient
    tape that runs eagerly keeps every operation's results.

    Args:
        terms: function of similarities `(rows, B)` float32, and of where the text is the image's own `(rows, B)` bool,
            to the terms to be reduced `(rows, B)`.
        reduce: `tf.reduce_sum`, `tf.reduce_max`, `tf.reduce_logsumexp`: that which, of its results for the parts,
            makes the result for the whole.
        neutral: the term that changes no result of `reduce`.
        image: `(B, D)` float.
        text: `(M, D)` float.
        owner: `(M,)` int: the image, a row of `image`, that each text belongs to.
        scale, bias: scalars of the similarities.
        chunk_size: texts at a time; None takes all at once.

    Returns:
        float32 `(M,)` similarity of each text to its own image, `(M,)` reduction of each text's terms, `(B,)` reduction
        of each image's.
    """
    image, text, scale, bias = (tf.cast(tensor, tf.float32) for tensor in (image, text, scale, bias))
    owner = tf.cast(owner, tf.int32)
    number = tf.range(tf.shape(image)[0])

    def reductions(image, text, scale, bias, owner, padded=False):
        similarity = tf.matmul(scale * text, image, transpose_b=True) + bias
        same = owner[:, None] == number
        own = tf.reduce_sum(tf.where(same, similarity, 0.0), axis=1)
        values = terms(similarity, same)
        if padded:
            values = tf.where(owner[:, None] < 0, neutral, values)
        return own, reduce(values, axis=1), reduce(values, axis=0)

    if chunk_size is None:
        return reductions(image, text, scale, bias, owner)
    if chunk_size < 1:
        raise ValueError(f"`chunk_size` must be at least 1, or None for no chunks; got {chunk_size}.")

    count = tf.shape(text)[0] if text.shape[0] is None else text.shape[0]
    num_chunks = (count + chunk_size - 1) // chunk_size
    padding = num_chunks * chunk_size - count
    padded = tf.is_tensor(padding) or padding > 0
    chunks, owners = text, owner
    if padded:
        chunks = tf.pad(text, [[0, padding], [0, 0]])
        owners = tf.pad(owner, [[0, padding]], constant_values=-1)
    chunks = tf.reshape(chunks, [num_chunks, chunk_size, text.shape[-1]])
    owners = tf.reshape(owners, [num_chunks, chunk_size])

    @tf.custom_gradient
    def reduce_chunks(image, chunks, scale, bias):
        results = tf.map_fn(
            lambda place: reductions(image, chunks[place], scale, bias, owners[place], padded),
            tf.range(num_chunks),
            fn_output_signature=(tf.float32, tf.float32, tf.float32),
            parallel_iterations=1,
        )

        def gradient(*upstream):
            def add(place, of_chunks, sums):
                inputs = (chunks[place], image, scale, bias)
                with tf.GradientTape() as tape:
                    tape.watch(inputs)
                    again = reductions(image, inputs[0], scale, bias, owners[place], padded)
                to_chunk, *more = tape.gradient(again, inputs, [part[place] for part in upstream])
                sums = [total + part for total, part in zip(sums, more, strict=True)]
                return place + 1, of_chunks.write(place, to_chunk), sums

            _, of_chunks, (of_image, of_scale, of_bias) = tf.while_loop(
                lambda place, *_: place < num_chunks,
                add,
                (0, tf.TensorArray(tf.float32, num_chunks), [tf.zeros_like(sum_of) for sum_of in (image, scale, bias)]),
                parallel_iterations=1,
            )
            return of_image, of_chunks.stack(), of_scale, of_bias

        return results, gradient

    own, of_text, of_image = reduce_chunks(image, chunks, scale, bias)
    return tf.reshape(own, [-1])[:count], tf.reshape(of_text, [-1])[:count], reduce(of_image, axis=0)


def negatives(similarity, same):
    """Terms of the pairs that do not belong together, as they are; of the others, the lowest number that there is."""
    return tf.where(same, similarity.dtype.min, similarity)

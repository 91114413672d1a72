"""Loss and gradients of a contrastive batch that is larger than memory."""

import tensorflow as tf

_SAME = 0.05  # relative distance of a chunk's two encodings: rounding stays far below, dropout's noise is above


def cached_gradients(encode, loss, batch, num_chunks, variables, generators=()):
    """Gradients of a loss over a whole batch, encoding one chunk of it at a time (Gao et al., 2021, section 3.2).

    A first pass encodes all chunks without keeping what a gradient needs. The loss of all vectors gives the gradient
    with respect to each vector. A second pass encodes every chunk again and carries these back to the weights. Memory
    is one chunk's activations and all vectors; the cost is one more forward pass.

    Both passes must draw the same dropout masks. Keras layers draw them from `tf.random.Generator`s where these were
    enabled when the layers were made; given as `generators`, they are set back for each chunk's second encoding, and
    end where one pass leaves them. Other randomness is refused: an encoding that comes out different the second time
    stops the step (under XLA, which knows no assertions, it does not).

    A layer that mixes rows, such as batch normalisation in training mode, sees a chunk and not the whole batch.

    Args:
        encode: function of a chunk, structured as `batch`, to image vectors `(B / N, D)` and text vectors `(M / N, D)`.
        loss: function of image vectors `(B, D)` and text vectors `(M, D)` to a scalar, e.g. `replica_loss` with the
            owners of all texts; it may use variables of its own. For float16, let it scale its result.
        batch: nest of tensors whose first axis divides by N: images, and texts K to each in their order.
        num_chunks: N.
        variables: list of those to differentiate by.
        generators: list of the `tf.random.Generator`s that `encode` draws from.

    Returns:
        The loss and a list of gradients, None where nothing depends on the variable.

    Raises:
        ValueError: the batch does not divide by `num_chunks`.
        tf.errors.InvalidArgumentError: `encode` draws random numbers from elsewhere.
    """
    chunks = tf.nest.map_structure(lambda tensor: _split(tensor, num_chunks), batch)

    def encoded(place):
        image, text = encode(tf.nest.map_structure(lambda tensor: tensor[place], chunks))
        return tf.cast(image, tf.float32), tf.cast(text, tf.float32)

    def first_pass(place):
        states = [tf.convert_to_tensor(generator.state) for generator in generators]
        return *encoded(place), states

    image, text, states = tf.map_fn(
        first_pass,
        tf.range(num_chunks),
        fn_output_signature=(tf.float32, tf.float32, [tf.int64] * len(generators)),
        parallel_iterations=1,
    )
    with tf.GradientTape() as tape:
        tape.watch((image, text))
        value = loss(_joined(image), _joined(text))
    upstream, direct = tape.gradient(value, ((image, text), list(variables)))
    direct = [None if gradient is None else tf.convert_to_tensor(gradient) for gradient in direct]
    unused = set(range(len(direct)))  # variables that `encode` does not use, known once the loop's body is traced

    def second_pass(place, sums):
        for generator, state in zip(generators, states, strict=True):
            # Past the distributed variable, which cannot be assigned to by a replica: each has its own generator.
            tf.raw_ops.AssignVariableOp(resource=generator.state.handle, value=state[place])
        with tf.GradientTape() as tape:
            again = encoded(place)
        _assert_same(again, (image[place], text[place]))
        gradients = tape.gradient(again, variables, output_gradients=[gradient[place] for gradient in upstream])
        unused.difference_update(i for i, gradient in enumerate(gradients) if gradient is not None)
        return place + 1, [total if g is None else total + g for total, g in zip(sums, gradients, strict=True)]

    _, sums = tf.while_loop(
        lambda place, sums: place < num_chunks,
        second_pass,
        (0, [tf.zeros(variable.shape, variable.dtype) for variable in variables]),
        parallel_iterations=1,
        maximum_iterations=num_chunks,
    )
    return value, [
        own if place in unused else (total if own is None else total + own)
        for place, (total, own) in enumerate(zip(sums, direct, strict=True))
    ]


def _split(tensor, num_chunks):
    tensor = tf.convert_to_tensor(tensor)
    if tensor.shape[0] is not None and tensor.shape[0] % num_chunks:
        raise ValueError(f"A batch of {tensor.shape[0]} rows does not divide by `num_chunks`; got {num_chunks}.")
    shape = tf.shape(tensor)
    return tf.reshape(tensor, tf.concat([[num_chunks, shape[0] // num_chunks], shape[1:]], axis=0))


def _joined(vectors):
    return tf.reshape(vectors, [-1, vectors.shape[-1]])


def _assert_same(again, first):
    for new, old in zip(again, first, strict=True):
        tf.debugging.assert_less_equal(
            tf.norm(new - old),
            _SAME * tf.norm(old),
            "The gradient cache encoded a chunk twice and got different vectors: dropout, or another layer, draws "
            "from a random generator that was not given as `generators`. Make the layers with Keras's generators "
            "enabled and give these, or call `encode` with training=False.",
        )

"""Loss and gradients of a contrastive batch that is larger than memory."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

# Largest relative distance of a chunk's two encodings: far above rounding, and below the noise of dropout.
_SAME = 0.05


def cached_gradients(
    encode: Callable[[Any], tuple[tf.Tensor, tf.Tensor]],
    loss: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    batch: Any,
    num_chunks: int,
    variables: Sequence[tf.Variable],
    generators: Sequence[tf.random.Generator] = (),
) -> tuple[tf.Tensor, list[tf.Tensor | None]]:
    """Computes the gradients of a loss over a whole batch, one chunk at a time (Gao et al., 2021, section 3.2).

    A first pass encodes all chunks and discards their activations. The loss of all vectors yields the gradient with
    respect to each vector. A second pass encodes every chunk again and backpropagates these gradients to the weights.
    Memory holds one chunk's activations and all vectors; the cost is one more forward pass.

    Both passes must draw the same dropout masks. Keras layers draw them from `tf.random.Generator`s if these were
    enabled when the layers were created. Each generator in `generators` is reset before a chunk's second encoding, and
    ends in the state that a single pass leaves. Other randomness is refused: the step fails if a chunk's second
    encoding differs from its first (except under XLA, which ignores assertions).

    A layer that mixes rows, such as batch normalisation in training mode, sees one chunk and not the whole batch.

    Args:
        encode: function of a chunk, structured as `batch`, to image vectors `(B / N, D)` and text vectors `(M / N, D)`.
        loss: function of image vectors `(B, D)` and text vectors `(M, D)` to a scalar, e.g. `replica_loss` with the
            owners of all texts; it may use variables of its own. With float16 it must scale its result itself.
        batch: nest of tensors whose first axis is divisible by N: images, and K texts for each image in their order.
        num_chunks: N.
        variables: the variables to differentiate with respect to.
        generators: the `tf.random.Generator`s that `encode` draws from.

    Returns:
        The loss and a list of gradients, None for a variable that the loss does not depend on.

    Raises:
        ValueError: the batch size is not divisible by `num_chunks`.
        tf.errors.InvalidArgumentError: `encode` draws random numbers from another source.
    """
    chunks = tf.nest.map_structure(lambda tensor: _split(tensor, num_chunks), batch)

    def encoded(place: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image, text = encode(tf.nest.map_structure(lambda tensor: tensor[place], chunks))
        return tf.cast(image, tf.float32), tf.cast(text, tf.float32)

    def first_pass(place: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
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
    unused = set(range(len(direct)))  # variables that `encode` does not use: known once the loop's body is traced

    def second_pass(place: tf.Tensor, sums: list[tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
        for generator, state in zip(generators, states, strict=True):
            # We write to the resource itself: a replica cannot assign to the distributed variable around it.
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


def _split(tensor: tf.Tensor, num_chunks: int) -> tf.Tensor:
    tensor = tf.convert_to_tensor(tensor)
    if tensor.shape[0] is not None and tensor.shape[0] % num_chunks:
        raise ValueError(f"The batch size must be divisible by `num_chunks`; got {tensor.shape[0]} and {num_chunks}.")
    shape = tf.shape(tensor)
    return tf.reshape(tensor, tf.concat([[num_chunks, shape[0] // num_chunks], shape[1:]], axis=0))


def _joined(vectors: tf.Tensor) -> tf.Tensor:
    return tf.reshape(vectors, [-1, vectors.shape[-1]])


def _assert_same(again: Sequence[tf.Tensor], first: Sequence[tf.Tensor]) -> None:
    for new, old in zip(again, first, strict=True):
        tf.debugging.assert_less_equal(
            tf.norm(new - old),
            _SAME * tf.norm(old),
            "The gradient cache encoded a chunk twice and got different vectors: dropout, or another layer, draws "
            "from a random generator that was not given as `generators`. Create the layers with Keras's random "
            "generators enabled and pass these, or call `encode` with training=False.",
        )

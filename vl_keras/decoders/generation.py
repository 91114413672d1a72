"""Writing captions in the graph: greedy, sampling and beam search over a decoder's step function.

`generate` runs one step from the common start of all captions and then a `tf.while_loop` over static shapes, so it
works eagerly, in a `tf.function`, under XLA and in a SavedModel.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from vl_keras.decoders.decoder import Decoder

_NEVER = -1e9  # the score of a token that must not be chosen; finite, so that sums stay ordered

_Loop = dict[str, Any]  # the loop's variables
_Choose = Callable[[tf.Tensor, _Loop], tuple[tf.Tensor | None, tf.Tensor, tf.Tensor]]


class Generated(NamedTuple):
    """Captions of a batch of images, best first.

    Attributes:
        tokens: `(B, K, L)` int32, the end token included, zeros after it.
        scores: `(B, K)` float32, length-normalised log-probability.
        log_probs: `(B, K)` float32, log-probability of the whole caption.
        attention: `(B, K, L, R)` float32, the attention weights of each token, or None if they were not requested.
    """

    tokens: tf.Tensor
    scores: tf.Tensor
    log_probs: tf.Tensor
    attention: tf.Tensor | None


def generate(
    decoder: Decoder,
    memory: tf.Tensor,
    memory_mask: tf.Tensor,
    *,
    method: str = "beam",
    beam_size: int = 3,
    num_captions: int = 1,
    max_length: int = 20,
    min_length: int = 0,
    length_penalty: float = 0.7,
    no_repeat_ngram: int = 0,
    repetition_penalty: float = 1.0,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int | tf.Tensor = 0,
    start_id: int = 2,
    end_id: int = 3,
    forbidden_ids: Sequence[int] = (0, 1, 2),
    return_attention: bool = False,
) -> Generated:
    """Writes captions for images.

    Beam search keeps the `beam_size` best captions, finished or not, by length-normalised log-probability. A finished
    caption keeps its place and its score until better ones replace it. The search ends when `num_captions` finished
    captions are kept that no unfinished one can still beat. All captions of an image start with the same token, so the
    first step runs once for each image, whatever the number of beams.

    Args:
        decoder: the decoder that writes the captions.
        memory: `(B, R, D)`.
        memory_mask: `(B, R)` bool.
        method: `greedy` (always the most probable token), `beam`, or `sample`.
        beam_size: number of captions that beam search keeps.
        num_captions: K, the number of captions returned. Beam: the best of the `beam_size` kept; sample: independent
            samples; greedy: 1.
        max_length: L, the largest number of tokens, including the end token; a longer caption is cut there.
        min_length: smallest number of tokens, including the end token.
        length_penalty: alpha in `score = log_prob / ((5 + length) / 6) ** alpha` (Wu et al., 2016, equation 14).
        no_repeat_ngram: no n-gram of this size occurs twice in a caption; 0 is off (Paulus et al., 2018, section 2.5).
        repetition_penalty: divides the positive and multiplies the negative logits of tokens that the caption already
            contains (Keskar et al., 2019, section 4.1); 1 is off.
        temperature, top_k, top_p: for sampling only. Logits are divided by `temperature`; then the `top_k` most
            probable tokens are kept (0: all); then the smallest set with `top_p` of the probability (Holtzman et al.,
            2020, section 3.1).
        seed: for sampling only: int or `(2,)` int32 tensor. The same seed and batch shape yield the same captions.
        start_id, end_id, forbidden_ids: ids of the vocabulary; forbidden tokens are never written.
        return_attention: whether to return the attention weights of each token.

    Returns:
        `Generated`. Log-probabilities are the model's own, after repetition penalty and forbidden tokens, before
        temperature, `top_k` and `top_p`.

    Raises:
        ValueError: `method` is unknown, or `num_captions` is larger than `beam_size`.
    """
    if method not in ("greedy", "beam", "sample"):
        raise ValueError(f"`method` must be greedy, beam or sample; got {method!r}.")
    if method == "beam" and num_captions > beam_size:
        raise ValueError(f"`num_captions` must be at most `beam_size`; got {num_captions} and {beam_size}.")
    num_beams = {"greedy": 1, "beam": beam_size, "sample": num_captions}[method]
    rules = _Rules(decoder.vocab_size, end_id, tuple(forbidden_ids), min_length, no_repeat_ngram, repetition_penalty)
    if method == "beam":
        choose = _beam_choice(num_beams, length_penalty)
        is_over = _beam_is_over(num_captions, length_penalty, max_length)
    else:
        choose = _single_choice(num_beams, method == "sample", temperature, top_k, top_p, seed)
        is_over = _all_finished

    batch, regions = tf.shape(memory)[0], tf.shape(memory)[1]
    state = decoder.initial_state(memory, memory_mask, num_beams, max_length)
    loop: _Loop = {  # for one beam; the first step extends it to all
        "position": tf.constant(0),
        "decoder": state,
        "last": tf.fill((batch, 1), start_id),
        "tokens": tf.zeros((batch, 1, max_length), tf.int32),
        "log_probs": tf.zeros((batch, 1)),
        "lengths": tf.zeros((batch, 1), tf.int32),
        "finished": tf.zeros((batch, 1), tf.bool),
    }
    if return_attention:
        # Attention stays in the slot where it was written; only `slots`, the slots of each beam's past, is reordered.
        loop["attention"] = tf.zeros((max_length, batch, num_beams, regions))
        loop["slots"] = tf.zeros((batch, 1, max_length), tf.int32)

    def advance(loop: _Loop) -> _Loop:
        position = loop["position"]
        logits, state, weights = decoder.step(loop["decoder"], loop["last"], rules.bias(position))
        logits = rules.apply(logits, loop["tokens"], position)
        parents, token, log_probs = choose(logits, loop)
        if parents is not None:
            state = decoder.reorder(state, parents)
            loop = {**loop, **{key: _follow(loop[key], parents) for key in ("tokens", "lengths", "finished")}}
        alive = ~loop["finished"]
        token = tf.where(alive, token, 0)
        now = tf.range(max_length) == position
        after = {
            **loop,
            "position": position + 1,
            "decoder": state,
            "last": token,
            "tokens": tf.where(now, token[..., None], loop["tokens"]),
            "log_probs": log_probs,
            "lengths": loop["lengths"] + tf.cast(alive, tf.int32),
            "finished": loop["finished"] | tf.equal(token, end_id),
        }
        if return_attention:
            after["attention"] = tf.where(now[:, None, None, None], weights, loop["attention"])
            slot = tf.range(num_beams)[None] if parents is None else parents
            slots = loop["slots"] if parents is None else _follow(loop["slots"], parents)
            after["slots"] = tf.where(now, slot[..., None], slots)
        return after

    loop = _while(lambda loop: ~is_over(loop), advance, advance(loop), max_length - 1)
    scores = loop["log_probs"] / _length_norm(loop["lengths"], length_penalty)
    attention = None
    if return_attention:
        by_beam = tf.transpose(loop["attention"], (1, 0, 2, 3))
        attention = tf.gather(by_beam, tf.transpose(loop["slots"], (0, 2, 1)), batch_dims=2)
        attention = tf.transpose(attention, (0, 2, 1, 3)) * tf.cast(loop["tokens"] != 0, tf.float32)[..., None]
    best = tf.math.top_k(scores, num_captions if method == "beam" else num_beams).indices
    return Generated(
        _follow(loop["tokens"], best),
        _follow(scores, best),
        _follow(loop["log_probs"], best),
        None if attention is None else _follow(attention, best),
    )


class _Rules(NamedTuple):
    """Rules for the next token that hold whatever the model predicts."""

    vocab_size: int
    end_id: int
    forbidden_ids: tuple[int, ...]
    min_length: int
    no_repeat_ngram: int
    repetition_penalty: float

    def bias(self, position: tf.Tensor) -> tf.Tensor:
        """`(V,)` to add to the logits of every caption; the decoder adds it with its own bias, at no cost."""
        ids = np.arange(self.vocab_size)
        bias = tf.constant(np.where(np.isin(ids, self.forbidden_ids), _NEVER, 0.0), tf.float32)
        if self.min_length:
            end = tf.constant(np.where(ids == self.end_id, _NEVER, 0.0), tf.float32)
            bias = tf.minimum(bias, tf.where(position + 1 < self.min_length, end, 0.0))
        return bias

    def apply(self, logits: tf.Tensor, tokens: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
        """Changes `(B, K, V)` logits, given `(B, K, L)` tokens of which the first `position` are written."""
        vocabulary = tf.range(self.vocab_size)
        if self.repetition_penalty != 1.0:
            present = tf.reduce_any(tf.equal(tokens[..., None], vocabulary) & (tokens[..., None] != 0), axis=2)
            penalised = tf.where(logits > 0, logits / self.repetition_penalty, logits * self.repetition_penalty)
            logits = tf.where(present, penalised, logits)
        if self.no_repeat_ngram:
            logits = tf.where(_repeats(tokens, position, self.no_repeat_ngram, self.vocab_size), _NEVER, logits)
        return logits


def _repeats(tokens: tf.Tensor, position: tf.Tensor, size: int, vocab_size: int) -> tf.Tensor:
    """`(B, K, V)` bool: tokens that would complete an n-gram which the caption already contains."""
    length = tokens.shape[2]
    if size > length:
        return tf.zeros((1, 1, vocab_size), tf.bool)
    count = length - size + 1
    prefix = tf.gather(tokens, tf.maximum(position - (size - 1) + tf.range(size - 1), 0), axis=2)
    windows = tf.stack([tokens[:, :, i : i + count] for i in range(size - 1)], axis=-1) if size > 1 else None
    same = tf.ones_like(tokens[:, :, :count], tf.bool)
    if windows is not None:
        same = tf.reduce_all(tf.equal(windows, prefix[:, :, None]), axis=-1)
    complete = tf.range(count) + size <= position
    last = tf.where(same & complete, tokens[:, :, size - 1 :], -1)
    return tf.reduce_any(tf.equal(last[..., None], tf.range(vocab_size)), axis=2)


def _beam_choice(num_beams: int, length_penalty: float) -> _Choose:
    """Chooses the `num_beams` best continuations of the W kept captions.

    The best continuations are in the `num_beams` groups of tokens with the best maxima, and a caption's own
    log-probability and length do not change the order within a group. So the vocabulary is read once for the maxima,
    and only these groups are ranked: several times faster on CPU than `tf.math.top_k` over W*V. Groups are visited in
    the order of the vocabulary, so that of continuations with equal float32 scores the lower index wins.
    """

    def choose(logits: tf.Tensor, loop: _Loop) -> tuple[tf.Tensor | None, tf.Tensor, tf.Tensor]:
        grouped = _grouped(logits, num_beams)
        kept, groups, size = grouped.shape[1:]
        peaks = tf.reduce_max(grouped, axis=3)
        before, finished = loop["log_probs"], loop["finished"]
        # Log-probabilities are computed relative to the most probable token: if every token is forbidden, logits of
        # -1e9 would round away the caption's own log-probability.
        top, best = tf.reduce_max(peaks, axis=2), before + _best_log_probability(logits, grouped, peaks)
        norm = _length_norm(loop["lengths"] + tf.cast(~finished, tf.int32), length_penalty)

        def ranks(
            logits: tf.Tensor,
            first: tf.Tensor,
            beams: Callable[[tf.Tensor], tf.Tensor] = lambda tensor: tensor,
        ) -> tuple[tf.Tensor, tf.Tensor]:
            """Log-probabilities of continuations, and the scores by which they are ranked."""
            log_probs = logits - beams(top)[..., None] + beams(best)[..., None]
            # A finished caption has one continuation, itself, in the first place of its first group.
            itself = tf.where(first, beams(before)[..., None], _NEVER)
            log_probs = tf.where(beams(finished)[..., None], itself, log_probs)
            flat = (-1, log_probs.shape[1] * log_probs.shape[2])
            return tf.reshape(log_probs, flat), tf.reshape(log_probs / beams(norm)[..., None], flat)

        _, of_groups = ranks(peaks, tf.range(groups) == 0)
        near = tf.sort(tf.math.top_k(of_groups, min(num_beams, kept * groups)).indices)
        beam, near_logits = near // groups, _follow(tf.reshape(grouped, (-1, kept * groups, size)), near)
        first = (near % groups == 0)[..., None] & (tf.range(size) == 0)
        log_probs, of_tokens = ranks(near_logits, first, lambda tensor: _follow(tensor, beam))
        chosen = tf.math.top_k(of_tokens, num_beams).indices
        group = chosen // size
        # With fewer captions than beams, a hopeless continuation may get one of the tokens that pad the last group.
        token = tf.minimum(_follow(near % groups, group) * size + chosen % size, logits.shape[2] - 1)
        return _follow(beam, group), token, _follow(log_probs, chosen)

    return choose


def _beam_is_over(num_captions: int, length_penalty: float, max_length: int) -> Callable[[_Loop], tf.Tensor]:
    """Whether the best `num_captions` of each image are finished and can no longer be beaten.

    A log-probability can only decrease, so the final score of an unfinished caption is at most its present
    log-probability, normalised by the most favourable length.
    """

    def is_over(loop: _Loop) -> tf.Tensor:
        own, longest = _length_norm(loop["lengths"], length_penalty), _length_norm(max_length, length_penalty)
        reachable = loop["log_probs"] / tf.where(loop["finished"], own, tf.maximum(own, longest))
        best = tf.math.top_k(reachable, num_captions).indices
        return tf.reduce_all(_follow(loop["finished"], best))

    return is_over


def _all_finished(loop: _Loop) -> tf.Tensor:
    return tf.reduce_all(loop["finished"])


def _single_choice(
    num_captions: int, sample: bool, temperature: float, top_k: int, top_p: float, seed: int | tf.Tensor
) -> _Choose:
    """Chooses one token for each caption: the most probable one, or a sample."""
    seed = tf.stack([tf.cast(seed, tf.int32), 0]) if not tf.is_tensor(seed) else tf.cast(seed, tf.int32)

    def choose(logits: tf.Tensor, loop: _Loop) -> tuple[tf.Tensor | None, tf.Tensor, tf.Tensor]:
        parents = None
        if logits.shape[1] < num_captions:  # the first step
            logits = tf.repeat(logits, num_captions, axis=1)
            parents = tf.zeros_like(logits[..., 0], tf.int32)
        if sample:
            warped = _warp(logits, temperature, top_k, top_p)
            step_seed = tf.stack([seed[0], seed[1] * 1009 + loop["position"]])
            noise = tf.random.stateless_uniform(tf.shape(warped), step_seed, minval=1e-20)
            # The Gumbel-max trick samples from the softmax without sorting or summing it (Maddison et al., 2014).
            token = tf.argmax(warped - tf.math.log(-tf.math.log(noise)), axis=-1, output_type=tf.int32)
        else:
            token = tf.argmax(logits, axis=-1, output_type=tf.int32)
        chosen = _log_probability(logits, token)
        return parents, token, loop["log_probs"] + tf.where(loop["finished"], 0.0, chosen)

    return choose


def _log_probability(logits: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
    """Log-probabilities of probable `(B, K)` tokens; one fused softmax replaces the four passes of a log-sum-exp."""
    return tf.math.log(tf.maximum(tf.gather(tf.nn.softmax(logits), tokens, batch_dims=2), 1e-37))


def _best_log_probability(logits: tf.Tensor, grouped: tf.Tensor, peaks: tf.Tensor) -> tf.Tensor:
    """Log-probability `(B, K)` of the most probable token, found through the groups' maxima."""
    group = tf.argmax(peaks, axis=2, output_type=tf.int32)
    place = tf.argmax(tf.gather(grouped, group, batch_dims=2), axis=2, output_type=tf.int32)
    return _log_probability(logits, group * grouped.shape[3] + place)


def _grouped(logits: tf.Tensor, least: int) -> tf.Tensor:
    """`(B, K, V)` logits in groups of neighbours, `(B, K, groups, size)`, padded to at least `least` tokens."""
    num_beams, vocab_size = logits.shape[1:]
    size = next((size for size in range(48, 129) if vocab_size % size == 0), 64)
    groups = -(-max(vocab_size, least) // size)
    if size * groups > vocab_size:
        padding = ((0, 0), (0, 0), (0, size * groups - vocab_size))
        logits = tf.pad(logits, padding, constant_values=2 * _NEVER)
    return tf.reshape(logits, (-1, num_beams, groups, size))


def _warp(logits: tf.Tensor, temperature: float, top_k: int, top_p: float) -> tf.Tensor:
    logits = logits / temperature
    if top_k and top_k < logits.shape[-1]:
        least = tf.math.top_k(logits, top_k).values[..., -1:]
        logits = tf.where(logits < least, _NEVER, logits)
    if top_p < 1.0:
        ordered = tf.sort(logits, direction="DESCENDING")
        before = tf.cumsum(tf.nn.softmax(ordered), axis=-1, exclusive=True)
        least = tf.reduce_min(tf.where(before < top_p, ordered, math.inf), axis=-1, keepdims=True)
        logits = tf.where(logits < least, _NEVER, logits)
    return logits


def _length_norm(lengths: int | tf.Tensor, alpha: float) -> tf.Tensor:
    return ((5.0 + tf.cast(lengths, tf.float32)) / 6.0) ** alpha


def _follow(tensor: tf.Tensor, parents: tf.Tensor) -> tf.Tensor:
    return tf.gather(tensor, parents, batch_dims=1)


def _while(
    condition: Callable[[_Loop], tf.Tensor], body: Callable[[_Loop], _Loop], loop: _Loop, maximum_iterations: int
) -> _Loop:
    """`tf.while_loop` over one nested structure."""
    flat = tf.nest.flatten(loop)

    def flat_body(*values: tf.Tensor) -> list[tf.Tensor]:
        return tf.nest.flatten(body(tf.nest.pack_sequence_as(loop, values)))

    values = tf.while_loop(
        lambda *values: condition(tf.nest.pack_sequence_as(loop, values)),
        flat_body,
        flat,
        maximum_iterations=maximum_iterations,
    )
    return tf.nest.pack_sequence_as(loop, values)

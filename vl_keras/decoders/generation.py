"""Writing captions in the graph: greedy, sampling and beam search over a decoder's step function.

A decoder is anything with `vocab_size`, `initial_state`, `step` and `reorder` as `TransformerDecoder` has them.
Everything here is one step of all captions' common start and then a `tf.while_loop` over static shapes, so it runs
eagerly, in a `tf.function`, under XLA and in a SavedModel alike.
"""

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

_NEVER = -1e9  # the score of a token that must not be chosen; finite, so that sums stay ordered


class Generated(NamedTuple):
    """Captions of a batch of images, best first.

    Attributes:
        tokens: `(B, K, L)` int32, the end token included, zeros after it.
        scores: `(B, K)` float32, length-normalised log-probability.
        log_probs: `(B, K)` float32, log-probability of the whole caption.
        attention: `(B, K, L, R)` float32, where each token looked, or None where it was not asked for.
    """

    tokens: tf.Tensor
    scores: tf.Tensor
    log_probs: tf.Tensor
    attention: tf.Tensor | None


def generate(
    decoder,
    memory,
    memory_mask,
    *,
    method="beam",
    beam_size=3,
    num_captions=1,
    max_length=20,
    min_length=0,
    length_penalty=0.7,
    no_repeat_ngram=0,
    repetition_penalty=1.0,
    temperature=1.0,
    top_k=0,
    top_p=1.0,
    seed=0,
    start_id=2,
    end_id=3,
    forbidden_ids=(0, 1, 2),
    return_attention=False,
):
    """Writes captions for images.

    Beam search keeps the `beam_size` best captions, finished or not, by length-normalised log-probability. A finished
    one keeps its place and its score until better ones push it out; the search ends when `num_captions` finished ones
    are kept that no unfinished one can still beat. All captions of an image begin alike, so the first step runs once
    for each image, whatever the number of beams.

    Args:
        decoder: its `vocab_size`, `initial_state`, `step` and `reorder` are used.
        memory: `(B, R, D)`.
        memory_mask: `(B, R)` bool.
        method: `greedy` (the likeliest token each time), `beam`, or `sample`.
        beam_size: captions kept in the search (beam).
        num_captions: K captions returned (beam: of the `beam_size` kept; sample: independent ones; greedy: 1).
        max_length: L tokens at most, the end token included; a caption that has not ended by then is cut there.
        min_length: least number of tokens, the end token included.
        length_penalty: alpha in `score = log_prob / ((5 + length) / 6) ** alpha` (Wu et al., 2016, equation 14).
        no_repeat_ngram: no n-gram of this size comes twice in a caption; 0 is off (Paulus et al., 2018, section 2.5).
        repetition_penalty: divides the positive and multiplies the negative logits of words that the caption has
            already (Keskar et al., 2019, section 4.1); 1 is off.
        temperature, top_k, top_p: sampling only: logits are divided by the first, then only the `top_k` likeliest (0:
            all), then the smallest set with `top_p` of the probability (Holtzman et al., 2020, section 3.1) remain.
        seed: sampling only: int or `(2,)` int32 tensor; the same seed at the same batch shape gives the same captions.
        start_id, end_id, forbidden_ids: of the vocabulary; forbidden tokens are never written.
        return_attention: also return where each token looked.

    Returns:
        `Generated`; log-probabilities are the model's own, after repetition penalty and forbidden tokens, before
        temperature, `top_k` and `top_p`.
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
    loop = {  # of one beam, which the first step makes many
        "position": tf.constant(0),
        "decoder": state,
        "last": tf.fill((batch, 1), start_id),
        "tokens": tf.zeros((batch, 1, max_length), tf.int32),
        "log_probs": tf.zeros((batch, 1)),
        "lengths": tf.zeros((batch, 1), tf.int32),
        "finished": tf.zeros((batch, 1), tf.bool),
    }
    if return_attention:
        # Kept by the slot it was written in; `slots` says which slot is whose past, and is all that moves.
        loop["attention"] = tf.zeros((max_length, batch, num_beams, regions))
        loop["slots"] = tf.zeros((batch, 1, max_length), tf.int32)

    def advance(loop):
        position = loop["position"]
        logits, state, looked = decoder.step(loop["decoder"], loop["last"], rules.bias(position))
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
            after["attention"] = tf.where(now[:, None, None, None], looked, loop["attention"])
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
    """What may be written next, whatever the model prefers."""

    vocab_size: int
    end_id: int
    forbidden_ids: tuple
    min_length: int
    no_repeat_ngram: int
    repetition_penalty: float

    def bias(self, position):
        """`(V,)`, to be added to the logits of every caption: a ban costs nothing where the bias is added anyway."""
        ids = np.arange(self.vocab_size)
        bias = tf.constant(np.where(np.isin(ids, self.forbidden_ids), _NEVER, 0.0), tf.float32)
        if self.min_length:
            end = tf.constant(np.where(ids == self.end_id, _NEVER, 0.0), tf.float32)
            bias = tf.minimum(bias, tf.where(position + 1 < self.min_length, end, 0.0))
        return bias

    def apply(self, logits, tokens, position):
        """`(B, K, V)` logits, given `(B, K, L)` tokens of which the first `position` are written."""
        vocabulary = tf.range(self.vocab_size)
        if self.repetition_penalty != 1.0:
            present = tf.reduce_any(tf.equal(tokens[..., None], vocabulary) & (tokens[..., None] != 0), axis=2)
            penalised = tf.where(logits > 0, logits / self.repetition_penalty, logits * self.repetition_penalty)
            logits = tf.where(present, penalised, logits)
        if self.no_repeat_ngram:
            logits = tf.where(_repeats(tokens, position, self.no_repeat_ngram, self.vocab_size), _NEVER, logits)
        return logits


def _repeats(tokens, position, size, vocab_size):
    """`(B, K, V)` bool: tokens that would complete an n-gram which the caption has already."""
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


def _beam_choice(num_beams, length_penalty):
    """The `num_beams` best continuations of the W kept captions.

    The best lie in the `num_beams` groups of tokens with the best maxima, and a caption's own log-probability and
    length change no order within a group. So the vocabulary is read once for the maxima, and ranked are only these
    groups: several times faster on CPU than `tf.math.top_k` over W*V. Groups are visited in the order of the
    vocabulary, so that ties, which are continuations that float32 cannot tell apart, go to the lower index.
    """

    def choose(logits, loop):
        grouped = _grouped(logits, num_beams)
        kept, groups, size = grouped.shape[1:]
        peaks = tf.reduce_max(grouped, axis=3)
        before, finished = loop["log_probs"], loop["finished"]
        # All is told from the likeliest token on: where every token is forbidden, the logits' own size would round
        # what the caption is worth to nothing.
        top, best = tf.reduce_max(peaks, axis=2), before + _best_log_probability(logits, grouped, peaks)
        norm = _length_norm(loop["lengths"] + tf.cast(~finished, tf.int32), length_penalty)

        def ranks(logits, first, beams=lambda tensor: tensor):
            """Log-probabilities of continuations, and those by which they are ranked."""
            log_probs = logits - beams(top)[..., None] + beams(best)[..., None]
            # A finished caption has one continuation, itself, which stands in the first place of its first group.
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
        # Where captions are fewer than beams, one without hope may get a token that only fills the last group up.
        token = tf.minimum(_follow(near % groups, group) * size + chosen % size, logits.shape[2] - 1)
        return _follow(beam, group), token, _follow(log_probs, chosen)

    return choose


def _beam_is_over(num_captions, length_penalty, max_length):
    """Whether the best `num_captions` of each image are finished and can no longer be beaten.

    A log-probability only falls, so an unfinished caption ends with no better a score than it has now, at the length
    that is kindest to it.
    """

    def is_over(loop):
        own, longest = _length_norm(loop["lengths"], length_penalty), _length_norm(max_length, length_penalty)
        reachable = loop["log_probs"] / tf.where(loop["finished"], own, tf.maximum(own, longest))
        best = tf.math.top_k(reachable, num_captions).indices
        return tf.reduce_all(_follow(loop["finished"], best))

    return is_over


def _all_finished(loop):
    return tf.reduce_all(loop["finished"])


def _single_choice(num_captions, sample, temperature, top_k, top_p, seed):
    seed = tf.stack([tf.cast(seed, tf.int32), 0]) if not tf.is_tensor(seed) else tf.cast(seed, tf.int32)

    def choose(logits, loop):
        parents = None
        if logits.shape[1] < num_captions:  # the first step
            logits = tf.repeat(logits, num_captions, axis=1)
            parents = tf.zeros_like(logits[..., 0], tf.int32)
        if sample:
            warped = _warp(logits, temperature, top_k, top_p)
            step_seed = tf.stack([seed[0], seed[1] * 1009 + loop["position"]])
            noise = tf.random.stateless_uniform(tf.shape(warped), step_seed, minval=1e-20)
            # The Gumbel maximum draws from the softmax without sorting or cumulating it (Maddison et al., 2014).
            token = tf.argmax(warped - tf.math.log(-tf.math.log(noise)), axis=-1, output_type=tf.int32)
        else:
            token = tf.argmax(logits, axis=-1, output_type=tf.int32)
        chosen = _log_probability(logits, token)
        return parents, token, loop["log_probs"] + tf.where(loop["finished"], 0.0, chosen)

    return choose


def _log_probability(logits, tokens):
    """Log-probabilities of likely `(B, K)` tokens: one fused softmax is a quarter of a log-sum-exp's four passes."""
    return tf.math.log(tf.maximum(tf.gather(tf.nn.softmax(logits), tokens, batch_dims=2), 1e-37))


def _best_log_probability(logits, grouped, peaks):
    """Log-probability `(B, K)` of the likeliest token, which the groups' maxima find without another look at all."""
    group = tf.argmax(peaks, axis=2, output_type=tf.int32)
    place = tf.argmax(tf.gather(grouped, group, batch_dims=2), axis=2, output_type=tf.int32)
    return _log_probability(logits, group * grouped.shape[3] + place)


def _grouped(logits, least):
    """`(B, K, V)` logits in groups of neighbours, `(B, K, groups, size)`, filled up to `least` tokens or more."""
    num_beams, vocab_size = logits.shape[1:]
    size = next((size for size in range(48, 129) if vocab_size % size == 0), 64)
    groups = -(-max(vocab_size, least) // size)
    if size * groups > vocab_size:
        padding = ((0, 0), (0, 0), (0, size * groups - vocab_size))
        logits = tf.pad(logits, padding, constant_values=2 * _NEVER)
    return tf.reshape(logits, (-1, num_beams, groups, size))


def _warp(logits, temperature, top_k, top_p):
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


def _length_norm(lengths, alpha):
    return ((5.0 + tf.cast(lengths, tf.float32)) / 6.0) ** alpha


def _follow(tensor, parents):
    return tf.gather(tensor, parents, batch_dims=1)


def _while(condition, body, loop, maximum_iterations):
    """`tf.while_loop` over one nested structure."""
    flat = tf.nest.flatten(loop)

    def flat_body(*values):
        return tf.nest.flatten(body(tf.nest.pack_sequence_as(loop, values)))

    values = tf.while_loop(
        lambda *values: condition(tf.nest.pack_sequence_as(loop, values)),
        flat_body,
        flat,
        maximum_iterations=maximum_iterations,
    )
    return tf.nest.pack_sequence_as(loop, values)

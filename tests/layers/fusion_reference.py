"""The fusions' formulas, written down in NumPy float64 from their sources.

Each function takes a weight lookup `w(name)` and the inputs; masks are bool, True = keep.
"""

import numpy as np


def _softmax(scores, mask):
    scores = np.where(mask, scores, -np.inf)
    top = np.max(scores, axis=-1, keepdims=True)
    weights = np.where(mask, np.exp(scores - np.where(np.isfinite(top), top, 0)), 0)
    total = weights.sum(-1, keepdims=True)
    return np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)


def _mean(tokens, mask):
    return np.stack(
        [row[keep].mean(0) if keep.any() else np.zeros(row.shape[-1]) for row, keep in zip(tokens, mask, strict=True)]
    )


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _dense(w, name, x):
    return x @ w(f"{name}/kernel") + (w(f"{name}/bias") if w(f"{name}/bias") is not None else 0)


def _norm(w, name, x):
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-6) * w(f"{name}/gamma") + w(f"{name}/beta")


def _vectors(w, text, image):
    return _dense(w, "text", text), _dense(w, "image", image)


def concatenation(w, text, image):
    return np.concatenate(_vectors(w, text, image), -1)


def sum_(w, text, image):
    text, image = _vectors(w, text, image)
    return text + image


def product(w, text, image):
    text, image = _vectors(w, text, image)
    return text * image


def weighted_sum(w, text, image):
    text, image = _vectors(w, text, image)
    return w("weight")[0] * text + w("weight")[1] * image


def gated(w, text, image):
    text, image = _vectors(w, text, image)
    gate = _sigmoid(_dense(w, "gate", np.concatenate([text, image], -1)))
    return gate * text + (1 - gate) * image


def bilinear(w, text, image, factors):
    u, v = w("text/kernel"), w("image/kernel")
    result = np.zeros((len(text), u.shape[1] // factors))
    for b, (t, i) in enumerate(zip(text, image, strict=True)):
        for o in range(result.shape[1]):
            place = slice(o * factors, (o + 1) * factors)
            result[b, o] = t @ (u[:, place] @ v[:, place].T) @ i  # the bilinear form itself
    result = np.sign(result) * np.sqrt(np.abs(result))
    return result / np.linalg.norm(result, axis=-1, keepdims=True)


def late(w, text, image):
    return w("weight")[0] * text + w("weight")[1] * image


def attention(w, text, text_mask, image, image_mask):
    text, image = _vectors(w, text, image)
    weights = _softmax(text @ w("align/kernel") @ image.swapaxes(1, 2), image_mask[:, None])
    fused = np.concatenate([text, weights @ image], -1) @ w("output/kernel")
    return _mean(fused, text_mask), weights


def _multi_head(w, name, query, value, mask, heads):
    q, k, v = (_dense(w, f"{name}/{part}", x) for part, x in (("query", query), ("key", value), ("value", value)))
    width = q.shape[-1] // heads
    reads, looked = [], []
    for h in range(heads):
        part = slice(h * width, (h + 1) * width)
        weights = _softmax(q[..., part] @ k[..., part].swapaxes(1, 2) / np.sqrt(width), mask[:, None])
        reads.append(weights @ v[..., part])
        looked.append(weights)
    return np.concatenate(reads, -1) @ w(f"{name}/output/kernel"), np.mean(looked, 0)


def _feed_forward(w, name, x):
    return _dense(w, f"{name}/outer", np.maximum(_dense(w, f"{name}/inner", x), 0))


def cross_modal(w, text, text_mask, image, image_mask, heads):
    text, image = _vectors(w, text, image)
    read, weights = _multi_head(w, "text_reads", text, image, image_mask, heads)
    seen, _ = _multi_head(w, "image_reads", image, text, text_mask, heads)
    return np.concatenate([_mean(text + read, text_mask), _mean(image + seen, image_mask)], -1), weights


def _encoder(w, tokens, mask, heads, layers):
    looked = []
    for i in range(layers):
        normed = _norm(w, f"block_{i}/norm_0", tokens)
        read, weights = _multi_head(w, f"block_{i}/self_attention", normed, normed, mask, heads)
        tokens = tokens + read
        tokens = tokens + _feed_forward(w, f"block_{i}/feed_forward", _norm(w, f"block_{i}/norm_1", tokens))
        looked.append(weights)
    return tokens, np.mean(looked, 0)


def early(w, text, text_mask, image, image_mask, heads, layers):
    text, image = _vectors(w, text, image)
    marks, length = w("marks"), text.shape[1]
    summary = np.tile(marks[:1], (len(text), 1, 1))
    mask = np.concatenate([np.ones((len(text), 1), bool), text_mask, image_mask], 1)
    tokens, weights = _encoder(w, np.concatenate([summary, text + marks[1], image + marks[2]], 1), mask, heads, layers)
    return _norm(w, "norm", tokens[:, 0]), weights[:, 1 : length + 1, length + 1 :]


def interactive(w, text, text_mask, image, image_mask, heads, layers):
    text, image = _vectors(w, text, image)
    mask, length = np.concatenate([text_mask, image_mask], 1), text.shape[1]
    tokens, weights = _encoder(w, np.concatenate([text, image], 1), mask, heads, layers)
    return _mean(tokens, mask), weights[:, :length, length:]


def co_attention(w, text, text_mask, image, image_mask, heads, layers):
    text, image = _vectors(w, text, image)
    looked = []
    for i in range(layers):
        read, weights = _multi_head(w, f"text_reads_{i}", text, image, image_mask, heads)
        seen, _ = _multi_head(w, f"image_reads_{i}", image, text, text_mask, heads)
        text, image = _norm(w, f"text_norm_{i}_0", text + read), _norm(w, f"image_norm_{i}_0", image + seen)
        text = _norm(w, f"text_norm_{i}_1", text + _feed_forward(w, f"text_feed_{i}", text))
        image = _norm(w, f"image_norm_{i}_1", image + _feed_forward(w, f"image_feed_{i}", image))
        looked.append(weights)
    return np.concatenate([_mean(text, text_mask), _mean(image, image_mask)], -1), np.mean(looked, 0)


def multi_stream(w, *inputs):
    masks, streams = inputs[1::2], inputs[::2]
    streams = [_dense(w, f"input_{i}", x) for i, x in enumerate(streams)]
    width = streams[0].shape[-1]
    parts = [np.split(_dense(w, f"query_key_value_{i}", x), 3, -1) for i, x in enumerate(streams)]
    vectors, first = [], None
    for i, stream in enumerate(streams):
        total = stream.copy()
        for j in range(len(streams)):
            if i != j:
                weights = _softmax(parts[i][0] @ parts[j][1].swapaxes(1, 2) / np.sqrt(width), masks[j][:, None])
                first = weights if (i, j) == (0, 1) else first
                total += _sigmoid(w("gates")[i, j]) * (weights @ parts[j][2])
        vectors.append(_mean(total, masks[i]))
    return np.concatenate(vectors, -1), first


def graph_alignment(w, text, text_mask, image, image_mask, heads):
    text, image = _vectors(w, text, image)
    nodes, real = np.concatenate([text, image], 1), np.concatenate([text_mask, image_mask], 1)
    batch, count, width = nodes.shape
    message, size = nodes @ w("message/kernel"), width // heads
    result, looked = nodes.copy(), np.zeros((batch, count, count))
    for b in range(batch):
        for i in range(count):
            for h in range(heads):
                part = slice(h * size, (h + 1) * size)
                weights = np.zeros(count)
                for j in np.flatnonzero(real[b]):
                    norms = np.linalg.norm(nodes[b, i]) * np.linalg.norm(nodes[b, j])
                    strength = 1.0 if i == j else max(0.0, nodes[b, i] @ nodes[b, j] / norms)
                    score = w("attention")[0, h] @ message[b, i, part] + w("attention")[1, h] @ message[b, j, part]
                    weights[j] = strength * np.exp(score if score > 0 else 0.2 * score)
                weights = weights / weights.sum() if weights.sum() else weights
                read = weights @ message[b, :, part]
                result[b, i, part] += np.where(read > 0, read, np.expm1(read))
                looked[b, i] += weights / heads
    length = text.shape[1]
    vectors = [_mean(result[:, :length], text_mask), _mean(result[:, length:], image_mask)]
    return np.concatenate(vectors, -1), looked[:, :length, length:]

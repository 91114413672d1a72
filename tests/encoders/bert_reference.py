"""BERT written a second time, in NumPy float64 and plain Python, from the papers; nothing of the package is used.

Devlin et al. (2019) with Vaswani et al. (2017), section 3; WordPiece: greedy, longest match first.
"""

import json
import math
import struct
import unicodedata

import numpy as np

NUMPY_TYPES = {"F16": np.float16, "F32": np.float32, "I64": np.int64}
erf = np.vectorize(math.erf)


def read_safetensors(path):
    """Tensors of a safetensors file by name: eight bytes of header length, a JSON header, the data."""
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header, data = json.loads(raw[8 : 8 + length]), raw[8 + length :]
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        tensors[name] = np.frombuffer(data[start:end], NUMPY_TYPES[entry["dtype"]]).reshape(entry["shape"])
    return tensors


def layer_norm(x, scale, offset, epsilon):
    mean = x.mean(-1, keepdims=True)
    return (x - mean) / np.sqrt(((x - mean) ** 2).mean(-1, keepdims=True) + epsilon) * scale + offset


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def bert_forward(tensors, config, word_ids, mask, type_ids):
    """All layers' states `(B, T, D)` and the pooled vector `(B, D)`; GELU with the error function."""
    w = {name: value.astype(np.float64) for name, value in tensors.items()}
    epsilon, heads = config["layer_norm_eps"], config["num_attention_heads"]

    def dense(x, name):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(x, name):
        return layer_norm(x, w[f"{name}.weight"], w[f"{name}.bias"], epsilon)

    batch, length = word_ids.shape
    x = w["embeddings.word_embeddings.weight"][word_ids]
    x = x + w["embeddings.position_embeddings.weight"][:length]
    x = norm(x + w["embeddings.token_type_embeddings.weight"][type_ids], "embeddings.LayerNorm")
    states = []
    for index in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{index}"

        def split(name, x=x, layer=layer):
            return dense(x, f"{layer}.attention.self.{name}").reshape(batch, length, heads, -1).transpose(0, 2, 1, 3)

        query, key, value = split("query"), split("key"), split("value")
        scores = query @ key.transpose(0, 1, 3, 2) / np.sqrt(query.shape[-1])
        weights = softmax(np.where(mask[:, None, None, :] > 0, scores, -np.inf))
        attended = (weights @ value).transpose(0, 2, 1, 3).reshape(batch, length, -1)
        x = norm(x + dense(attended, f"{layer}.attention.output.dense"), f"{layer}.attention.output.LayerNorm")
        inner = dense(x, f"{layer}.intermediate.dense")
        inner = inner * 0.5 * (1 + erf(inner / np.sqrt(2)))
        x = norm(x + dense(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
        states.append(x)
    return states, np.tanh(dense(x[:, 0], "pooler.dense"))


def wordpiece(text, vocabulary, lower_case=True):
    """Ids of a text without special tokens."""
    text = unicodedata.normalize("NFD", text.lower()) if lower_case else text
    words, word = [], ""
    for character in text:
        category = unicodedata.category(character)
        if lower_case and category == "Mn":
            continue
        punctuation = category.startswith("P") or (
            character.isascii() and not character.isalnum() and not character.isspace()
        )
        if character.isspace() or punctuation or "\u4e00" <= character <= "\u9fff":
            words += [word, "" if character.isspace() else character]
            word = ""
        else:
            word += character
    ids = []
    words.append(word)
    for word in filter(None, words):
        pieces, start = [], 0
        while start < len(word):
            end = next(
                (e for e in range(len(word), start, -1) if ("##" if start else "") + word[start:e] in vocabulary), None
            )
            if end is None:
                pieces = [vocabulary["[UNK]"]]
                break
            pieces.append(vocabulary[("##" if start else "") + word[start:end]])
            start = end
        ids += pieces
    return ids


def pack(ids, length, vocabulary):
    """[CLS] ids [SEP], cut and padded: (word ids, mask)."""
    row = [vocabulary["[CLS]"], *ids[: length - 2], vocabulary["[SEP]"]]
    padding = length - len(row)
    return row + [vocabulary["[PAD]"]] * padding, [1] * len(row) + [0] * padding


def random_checkpoint(config, seed, dtype=np.float32):
    """Tensors of a BERT of this config, in Hugging Face's names, large enough that no part hides behind another."""
    generator = np.random.default_rng(seed)
    width, inner = config["hidden_size"], config["intermediate_size"]
    shapes = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], width),
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], width),
        "embeddings.token_type_embeddings.weight": (config["type_vocab_size"], width),
        "embeddings.LayerNorm.weight": (width,),
        "embeddings.LayerNorm.bias": (width,),
        "pooler.dense.weight": (width, width),
        "pooler.dense.bias": (width,),
    }
    for index in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{index}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            shapes[f"{layer}.attention.{part}.weight"] = (width, width)
            shapes[f"{layer}.attention.{part}.bias"] = (width,)
        shapes[f"{layer}.intermediate.dense.weight"] = (inner, width)
        shapes[f"{layer}.intermediate.dense.bias"] = (inner,)
        shapes[f"{layer}.output.dense.weight"] = (width, inner)
        shapes[f"{layer}.output.dense.bias"] = (width,)
        for part in ("attention.output", "output"):
            shapes[f"{layer}.{part}.LayerNorm.weight"] = (width,)
            shapes[f"{layer}.{part}.LayerNorm.bias"] = (width,)
    return {name: generator.normal(0, 0.4, shape).astype(dtype) for name, shape in shapes.items()}

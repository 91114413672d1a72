"""Baselines for matching, on the same pairs as `vl-keras evaluate`.

    python benchmarks/matching_baselines.py --set data.manual_dir=FOLDER image_encoder.weights=FILE …

`majority` predicts the same for all pairs. `cosine` compares the mean tokens of the frozen encoders, after a linear map
from image space to text space: ridge regression from training images to the mean of their captions. The regularisation
is chosen on a tenth of these images, the threshold on the training pairs. For the text-only baseline, train a run with
`--set model.reads=text`.
"""

import argparse
from typing import Any

import numpy as np

import vl_keras  # noqa: F401  selects Keras 2 before TensorFlow is imported
from vl_keras.config import load_config
from vl_keras.metrics.match_scores import best_threshold, match_scores
from vl_keras.tasks import TASKS

_RIDGES = (1e2, 1e3, 1e4, 1e5)


def main() -> None:
    """Computes and prints the baselines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/matching/flickr8k.yaml")
    parser.add_argument("--set", dest="overrides", nargs="+", action="extend", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    config = load_config(options.config, options.overrides)
    task = TASKS[config.task](config)
    model = task.build()
    images, texts, pairs, truth = _read(task, model, config.data.train_split)
    targets, own = np.zeros((len(images), texts.shape[1]), np.float32), pairs[truth]
    np.add.at(targets, own[:, 0], texts[own[:, 1]])
    targets /= np.bincount(own[:, 0], minlength=len(images))[:, None]
    held = np.arange(len(images)) % 10 == 0
    of_held = held[pairs[:, 0]]
    found = {}
    for ridge in _RIDGES:
        cosine = _cosine(_fit(images[~held], targets[~held], ridge), images, texts, pairs[of_held])
        found[ridge] = match_scores(cosine, truth[of_held])["roc_auc"]
    ridge = max(found, key=found.get)
    linear = _fit(images, targets, ridge)
    threshold = best_threshold(_cosine(linear, images, texts, pairs), truth)
    images, texts, pairs, truth = _read(task, model, config.data.dev_split)
    scores = match_scores(_cosine(linear, images, texts, pairs), truth, threshold)
    print("majority: balanced_accuracy 0.5000, roc_auc 0.5000")
    print(f"cosine (ridge {ridge:g}): {', '.join(f'{name} {value:.4f}' for name, value in scores.items())}")


def _read(task: Any, model: Any, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Mean image tokens, mean text tokens, `(P, 2)` pairs of indices into them, `(P,)` whether they match."""
    features = task.features(model, split)
    count = len(task.source(split))
    images = np.stack([features.read([i], 0)[0].astype(np.float32).mean(axis=0) for i in range(count)])
    owners, sentences, truth = task.pairs(split)
    places = {text: place for place, text in enumerate(dict.fromkeys(sentences))}
    states = task.text_features(model, list(places))
    texts = np.stack([states.read([i])[0][0].astype(np.float32).mean(axis=0) for i in range(len(places))])
    return images, texts, np.array([(o, places[s]) for o, s in zip(owners, sentences, strict=True)]), np.array(truth)


def _fit(images: np.ndarray, targets: np.ndarray, ridge: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean image, mean text, and the linear map between the centred spaces."""
    middle, aim = images.mean(axis=0), targets.mean(axis=0)
    x, y = (images - middle).astype(np.float64), targets - aim
    return middle, aim, np.linalg.solve(x.T @ x + ridge * np.eye(x.shape[1]), x.T @ y)


def _cosine(
    linear: tuple[np.ndarray, np.ndarray, np.ndarray], images: np.ndarray, texts: np.ndarray, pairs: np.ndarray
) -> np.ndarray:
    middle, aim, weights = linear
    mapped, texts = (images - middle) @ weights, texts - aim
    mapped, texts = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (mapped, texts))
    return np.sum(mapped[pairs[:, 0]] * texts[pairs[:, 1]], axis=1)


if __name__ == "__main__":
    main()

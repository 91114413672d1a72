"""Speed of the input pipeline, compared with a bare parallel map over the same files.

    python benchmarks/pipeline.py [--images 4096] [--batch-size 32] [--rounds 7] [--folder DIR]

Without augmentation, the bare map is `tf.io.decode_jpeg`; with augmentation, it applies the same image operations. The
bare maps only read, decode and batch. The pipeline also plans the epoch, checks headers, skips broken images, and
yields five captions per image as token ids with weights. The measurements take turns, so that other load on the machine
affects all of them; the ratio is the median over rounds of the two rates of each round. CPU time per image, which
depends less on other load, is printed as well.

Files: the photos of Flickr8k in VL_KERAS_SHARED (default ../shared), or the given folder; otherwise synthetic images.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import vl_keras  # noqa: F401  selects Keras 2 before TensorFlow is imported

import tensorflow as tf  # isort: skip

from vl_keras.config import AugmentConfig, config_from_dict
from vl_keras.data import image_ops
from vl_keras.data.pipeline import caption_dataset
from vl_keras.data.source import open_source
from vl_keras.data.text_ops import CaptionTokenizer

SIZE = (224, 224)
CAPTION = "a dog runs over the green grass near a red ball"
AUGMENT = {"crop_min_area": 0.4, "flip": True, "rotation": 10.0, "color": 0.2}


def find_files(folder: str | None, count: int, scratch: str) -> list[str]:
    """The paths of `count` JPEG files."""
    if folder:
        return sorted(str(path) for path in Path(folder).rglob("*.jpg"))[:count]
    shared = Path(os.environ.get("VL_KERAS_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    archive = shared / "data" / "flickr8k" / "Flickr8k_Dataset.zip"
    if archive.exists():
        with zipfile.ZipFile(archive) as photos:
            names = sorted(name for name in photos.namelist() if name.endswith(".jpg"))[:count]
            return [photos.extract(name, scratch) for name in names]
    print(f"{archive} not found: using synthetic images")
    random = np.random.default_rng(0)
    paths = []
    for number in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (28, 28, 3), dtype=np.uint8))
        paths.append(str(Path(scratch) / f"{number}.jpg"))
        coarse.resize(SIZE[::-1], Image.Resampling.BICUBIC).save(paths[-1], quality=85)
    return paths


def bare(paths: Sequence[str], batch_size: int, operation: Callable[[tf.Tensor], tf.Tensor]) -> tf.data.Dataset:
    """A bare parallel map: read, decode and batch."""
    files = tf.data.Dataset.from_tensor_slices(paths).repeat()
    images = files.map(lambda path: operation(tf.io.read_file(path)), num_parallel_calls=tf.data.AUTOTUNE)
    return images.batch(batch_size).prefetch(tf.data.AUTOTUNE)


def decode(data: tf.Tensor) -> tf.Tensor:
    """Decodes a JPEG."""
    return tf.io.decode_jpeg(data, channels=3)


def same_operations(augment: AugmentConfig) -> Callable[[tf.Tensor], tf.Tensor]:
    """The image operations of the pipeline with augmentation, as one function."""

    def operation(data: tf.Tensor) -> tf.Tensor:
        seed = tf.random.uniform((2,), maxval=2**31 - 1, dtype=tf.int32)
        image = image_ops.decode_and_crop(data, seed, augment.crop_min_area)
        image = image_ops.resize_uint8(image, SIZE)
        return image_ops.augment(image, seed[::-1], seed[0] % 2 == 0, augment.rotation, augment.color)

    return operation


def ours(paths: Sequence[str], batch_size: int, augment: Mapping[str, Any], scratch: str) -> tf.data.Dataset:
    """The input pipeline over the same files, as a manifest with five captions per image."""
    manifest = Path(scratch) / "manifest.jsonl"
    row = {"captions": [f"{CAPTION} {number}" for number in range(5)], "split": "train"}
    manifest.write_text("".join(json.dumps({"image": str(Path(path).absolute()), **row}) + "\n" for path in paths))
    data = {"manifest": str(manifest), "data_dir": scratch}
    data |= {"batch_size": batch_size, "image_size": list(SIZE), "augment": augment}
    config = config_from_dict({"data": data})
    source = open_source(config.data, "train")
    tokenizer = CaptionTokenizer.learn([text for own in source.captions for text in own], 200)
    return caption_dataset(config, source, tokenizer, training=True)


def measure(iterator: Iterator[Any], batches: int) -> tuple[float, float]:
    """Wall-clock seconds and CPU seconds of this process for a number of batches."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(batches):
        next(iterator)
    return time.perf_counter() - wall, time.process_time() - cpu


def compare(
    name: str, bare_dataset: tf.data.Dataset, our_dataset: tf.data.Dataset, batches: int, batch_size: int, rounds: int
) -> float:
    """Measures both datasets in turn, prints the rates, and returns the ratio."""
    rows = []
    for round_number in range(rounds + 1):
        # A new iterator each time: an idle one would fill its buffers during the turn of the other.
        pair = []
        for dataset in (bare_dataset, our_dataset) if round_number % 2 else (our_dataset, bare_dataset):
            iterator = iter(dataset)
            measure(iterator, 4)
            pair.append(measure(iterator, batches))
            del iterator
        if round_number:  # the first round warms up
            rows.append(pair if round_number % 2 else pair[::-1])
    images = batches * batch_size
    rate = [statistics.median(images / row[side][0] for row in rows) for side in (0, 1)]
    cpu = [statistics.median(row[side][1] / images for row in rows) * 1e3 for side in (0, 1)]
    ratio = statistics.median(row[0][0] / row[1][0] for row in rows)
    cpu_ratio = statistics.median(row[0][1] / row[1][1] for row in rows)
    print(
        f"{name}: pipeline {rate[1]:.0f} images/s, bare {rate[0]:.0f} images/s, ratio {ratio:.2f} "
        f"(CPU per image {cpu[1]:.2f} ms, bare {cpu[0]:.2f} ms, ratio {cpu_ratio:.2f})",
        flush=True,
    )
    return ratio


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=4096, help="files to read")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", help="folder of JPEG files of 224 x 224 pixels")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        paths = find_files(arguments.folder, arguments.images, scratch)
        batches, size = len(paths) // arguments.batch_size, arguments.batch_size
        numbers = batches, size, arguments.rounds
        compare("without augmentation", bare(paths, size, decode), ours(paths, size, {}, scratch), *numbers)
        operations = same_operations(AugmentConfig(**AUGMENT))
        compare("with augmentation", bare(paths, size, operations), ours(paths, size, AUGMENT, scratch), *numbers)


if __name__ == "__main__":
    main()

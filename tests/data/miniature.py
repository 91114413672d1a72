"""Small images and archives in the layouts of published datasets, for tests."""

import io
import zipfile

import numpy as np
from PIL import Image

from vl_keras.config import DataConfig


def photo(seed, height=32, width=48, kind="JPEG"):
    """Bytes of an image of smooth noise that follows from `seed`."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(file, kind)
    return file.getvalue()


def write_zip(path, files):
    """A zip archive of `{name inside: bytes}`, stored without compression."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def write_folder(folder, files):
    """The same files, unpacked."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def data_config(tmp_path, **settings):
    """Settings that prepare into `tmp_path` and allow any share of unusable inputs unless they say otherwise."""
    return DataConfig(**{"data_dir": str(tmp_path / "data"), "max_bad_share": 1.0, **settings})


def images_of(source):
    """Dict from image id to bytes of a whole `Source`."""
    return dict(zip(source.image_ids, source.read_images(range(len(source))), strict=True))


def captions_of(source):
    """Dict from image id to captions of a whole `Source`."""
    return dict(zip(source.image_ids, source.captions, strict=True))

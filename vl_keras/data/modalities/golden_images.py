"""Images, in the usual file formats, with which every export is checked and warmed up."""

import io
from typing import Any

import numpy as np
from PIL import Image

_EXIF_ORIENTATION = 0x0112


def golden_images() -> dict[str, bytes]:
    """Dict of file name -> file contents, the same in every call. The first is a JPEG photo of usual size."""
    jpeg, png = {"format": "JPEG", "quality": 90}, {"format": "PNG"}
    turned = Image.Exif()
    turned[_EXIF_ORIENTATION] = 6
    return {
        "landscape.jpg": _encode(_scene(0, 375, 500), **jpeg),
        "portrait.jpg": _encode(_scene(1, 500, 333), **jpeg),
        "grey.jpg": _encode(_scene(2, 300, 300).convert("L"), **jpeg),
        "cmyk.jpg": _encode(_scene(3, 240, 320).convert("CMYK"), **jpeg),
        "turned.jpg": _encode(_scene(4, 281, 500), exif=turned, **jpeg),
        "progressive.jpg": _encode(_scene(5, 480, 640), progressive=True, **jpeg),
        "alpha.png": _encode(_with_alpha(_scene(6, 200, 310)), **png),
        "palette.png": _encode(_scene(7, 190, 130).convert("P"), **png),
        "small.bmp": _encode(_scene(8, 60, 90), format="BMP"),
        "still.webp": _encode(_scene(9, 320, 240), format="WEBP", quality=90),
        "alpha.webp": _encode(_with_alpha(_scene(10, 150, 220)), exif=turned, format="WEBP", quality=90),
        "still.gif": _encode(_scene(11, 90, 120), format="GIF"),
    }


def _scene(seed: int, height: int, width: int) -> Image.Image:
    """Soft coloured blobs. They are smooth like photos, so resizing and JPEG affect them in the same way."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j][..., None]
    scene = np.zeros((height, width, 3)) + random.uniform(60, 200, 3)
    for _ in range(12):
        center_y, center_x, radius = random.uniform(0, 1), random.uniform(0, 1), random.uniform(0.05, 0.4)
        blob = np.exp(-((y - center_y) ** 2 + (x - center_x) ** 2) / (2 * radius**2))
        scene += blob * random.uniform(-120, 120, 3)
    return Image.fromarray(np.clip(scene + 8 * np.sin(40 * (x + y)), 0, 255).astype(np.uint8))


def _with_alpha(image: Image.Image) -> Image.Image:
    """The image fading out from left to right."""
    ramp = np.tile(np.linspace(255, 0, image.width).astype(np.uint8), (image.height, 1))
    image.putalpha(Image.fromarray(ramp))
    return image


def _encode(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, **options)
    return file.getvalue()

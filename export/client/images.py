"""Converts the images of callers to file contents."""

import io
import os
from pathlib import Path
from typing import Any

OK = "ok"
Image = Any  # path (str or os.PathLike), file contents (bytes or bytearray) or `PIL.Image.Image`


def is_one(images: Any) -> bool:
    """Whether the argument is one image, not an iterable of images."""
    return isinstance(images, (str, bytes, bytearray, os.PathLike)) or _is_pil(images)


def image_bytes(image: Image) -> tuple[bytes, str]:
    """File contents of a path, bytes or PIL image: `(bytes, status)`; if it cannot be read, `status` says why."""
    if isinstance(image, (bytes, bytearray)):
        return bytes(image), OK
    if isinstance(image, (str, os.PathLike)):
        try:
            return Path(image).expanduser().read_bytes(), OK
        except (OSError, ValueError) as error:
            return b"", f"unreadable: {getattr(error, 'strerror', None) or error}"
    if _is_pil(image):
        return _encode(image)
    raise TypeError(f"An image must be a path, bytes or a PIL image; got {type(image).__name__}.")


def _is_pil(image: Any) -> bool:
    return any(kind.__module__ == "PIL.Image" and kind.__name__ == "Image" for kind in type(image).__mro__)


def _encode(image: Any) -> tuple[bytes, str]:
    from PIL import ImageOps

    file = io.BytesIO()
    try:
        # PNG is lossless and holds alpha, but supports neither CMYK nor floats.
        image = ImageOps.exif_transpose(image)
        if image.mode in ("PA", "La", "RGBa"):
            image = image.convert("RGBA")
        elif image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
            image = image.convert("RGB")
        image.save(file, "PNG", compress_level=1, exif=b"")
    except (OSError, ValueError) as error:  # PIL reads the file only now
        return b"", f"unreadable: {error}"
    return file.getvalue(), OK

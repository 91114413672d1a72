"""What callers have for images, as file bytes."""

import io
import os
from pathlib import Path

OK = "ok"


def is_one(images):
    """Whether this is a single image rather than several."""
    return isinstance(images, (str, bytes, bytearray, os.PathLike)) or _is_pil(images)


def image_bytes(image):
    """A path, bytes or PIL image as `(bytes, status)`; what cannot be read has a status other than `ok`."""
    if isinstance(image, (bytes, bytearray)):
        return bytes(image), OK
    if isinstance(image, (str, os.PathLike)):
        try:
            return Path(image).expanduser().read_bytes(), OK
        except (OSError, ValueError) as error:
            return b"", f"unreadable: {getattr(error, 'strerror', None) or error}"
    if _is_pil(image):
        return _encode(image)
    raise TypeError(f"An image is a path, bytes or a PIL image; got {type(image).__name__}.")


def _is_pil(image):
    return any(kind.__module__ == "PIL.Image" and kind.__name__ == "Image" for kind in type(image).__mro__)


def _encode(image):
    from PIL import ImageOps

    file = io.BytesIO()
    try:
        # PNG keeps every pixel; it holds no CMYK and no floats.
        image = ImageOps.exif_transpose(image)
        (image if image.mode in ("L", "RGB", "RGBA", "P", "1") else image.convert("RGB")).save(
            file, "PNG", compress_level=1
        )
    except (OSError, ValueError) as error:  # PIL reads a file only when it is asked for pixels
        return b"", f"unreadable: {error}"
    return file.getvalue(), OK

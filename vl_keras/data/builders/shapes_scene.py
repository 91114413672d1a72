"""Synthetic scenes of coloured shapes: sampled from a seed, drawn with antialiasing."""

import io
import math
import random
from dataclasses import dataclass

from PIL import Image, ImageDraw

COLORS = {
    "red": (214, 40, 40),
    "orange": (243, 132, 24),
    "yellow": (240, 212, 40),
    "green": (42, 150, 60),
    "blue": (38, 90, 210),
    "purple": (128, 50, 160),
    "pink": (240, 130, 180),
    "black": (25, 25, 28),
}
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
RADII = {"small": (0.075, 0.10), "large": (0.15, 0.18)}  # as shares of the image's shorter side
_SUPERSAMPLING = 4  # a pixel is the average of this number of sub-pixels in each direction, squared
_GAP = 0.045  # smallest distance between two objects' circles; corners stick out of a circle by less than half of it


@dataclass(frozen=True)
class SceneObject:
    """One shape; `x`, `y` and `radius` are in units of the image's shorter side."""

    size: str
    color: str
    shape: str
    x: float
    y: float
    radius: float
    angle: float  # radians
    column: int  # 0 left, 1 middle, 2 right third of the image
    row: int  # 0 top, 1 middle, 2 bottom third

    @property
    def place(self) -> str:
        """Position in the image, e.g. "top left"; "center" in the middle."""
        words = [("top", "", "bottom")[self.row], ("left", "", "right")[self.column]]
        return " ".join(word for word in words if word) or "center"


@dataclass(frozen=True)
class Scene:
    """One to four objects that do not touch, on a pale background; `height` and `width` in pixels."""

    objects: tuple[SceneObject, ...]
    ground: tuple[int, int, int]
    height: int
    width: int

    def boxes(self) -> list[list[float]]:
        """`[ymin, xmin, ymax, xmax]` of each object, as shares of height and width."""
        side = min(self.height, self.width)
        boxes = []
        for item in self.objects:
            points = _outline(item)
            xs, ys = [x for x, _ in points], [y for _, y in points]
            box = (min(ys) / self.height, min(xs) / self.width, max(ys) / self.height, max(xs) / self.width)
            boxes.append([min(max(value * side, 0.0), 1.0) for value in box])
        return boxes


def sample_scene(seed: object, height: int, width: int) -> Scene:
    """Samples a scene.

    Args:
        seed: anything with a fixed `str`; the same seed and size yield the same scene.
        height, width: size in pixels.
    """
    rng = random.Random(str(seed))
    side = min(height, width)
    limit_x, limit_y = width / side, height / side
    placed: list[SceneObject] = []
    wanted = rng.randint(1, 4)
    while len(placed) < wanted:
        size = rng.choice(tuple(RADII))
        radius = rng.uniform(*RADII[size])
        for _ in range(40):
            x, y = rng.uniform(radius, limit_x - radius), rng.uniform(radius, limit_y - radius)
            if all(math.hypot(x - o.x, y - o.y) > radius + o.radius + _GAP for o in placed):
                break
        else:  # there is no room for this object: start again
            placed = []
            continue
        shape, color, angle = rng.choice(SHAPES), rng.choice(tuple(COLORS)), rng.uniform(-0.2, 0.2)
        column, row = min(int(3 * x / limit_x), 2), min(int(3 * y / limit_y), 2)
        placed.append(SceneObject(size, color, shape, x, y, radius, angle, column, row))
    red, green, blue = (rng.randint(205, 245) for _ in range(3))
    return Scene(tuple(placed), (red, green, blue), height, width)


def draw_scene(scene: Scene) -> Image.Image:
    """Draws a scene as an RGB image; edges are averaged over 4x4 sub-pixels."""
    scale = min(scene.height, scene.width) * _SUPERSAMPLING
    image = Image.new("RGB", (scene.width * _SUPERSAMPLING, scene.height * _SUPERSAMPLING), scene.ground)
    draw = ImageDraw.Draw(image)
    for item in scene.objects:
        color = COLORS[item.color]
        if item.shape in ("circle", "ring"):
            x, y, radius = item.x * scale, item.y * scale, item.radius * scale
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)
            if item.shape == "ring":
                radius *= 0.55
                draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=scene.ground)
        else:
            draw.polygon([(x * scale, y * scale) for x, y in _outline(item)], fill=color)
    return image.reduce(_SUPERSAMPLING)


def encode_scene(scene: Scene) -> bytes:
    """Draws a scene and encodes it as JPEG, without chroma subsampling."""
    file = io.BytesIO()
    draw_scene(scene).save(file, "JPEG", quality=92, subsampling=0)
    return file.getvalue()


_SQUARE = [(-0.78, -0.78), (0.78, -0.78), (0.78, 0.78), (-0.78, 0.78)]
_TRIANGLE = [(math.sin(a), -math.cos(a)) for a in (0, 2 * math.pi / 3, 4 * math.pi / 3)]
_STAR = [(r * math.sin(i * math.pi / 5), -r * math.cos(i * math.pi / 5)) for i, r in enumerate([1.0, 0.42] * 5)]
_ARM, _END = 0.32, 0.94
_CROSS = [
    (-_ARM, -_END), (_ARM, -_END), (_ARM, -_ARM), (_END, -_ARM), (_END, _ARM), (_ARM, _ARM),
    (_ARM, _END), (-_ARM, _END), (-_ARM, _ARM), (-_END, _ARM), (-_END, -_ARM), (-_ARM, -_ARM),
]  # fmt: skip
_OUTLINES = {"square": _SQUARE, "triangle": _TRIANGLE, "star": _STAR, "cross": _CROSS}


def _outline(item: SceneObject) -> list[tuple[float, float]]:
    """Corner points of the object; for a round object, two corners of its box."""
    if item.shape in ("circle", "ring"):
        r = item.radius
        return [(item.x - r, item.y - r), (item.x + r, item.y + r)]
    c, s = math.cos(item.angle) * item.radius, math.sin(item.angle) * item.radius
    return [(item.x + c * x - s * y, item.y + s * x + c * y) for x, y in _OUTLINES[item.shape]]

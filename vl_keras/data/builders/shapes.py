"""The embedded dataset: synthetic scenes of coloured shapes."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds

from vl_keras.config import DataConfig
from vl_keras.data.builders.example import Example, make_example
from vl_keras.data.builders.example_builder import ExampleBuilder
from vl_keras.data.builders.shapes_language import ask_scene, describe_scene, talk_about_scene
from vl_keras.data.builders.shapes_scene import encode_scene, sample_scene


class ShapesBuilder(ExampleBuilder):
    """Scenes of one to four coloured shapes with boxes, five true captions, questions with answers, and a dialogue.

    There are `data.shapes.scenes` training scenes, and a tenth as many for dev and for test. A scene is determined by
    `(data.shapes.seed, split, number)`, so a larger number of scenes does not change the first ones.
    """

    @classmethod
    def content_key(cls, settings: DataConfig) -> Any:
        return dataclasses.asdict(settings.shapes)

    def read_splits(self) -> dict[str, Iterator[Example]]:
        scenes = self.settings.shapes.scenes
        counts = {"train": scenes, "dev": max(scenes // 10, 1), "test": max(scenes // 10, 1)}
        return {split: self._scenes(split, count) for split, count in counts.items()}

    def _scenes(self, split: str, count: int) -> Iterator[Example]:
        settings = self.settings.shapes
        height, width = settings.image_size
        for number in range(count):
            seed = f"{settings.seed}/{split}/{number}"
            scene = sample_scene(seed, height, width)
            yield make_example(
                image=encode_scene(scene),
                image_id=f"{split}_{number:06d}",
                captions=describe_scene(scene, seed),
                objects=[
                    {"label": f"{item.size} {item.color} {item.shape}", "bbox": tfds.features.BBox(*box)}
                    for item, box in zip(scene.objects, scene.boxes(), strict=True)
                ],
                questions=ask_scene(scene, seed),
                dialogue=talk_about_scene(scene, seed),
            )

"""A TFDS builder for each dataset; all produce examples in the form of `example.py`, in splits train, dev and test."""

from vl_keras.data.builders.coco import CocoBuilder
from vl_keras.data.builders.coco_captions import CocoCaptionsBuilder
from vl_keras.data.builders.easy_vqa import EasyVqaBuilder
from vl_keras.data.builders.example_builder import ExampleBuilder
from vl_keras.data.builders.flickr8k import Flickr8kBuilder
from vl_keras.data.builders.flickr30k import Flickr30kBuilder
from vl_keras.data.builders.image_text_pairs import PairsBuilder
from vl_keras.data.builders.manifest import ManifestBuilder
from vl_keras.data.builders.shapes import ShapesBuilder
from vl_keras.data.builders.vqa_v2 import VqaV2Builder

BUILDERS: dict[str, type[ExampleBuilder]] = {
    "shapes": ShapesBuilder,
    "flickr8k": Flickr8kBuilder,
    "flickr30k": Flickr30kBuilder,
    "coco": CocoBuilder,
    "coco_captions": CocoCaptionsBuilder,
    "easy_vqa": EasyVqaBuilder,
    "vqa_v2": VqaV2Builder,
    "manifest": ManifestBuilder,
    "image_text_pairs": PairsBuilder,
}

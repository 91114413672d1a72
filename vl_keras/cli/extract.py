"""`vl-keras extract`: writes the feature cache of a frozen image encoder."""

import argparse

from vl_keras.cli.arguments import Commands, add_command, add_config_arguments


def add(commands: Commands) -> None:
    """Describes the command."""
    command = add_command(
        commands,
        "extract",
        run,
        "write the feature cache of a frozen image encoder",
        "Encodes each image once, so that training reads tokens at memory speed. A stopped command continues where it "
        "was when it is started again. Training with image_encoder.cache_features does the same by itself.",
        "vl-keras extract captioning/flickr8k_transformer --split train dev",
    )
    add_config_arguments(command)
    command.add_argument("--split", nargs="+", help="splits (default: those that training reads)")


def run(options: argparse.Namespace) -> None:
    """Encodes the images of the splits."""
    from vl_keras.config import load_config

    config = load_config(options.config, options.overrides)  # a fault in it shows before TensorFlow is loaded

    from vl_keras.training.extract import extract

    for split, cache in extract(config, options.split).items():
        images, views = cache.flipped.shape
        regions, width = cache.token_shape
        print(f"{split}: {images} images, {views} views, {regions} tokens of width {width}, in {cache.folder}")

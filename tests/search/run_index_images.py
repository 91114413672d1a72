"""Run as a process of its own, to be killed: `vl-keras index` with the colour run, slowly, in steps of four images.

python run_index_images.py RUN IMAGES INDEX SECONDS
"""

import functools
import sys

from color_run import load_color_run

from vl_keras.cli import main as cli
from vl_keras.search import image_embedder, index_images

if __name__ == "__main__":
    run, images, index, seconds = sys.argv[1:]
    image_embedder.load_run = functools.partial(load_color_run, seconds=float(seconds))
    image_embedder._BATCH = index_images._KEPT_AT_ONCE = 4
    sys.exit(cli.main(["index", run, "--images", images, "--out", index]))

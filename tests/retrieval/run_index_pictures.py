"""Run as a process of its own, to be killed: `vl-keras index` with the colour run, slowly, in steps of four pictures.

python run_index_pictures.py RUN IMAGES INDEX SECONDS
"""

import functools
import sys

from color_run import load_color_run

from vl_keras import cli
from vl_keras.training import index_pictures, picture_embedder

if __name__ == "__main__":
    run, images, index, seconds = sys.argv[1:]
    picture_embedder.load_run = functools.partial(load_color_run, seconds=float(seconds))
    picture_embedder._BATCH = index_pictures._KEPT_AT_ONCE = 4
    sys.exit(cli.main(["index", run, "--images", images, "--out", index]))

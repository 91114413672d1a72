"""`python -m vl_keras`: the `vl-keras` command."""

import sys

from vl_keras.cli.main import main

if __name__ == "__main__":
    sys.exit(main())

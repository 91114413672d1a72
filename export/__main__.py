"""`python -m export`: the `vl-export` command."""

import sys

from export.cli.main import main

if __name__ == "__main__":
    sys.exit(main())

"""`python -m export.server`: the server without the other commands of `vl-export`."""

import sys

from export.server.main import main

if __name__ == "__main__":
    sys.exit(main())

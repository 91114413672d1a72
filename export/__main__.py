"""`python -m export` is `vl-export`."""

import sys

from export.cli import main

sys.exit(main())

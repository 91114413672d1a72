import sys

from export.server.main import main

sys.exit(main())

"""``python -m ftsafety``."""

import sys

from ftsafety.cli import main

sys.exit(main())

"""``python -m gain_lightning`` is the command ``gain``."""

import sys

from gain_lightning.cli import main

if __name__ == "__main__":
    sys.exit(main())

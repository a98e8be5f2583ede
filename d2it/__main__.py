"""The command line: `python -m d2it`, or `d2it` where it is installed."""

import sys

from d2it.use.command import main

if __name__ == "__main__":
    sys.exit(main())

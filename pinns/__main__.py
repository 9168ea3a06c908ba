"""`python -m pinns`: the command line."""

import sys

from pinns.cli import main


if __name__ == "__main__":
    sys.exit(main())

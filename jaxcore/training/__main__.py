"""`python -m jaxcore.training FOLDER...` prints the table of `runs`."""

import sys

from jaxcore.training.compare import main


if __name__ == "__main__":
    sys.exit(main())

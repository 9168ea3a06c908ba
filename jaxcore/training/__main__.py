"""`python -m jaxcore.training FOLDER...` prints the table of `runs`."""

import sys

from jaxcore.training.runs import main


if __name__ == "__main__":
    sys.exit(main())

"""The command line: `pinns list`, `info`, `solve`, `eval`, `resume`."""

from pinns.cli.commands import main


__all__ = ["main"]

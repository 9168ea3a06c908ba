"""Words of the command line: errors name its options, not arguments of functions."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping


# What errors begin with -> options by names of arguments, where they differ.
ARGUMENTS: Mapping[str, Mapping[str, str]] = {
    "jaxvision.runs.train": {"folder": "out", "arrays": "data"},
    "jaxvision.runs.evaluate": {"arrays": "data"},
    "jaxvision.runs.export": {},
    "jaxvision.starts.start": {},
    "jaxvision.load_weights": {"path": "weights"},
    "jaxvision.data.": {"folder": "data", "path": "data"},
    "jaxcore.training.Ema": {"decay": "ema"},
    "jaxcore.training.Checkpoint": {"every": "checkpoint_every"},
    "jaxcore.training": {},
}
OF_RUNS = ("jaxvision.runs", "jaxvision.starts", "jaxcore")
# Of a recipe most names are fields, which --set changes and which keep their names.
OF_RECIPES = ("preset", "split", "damaged")
# What only Python has.
PHRASES = (
    ("the batch size of `batches`", "the batch size, or number of nodes,"),
    ("the batch size of `evaluate_on`", "what is held out, or a batch of it,"),
    ("devices times microbatches", "`devices` times `accumulate`"),
    ("values={...}", "--set mask_values=[0,255]"),
    ("; in Python leave=(...) keeps parts as they are", ""),
    ("; name another with ema=Ema(decay, of=...)", ""),
)


def in_options(text: str, command: str, options: Collection[str]) -> str:
    """Returns an error in the words of the command line.

    Arguments in backticks become options, `damaged='skip'` becomes `--damaged skip`,
    fields of a recipe in a description of runs become `--set FIELD`, and a function of
    runs becomes its command. Errors of unknown origin stay as they are.

    Args:
        text: of the error.
        command: its name, `"train"`.
        options: of the command, by names of attributes.

    Example:
        >>> text = "jaxvision.runs.train: `folder` must be a folder, got a"
        >>> in_options(text, "train", ["out"])
        'jaxvision train: `--out` must be a folder, got a'
    """
    known = {name: name for name in options}
    if text.startswith("jaxvision.recipe"):
        known = {name: name for name in OF_RECIPES if name in options}
    else:
        owner = next((o for o in ARGUMENTS if text.startswith(o)), None)
        if owner is None:
            return text
        others = ARGUMENTS[owner].items()
        known |= {name: option for name, option in others if option in options}
        for phrase, ours in PHRASES:
            text = text.replace(phrase, ours)
        _, colon, after = text.partition(": ")
        if colon and owner.startswith(OF_RUNS):
            text = f"jaxvision {command}: {after}"

    def quoted(match: re.Match[str]) -> str:
        name, *rest = match[1].split(".")
        if name == "config" and rest:
            return f"`--set {'.'.join(rest)}`"
        return f"`{_option(known[name])}`" if name in known else match[0]

    def assigned(match: re.Match[str]) -> str:
        name, value = match[1], match[2].strip("'")
        if name not in known:
            return match[0]
        return _option(known[name]) + ("" if value == "True" else f" {value}")

    text = re.sub(r"`([a-z_]+(?:\.\w+)*)`", quoted, text)
    return re.sub(r"(?<![\w/.=-])([a-z_]+)=('[a-z0-9_]+'|True)", assigned, text)


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def of_parser(text: str) -> str:
    """Returns what a boxed message of tyro says after its title, on one line."""
    lines = [line.strip("│╭╮╰╯ ") for line in text.splitlines()][1:]
    found = []
    for part in re.split(r"\n[─-]{3,}(?=\n)", "\n".join(["", *lines, ""])):
        part = part.strip("\n").split("\n\n")[0]
        if part and not part.startswith(("For full help", "Argument help")):
            found.append(" ".join(part.split()))
    said = "; ".join(part.replace(". (required)", ";").rstrip(".;") for part in found)
    return said or "no such arguments"

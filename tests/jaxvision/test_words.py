"""Errors of functions in the words of the command line."""

import pytest

from jaxvision._words import in_options, of_parser


OPTIONS = ("data", "out", "weights", "source", "partial", "damaged", "split", "seed")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "jaxvision.data.read_images: cannot read a/seed=3/damaged=1/b.png: no; "
            "damaged='skip' leaves such files out",
            "jaxvision.data.read_images: cannot read a/seed=3/damaged=1/b.png: no; "
            "--damaged skip leaves such files out",
        ),
        (
            "jaxvision.data.read_segmentation_folder: `folder` must be a folder, got a",
            "jaxvision.data.read_segmentation_folder: `--data` must be a folder, got a",
        ),
        (
            "jaxvision.data.read_segmentation_folder: a.png must have labels from 0 to "
            "1, got 255; say what values stand for with values={...}",
            "jaxvision.data.read_segmentation_folder: a.png must have labels from 0 to "
            "1, got 255; say what values stand for with --set mask_values=[0,255]",
        ),
        (
            "jaxvision.load_weights: `path` must be a file of safetensors or npz",
            "jaxvision.load_weights: `--weights` must be a file of safetensors or npz",
        ),
        (
            "jaxvision.load_weights('a'): missing: b. partial=True sets what fits; in "
            "Python leave=(...) keeps parts as they are",
            "jaxvision.load_weights('a'): missing: b. --partial sets what fits",
        ),
        # Fields of a recipe keep their names, whatever the options are.
        (
            "jaxvision.recipe('fedrewind'): `weights` must be empty for a perceptron",
            "jaxvision.recipe('fedrewind'): `weights` must be empty for a perceptron",
        ),
        (
            "jaxvision.recipe('lung_ssfnet'): `split` must be left out for a",
            "jaxvision.recipe('lung_ssfnet'): `--split` must be left out for a",
        ),
        (
            "jaxvision.runs.train: a must be new or hold this run, got one that "
            "differs in `config.network.latent` (2, now 3), `seed` (0, now 1)",
            "jaxvision train: a must be new or hold this run, got one that "
            "differs in `--set network.latent` (2, now 3), `--seed` (0, now 1)",
        ),
        ("elsewhere: `seed` must be 3", "elsewhere: `seed` must be 3"),
    ],
)
def test_errors_name_options(text, expected):
    assert in_options(text, "train", OPTIONS) == expected


BOX = """\
╭─ Required options ────────────────────────────────────────╮
│ Missing from jaxvision train:                             │
│     NAME                                                  │
│         Name of the system. (required)                    │
│     --out PATH                                            │
│         Folder of the run. (required)                     │
│ ───────────────────────────────────────────────────────── │
│ Unrecognized options:                                     │
│     --dta                                                 │
│ ───────────────────────────────────────────────────────── │
│ For full helptext, run:                                   │
│     jaxvision train --help                                │
╰───────────────────────────────────────────────────────────╯
"""


def test_what_the_parser_says_is_one_line():
    assert of_parser(BOX) == (
        "Missing from jaxvision train: NAME Name of the system; --out PATH Folder of "
        "the run; Unrecognized options: --dta"
    )
    plain = "\n".join(line.strip("│╭╮╰╯ ") for line in BOX.splitlines())
    assert of_parser(plain) == of_parser(BOX)
    assert of_parser("") == "no such arguments"

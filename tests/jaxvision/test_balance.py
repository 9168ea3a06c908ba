"""Class rebalancing, as a field of a recipe."""

from dataclasses import replace

import numpy as np

import jaxvision
from jaxvision import starts


NAME = "hinge_rlc_gan"


def test_classes_are_balanced_in_training_alone(rng):
    """Through what every training divides by; the order of rows is that of the seed."""
    label = np.repeat(np.arange(3), (40, 8, 2))
    arrays = {"image": rng.uniform(size=(50, 8, 8, 1)), "label": label}
    for preset in ("digits_hinge", "digits_balanced"):
        recipe = jaxvision.recipe(NAME, preset=preset)
        shown, hidden = starts.divided(recipe, None, arrays, 0.2, 3)
        counts = np.bincount(shown["label"], minlength=3)
        if preset == "digits_hinge":
            plain, other = counts, hidden
            assert counts.sum() == 40
    assert counts.tolist() == [max(plain)] * 3
    np.testing.assert_array_equal(hidden["label"], other["label"])
    assert len(shown["image"]) == counts.sum()
    hinge = jaxvision.recipe(NAME, preset="digits_hinge").config
    assert recipe.config == replace(hinge, balance=True)
    assert recipe.config.steps == hinge.steps

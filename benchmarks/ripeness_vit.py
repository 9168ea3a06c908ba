"""Transfer against training from scratch: `python -m benchmarks.ripeness_vit`.

`fruit`: a vision transformer learns twelve combinations of shape, skin and color of
drawn fruit (4000 images, synthetic), and its encoder then starts the grading of
ripeness from 100 images: a head on frozen features, everything trained, and everything
from scratch, each without and with augmented copies; 1000 other images are the test.
`digits`: the same with the 8 x 8 digits of scikit-learn, from 0 to 5 to 6 to 9 with 20
images of each.

Writes `benchmarks/results/ripeness_vit.json` (`--dry` does not). All seeds of a model
are trained at once; they differ in training images, parameters and order.
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_digits

import jaxvision
from benchmarks import _results
from benchmarks._seeds import over_seeds
from jaxcore.training import ArrayBatches, fit
from jaxvision import data, registry, runs
from jaxvision.data import stratified_split
from jaxvision.models import RipenessViTOptions
from jaxvision.starts import divided, network_of, start


SEEDS = {"fruit": 3, "digits": 5}
TRAIN, TEST, PRETEXT = 100, 1000, 4000  # images of fruit
PER_DIGIT = 20
# Model -> start of the name of its preset.
MODELS = {
    "frozen": "small_pretrained",
    "fine-tuned": "small_full",
    "scratch": "small_scratch",
}
DIGITS = RipenessViTOptions(2, 4, 64, 4, 128, image_size=8, dropout=0.0)


def fruit(
    seeds: int, train: int = TRAIN, test: int = TEST, pretext: int = PRETEXT
) -> tuple[Any, list[Any], Any]:
    """Returns what to learn first, what each seed grades from, and the test."""
    parts = [data.synthetic_fruit(pretext, labels="pretext", seed=0)]
    parts += [data.synthetic_fruit(train, seed=100 + seed) for seed in range(seeds)]
    parts += [data.synthetic_fruit(test, seed=1)]
    first, *middle, last = ({k: p[k] for k in ("image", "label")} for p in parts)
    return first, middle, last


def digits(seeds: int) -> tuple[Any, list[Any], list[Any]]:
    """Returns the digits 0 to 5, and for each seed a few of 6 to 9 and the rest."""
    found = load_digits()
    images = found.images.astype(np.float32)[..., None].repeat(3, -1) / 16
    labels = found.target.astype(np.int32)
    low, high = labels < 6, labels >= 6
    first = {"image": images[low], "label": labels[low]}
    images, labels = images[high], labels[high] - 6
    middle: list[Any] = []
    last: list[Any] = []
    for seed in range(seeds):
        share = 4 * PER_DIGIT / len(labels)
        rows = stratified_split(labels, share, seed=seed)
        for part, chosen in zip((last, middle), rows, strict=True):
            part.append({"image": images[chosen], "label": labels[chosen]})
    return first, middle, last


def recipe_of(part: str, preset: str, **changes: Any) -> registry.Recipe:
    """Returns a preset for fruit, or the same for digits."""
    found = jaxvision.recipe("ripeness_vit", preset=preset)
    if part == "digits":
        names = "012345" if preset == "small_pretext" else "6789"
        network = replace(DIGITS, num_classes=len(names))
        found = found.replace(network=network, classes=tuple(names), magnitude=0.5)
    return found.replace(**changes)


def learn_first(
    part: str, arrays: Any, path: Path, epochs: int | None
) -> dict[str, Any]:
    """Trains on the pretext task, writes the weights, and returns the row.

    The last tenth of the images is not trained on.
    """
    count = len(arrays["image"]) * 9 // 10
    recipe = recipe_of(part, "small_pretext", num_images=count)
    if epochs is not None:
        recipe = recipe.replace(epochs=epochs)
    config = recipe.config
    train, rest = (
        {k: v[s] for k, v in arrays.items()} for s in (slice(count), slice(count, None))
    )
    batches: Any = ArrayBatches(train, config.batch_size, seed=0, last="drop")
    result = fit(recipe.task(), batches, config.steps, key=jax.random.key(0))
    network = network_of(recipe, result.state)
    jaxvision.save_weights(network, path)
    accuracy = evaluated(recipe, jax.tree.map(lambda x: x[None], result.state), [rest])
    return {
        "kind": "pretext",
        "part": part,
        "images": count,
        "classes": len(config.classes),
        "steps": result.step,
        "accuracy": accuracy[0]["accuracy"],
    }


def measure(
    part: str,
    model: str,
    train: Sequence[Any],
    test: Sequence[Any],
    path: Path,
    *,
    augmented: bool = False,
    epochs: int | None = None,
) -> list[dict[str, Any]]:
    """Returns one row per seed; `train` and `test` have the images of each."""
    preset = MODELS[model] + ("_augmented" if augmented else "")
    recipe = recipe_of(part, preset, num_images=len(train[0]["image"]))
    if epochs is not None:
        recipe = recipe.replace(epochs=epochs)
    config, seeds = recipe.config, len(train)
    task, states, shown = recipe.task(), [], []
    for seed, arrays in enumerate(train):
        key = jax.random.key(seed)
        weights = path if config.pretrained else None
        state = start(recipe, weights, key=key)
        shown.append(divided(recipe, state, arrays, 0.0, seed)[0])
        states.append(jax.jit(task.init)(key) if state is None else state)
    stacked = {
        name: np.stack([part[name] for part in shown], axis=1) for name in shown[0]
    }
    batches: Any = ArrayBatches(stacked, config.batch_size, seed=0, last="drop")
    result = fit(
        over_seeds(task, seeds, axis=1),
        batches,
        config.steps,
        key=jax.random.key(0),
        state=jax.tree.map(lambda *leaves: jnp.stack(leaves), *states),
    )
    found = evaluated(recipe, result.state, test)
    return [
        {
            "kind": "model",
            "part": part,
            "model": model,
            "augmented": augmented,
            "seed": seed,
            "images": len(shown[0]["label"]),
            "steps": result.step,
            "train_accuracy": float(result.metrics["accuracy"]),
            **metrics,
        }
        for seed, metrics in enumerate(found)
    ]


def evaluated(
    recipe: registry.Recipe, states: Any, test: Sequence[Any]
) -> list[dict[str, float]]:
    """Returns accuracy and recalls of states, stacked along their first axis."""
    each = []
    for seed, arrays in enumerate(test):
        state = jax.tree.map(lambda x, i=seed: x[i], states)
        found = runs.evaluate(runs.Run(recipe, state, 0), arrays, batch_size=100)
        # Without the precision of a class that was never predicted, NaN.
        each.append(
            {
                k: v
                for k, v in found.items()
                if not k.startswith("confusion") and not np.isnan(v)
            }
        )
    return each


def verdicts(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns what the rows say on each claim."""

    def points(part: str, model: str, augmented: bool = False) -> np.ndarray:
        chosen = [
            100 * row["accuracy"]
            for row in rows
            if (row["part"], row["model"], row["augmented"]) == (part, model, augmented)
        ]
        return np.asarray(chosen)

    found = []
    for part in SEEDS:
        scratch = points(part, "scratch")
        for model in ("frozen", "fine-tuned"):
            ours = points(part, model)
            found.append(
                {
                    "what": f"{part}: {model} is above scratch in every seed",
                    "figure": f"{ours.mean() - scratch.mean():+.1f} points; lowest "
                    f"{ours.min():.1f}, highest from scratch {scratch.max():.1f}",
                    "holds": bool(ours.min() > scratch.max()),
                }
            )
    gain = points("fruit", "fine-tuned").mean() - points("fruit", "scratch").mean()
    change = points("fruit", "scratch", True).mean() - points("fruit", "scratch").mean()
    found.append(
        {
            "what": "fruit: augmentation changes scratch by less than half of that",
            "figure": f"{change:+.1f} points against {gain:+.1f}",
            "holds": bool(abs(change) < gain / 2),
        }
    )
    return found


def line(row: dict[str, Any]) -> str:
    """Returns a row as text."""
    if row["kind"] == "pretext":
        return f"{row['part']:7} pretext {row['classes']} classes {row['accuracy']:.3f}"
    copies = "augmented" if row["augmented"] else "plain"
    return (
        f"{row['part']:7} {row['model']:10} {copies:9} seed {row['seed']} "
        f"accuracy {row['accuracy']:.3f} (training {row['train_accuracy']:.3f})"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.ripeness_vit")
    parser.add_argument("--dry", action="store_true", help="write nothing")
    parser.add_argument("--epochs", type=int, help="of the transfer")
    parser.add_argument("--pretext-epochs", type=int)
    options = parser.parse_args(arguments)
    rows: list[dict[str, Any]] = []
    for part, seeds in SEEDS.items():
        first, train, test = fruit(seeds) if part == "fruit" else digits(seeds)
        tests = test if isinstance(test, list) else [test] * seeds
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "first.safetensors"
            new = [learn_first(part, first, path, options.pretext_epochs)]
            print(line(new[0]), flush=True)
            for model in MODELS:
                for augmented in (False, True)[: 2 if part == "fruit" else 1]:
                    found = measure(
                        part,
                        model,
                        train,
                        tests,
                        path,
                        augmented=augmented,
                        epochs=options.epochs,
                    )
                    for row in found:
                        print(line(row), flush=True)
                    new += found
        rows += new
    said = _results.judged(verdicts([row for row in rows if row["kind"] == "model"]))
    if options.dry:
        return
    print(
        _results.write(
            "ripeness_vit",
            [*rows, *said],
            claim="A vision transformer that learned another task on images of the "
            "same kind grades from 100 images far better than one from scratch",
            notes=[
                "fruit: drawn (jaxvision.data.synthetic_fruit), 32 x 32, patches of 8; "
                f"{TRAIN} training images per seed, {TEST} test images",
                f"digits: scikit-learn, 8 x 8, patches of 2; {PER_DIGIT} training "
                "images per class and seed, all other 6 to 9 for test; flips make no "
                "sense of digits, so no augmentation",
                "four blocks of width 64; the same epochs for all models, with one "
                "augmented copy per image twice as many steps",
                "one pretext encoder for all seeds",
            ],
            peers=["scikit-learn"],
        )
    )


if __name__ == "__main__":
    main()

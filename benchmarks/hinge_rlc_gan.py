"""Modes that GANs cover, with and without RLC: `python -m benchmarks.hinge_rlc_gan`.

`ring`: small networks on eight Gaussians on a circle, every loss and regularizer, ten
seeds of each trained at once. `digits`: conditional networks on the 8 x 8 digits of
scikit-learn, with and without RLC. Prints a line for each seed and what the seeds say
together, and writes `benchmarks/results/hinge_rlc_gan.json` (`--dry` does not; a part
that is not run keeps its rows, as does the ring of objectives that are not named by
`--objectives`). `--judge` trains nothing and draws the verdicts anew.
"""

import argparse
import json
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import jaxvision
from benchmarks import _results
from benchmarks._digits import TRAIN, digits, judge
from benchmarks._intervals import interval
from benchmarks._seeds import over_seeds
from jaxcore.training import ArrayBatches, fit
from jaxvision import data, layers, losses, metrics
from jaxvision.layers.initialization import uniform_bias, uniform_fan_in
from jaxvision.recipes._adversarial_task import Objective, adversarial_task


NAME = "hinge_rlc_gan"
SEEDS, STEPS, BATCH, LATENT = 10, 3000, 128, 16
DEVIATION, SAMPLES = 0.02, 2000
OBJECTIVES = {
    "bce": Objective("nonsaturating", "nonsaturating", "none", 0.0),
    "hinge": Objective(regularizer="none", weight=0.0),
    "rlc_gradient_0.001": Objective(weight=0.001),
    "rlc_gradient_0.01": Objective(weight=0.01),
    "rlc_gradient_0.1": Objective(weight=0.1),
    "rlc_gradient_1": Objective(weight=1.0),
    "rlc_lecam": Objective(regularizer="lecam", weight=0.3),
    "rlc_anchor": Objective(regularizer="anchor", weight=0.15),
    "rlc_notebook": Objective(regularizer="anchor_notebook", weight=0.15),
    "gp0": Objective(regularizer="r1", weight=0.1),
    "gp0_10": Objective(regularizer="r1", weight=10.0),
}
DIGIT_ROWS = ("hinge", "rlc_gradient")
DIGIT_SEEDS, DIGIT_EPOCHS = 3, 40


class Perceptron(nnx.Module):
    """Linear layers with ReLUs between them; takes a label and ignores it."""

    def __init__(self, widths: Sequence[int], rngs: nnx.Rngs):
        self.layers = nnx.List(
            [
                nnx.Linear(
                    a,
                    b,
                    kernel_init=uniform_fan_in,
                    bias_init=uniform_bias(a),
                    rngs=rngs,
                )
                for a, b in pairwise(widths)
            ]
        )

    def __call__(self, x: Any, label: Any) -> Any:
        """Returns the values of the last layer."""
        del label
        for layer in self.layers[:-1]:
            x = jax.nn.relu(layer(x))
        return self.layers[-1](x)


class PointGAN(nnx.Module):
    """A GAN for points of the plane."""

    def __init__(self, rngs: nnx.Rngs):
        self.generator = Perceptron((LATENT, 64, 64, 2), rngs)
        self.discriminator = Perceptron((2, 64, 64, 1), rngs)


def ring(name: str, *, seeds: int = SEEDS, steps: int = STEPS) -> list[dict[str, Any]]:
    """Returns one row per seed: modes covered, samples on modes, the discriminator."""
    objective = OBJECTIVES[name]
    task = adversarial_task(
        "benchmarks.hinge_rlc_gan",
        lambda key: PointGAN(nnx.Rngs(params=key)),
        LATENT,
        optax.adam(1e-3, 0.5, 0.999),
        objective,
    )
    drawn = data.synthetic_gaussians(100 * BATCH * seeds, deviation=DEVIATION, seed=0)
    arrays = {"image": drawn["point"], "label": drawn["label"]}
    batches: Any = ArrayBatches(arrays, BATCH * seeds, last="drop")
    start = time.perf_counter()
    result = fit(
        over_seeds(task, seeds, apart=True), batches, steps, key=jax.random.key(0)
    )
    seconds = time.perf_counter() - start
    real = drawn["point"][:SAMPLES]
    found = jax.device_get(
        jax.jit(jax.vmap(_judged, (0, None, None, None)), static_argnums=3)(
            result.state["params"], real, drawn["center"], objective.discriminator
        )
    )
    return [
        {
            "objective": name,
            "weight": objective.weight,
            "seed": seed,
            **{key: float(values[seed]) for key, values in found.items()},
            "steps": steps,
            "seconds_of_all_seeds": seconds,
        }
        for seed in range(seeds)
    ]


def _judged(params: Any, real: Any, centers: Any, kind: str) -> dict[str, Any]:
    """Returns the figures of one trained GAN."""
    shapes = nnx.eval_shape(lambda: PointGAN(nnx.Rngs(0)))
    graphs = {
        part: layers.split(getattr(shapes, part))[0]
        for part in ("generator", "discriminator")
    }

    def run(part: str, params: Any, x: Any) -> Any:
        return nnx.merge(graphs[part], params, {}, copy=True)(x, None)

    z = jax.random.normal(jax.random.key(1), (SAMPLES, LATENT))
    fake = run("generator", params["generator"], z)

    def loss(params: Any) -> Any:
        scores = (run("discriminator", params, x) for x in (real, fake))
        return losses.discriminator_loss(*scores, kind=kind)

    value, square = losses.rlc_gradient_penalty(loss, params["discriminator"])
    coverage = metrics.mode_coverage(fake, centers, radius=3 * DEVIATION)
    return {
        "modes": coverage.covered,
        "on_a_mode": coverage.share,
        "slope": jnp.sqrt(square),
        "discriminator_loss": value,
        "confidence": jnp.mean(
            jnp.abs(run("discriminator", params["discriminator"], real))
        ),
    }


def generated_digits(
    row: str, *, seeds: int = DIGIT_SEEDS, epochs: int = DIGIT_EPOCHS
) -> list[dict[str, Any]]:
    """Returns one row per seed, and one of the training images for comparison."""
    train, test = digits()
    recipe = jaxvision.recipe(NAME, preset=f"digits_{row}", epochs=epochs)
    config, rows = recipe.config, []
    graph, _, _ = layers.split(nnx.eval_shape(lambda: recipe.network(rngs=nnx.Rngs(0))))

    @jax.jit
    def draw(state: Any, key: Any, label: Any) -> Any:
        model = nnx.merge(graph, state["params"], state["statistics"], copy=True)
        model.eval()
        return (model.sample(key, label) + 1) / 2

    for seed in range(seeds):
        start = time.perf_counter()
        batches: Any = ArrayBatches(train, config.batch_size, seed=seed, last="drop")
        result = fit(recipe.task(), batches, config.steps, key=jax.random.key(seed))
        label = np.arange(TRAIN, dtype=np.int32) % 10
        images = np.asarray(draw(result.state, jax.random.key(seed + 100), label))
        rows.append(
            {
                "objective": row,
                "seed": seed,
                **judge().figures({"image": images, "label": label}, test["image"]),
                "steps": config.steps,
                "seconds": time.perf_counter() - start,
            }
        )
    return rows


def real_digits() -> dict[str, Any]:
    """Returns the same figures for the images that the networks were trained on."""
    train, test = digits()
    return {
        "objective": "real",
        "seed": 0,
        **judge().figures(train, test["image"]),
    }


def verdicts(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns what the seeds of the ring say on each claim, with 95 % intervals.

    Differences are taken seed by seed: equal seeds begin with equal parameters and see
    the same points.
    """

    def values(name: str, figure: str) -> np.ndarray:
        found = {r["seed"]: r[figure] for r in rows if r["objective"] == name}
        return np.array([found[seed] for seed in sorted(found)])

    def more(what: str, figure: str, high: str, low: str) -> dict[str, Any]:
        mean, half = interval(values(high, figure) - values(low, figure))
        return {
            "what": what,
            "figure": f"{mean:+.2f} ± {half:.2f}",
            "holds": mean - half > 0,
            "mean": mean,
        }

    best = "rlc_gradient_0.1"
    measured = {r["objective"] for r in rows}
    found = [
        more("hinge covers more modes than BCE", "modes", "hinge", "bce"),
        more("RLC (gradient, 0.1) covers more than hinge", "modes", best, "hinge"),
        more("and more than RLC (gradient, 0.01)", "modes", best, "rlc_gradient_0.01"),
        more(
            "RLC 0.01 makes the slope of the loss smaller than hinge alone",
            "slope",
            "hinge",
            "rlc_gradient_0.01",
        ),
        more("RLC 0.1 smaller than RLC 0.01", "slope", "rlc_gradient_0.01", best),
        more("fewer samples are on a mode with RLC 0.1", "on_a_mode", "hinge", best),
        more("RLC (gradient, 0.1) covers more than LeCam", "modes", best, "rlc_lecam"),
        more("GP-0 (0.1) covers more than hinge", "modes", "gp0", "hinge"),
    ]
    if "gp0_10" in measured:
        found.append(
            more("GP-0 (10) covers more than hinge", "modes", "gp0_10", "hinge")
        )
    return found


def _on_ring(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    on_ring = [r for r in rows if r["kind"] == "ring"]
    return verdicts(on_ring) if on_ring else []


def line(row: dict[str, Any]) -> str:
    """Returns a row as text."""
    left = {"objective", "seed", "kind", "weight", "steps"}
    figures = " ".join(
        f"{name} {value:.3f}" for name, value in row.items() if name not in left
    )
    return f"{row['objective']:18} seed {row['seed']} {figures}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.hinge_rlc_gan")
    parser.add_argument("parts", nargs="*", default=["ring", "digits"])
    parser.add_argument("--dry", action="store_true", help="write nothing")
    parser.add_argument(
        "--judge", action="store_true", help="draw the verdicts on what is recorded"
    )
    parser.add_argument(
        "--objectives",
        nargs="+",
        choices=OBJECTIVES,
        default=list(OBJECTIVES),
        help="of the ring; the others keep their rows",
    )
    parser.add_argument("--seeds", type=int, default=None)
    parser.add_argument("--steps", type=int, default=STEPS, help="of the ring")
    parser.add_argument("--epochs", type=int, default=DIGIT_EPOCHS, help="of digits")
    options = parser.parse_args(arguments)
    unknown = set(options.parts) - {"ring", "digits"}
    if unknown:
        parser.error(f"parts are 'ring' and 'digits', got {sorted(unknown)}")
    if options.judge:
        print(_results.judge_again(NAME, _on_ring))
        return
    rows = [
        r
        for r in _written()
        if r["kind"] not in options.parts
        or (r["kind"] == "ring" and r["objective"] not in options.objectives)
    ]
    if "ring" in options.parts:
        for name in options.objectives:
            found = ring(name, seeds=options.seeds or SEEDS, steps=options.steps)
            rows += _shown("ring", found)
    if "digits" in options.parts:
        rows += _shown("digits", [real_digits()])
        for name in DIGIT_ROWS:
            seeds = options.seeds or DIGIT_SEEDS
            found = generated_digits(name, seeds=seeds, epochs=options.epochs)
            rows += _shown("digits", found)
    order = list(OBJECTIVES)
    rows.sort(key=lambda r: order.index(r["objective"]) if r["kind"] == "ring" else 99)
    said = _results.judged(_on_ring(rows))
    if options.dry:
        return
    path = _results.write(
        NAME,
        [
            *(r for r in rows if r["kind"] != "verdict"),
            *said,
        ],
        claim="A penalty on the slope of the discriminator's loss in its parameters "
        "makes a hinge GAN cover more modes",
        notes=[
            f"ring: 8 Gaussians, radius 2, deviation {DEVIATION}; z {LATENT}-d, "
            "perceptrons 64-64 with ReLU, Adam 1e-3 (0.5, 0.999), batch 128",
            f"a mode counts with at least 20 of {SAMPLES} samples within 3 deviations",
            "seeds differ in parameters, codes and points, equal ones are equal for "
            "all objectives",
            "digits: scikit-learn, 8 x 8, 1400 for training; generated images against "
            "the other 397 in the hidden layer of a perceptron trained on the 1400",
            "digits: networks of width 16, 40 of the preset's 100 epochs",
            "weights are those of the rows; the presets gp0 have 10",
        ],
        peers=["scikit-learn"],
    )
    print(path)


def _written() -> list[dict[str, Any]]:
    path = _results.RESULTS / f"{NAME}.json"
    return json.loads(path.read_text("utf-8"))["rows"] if path.is_file() else []


def _shown(kind: str, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    for row in rows:
        print(line(row), flush=True)
    return [{"kind": kind, **row} for row in rows]


if __name__ == "__main__":
    main()

"""LungSSFNet against a plain U-Net, and its speed: `python -m benchmarks.lung_ssfnet`.

`rings`: thin rings among discs and lines (synthetic, 300 for training, 100 for test),
learned by a U-Net, with fusion units, and with attention too, at equal steps.
`membrane`: the same on the electron microscope images of the ISBI 2012 challenge, cut
into tiles of 128 pixels, slices 0 to 19 of the stack for training and 20 to 29 for
test; `--data` names the folder with `images` or `train/image` and the labels beside.
`speed`: the full network at 512 x 512, compiled, against the same network in PyTorch
with the same arrays; and steps with folded and direct frequency statistics.

Each part writes `benchmarks/results/lung_ssfnet_<part>.json` (`--dry` does not).
"""

import argparse
import math
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import jaxvision
from benchmarks import _lung_ssfnet_torch, _results
from jaxcore import transforms
from jaxcore.training import ArrayBatches, fit
from jaxvision import data, metrics, weights
from jaxvision.models import LungSSFNet, LungSSFOptions


MODELS = {"U-Net": "small_unet", "with fusion": "small_fusion", "with SSF": "small"}
SEEDS = 3
TILE = 128
TRAIN_SLICES = 20  # of 30: neighboring slices look alike, so they are not mixed
SPEED_OPTIONS = LungSSFOptions(num_classes=1, fusion="repository")
GROUPED = ((32, 256), (64, 128), (128, 64), (256, 32))  # channels, side
PUBLISHED_SECONDS = 11.6  # of the authors' network in PyTorch on a CPU


def rings(train: int = 300, test: int = 100, side: int = TILE) -> tuple[Any, Any]:
    """Returns synthetic rings to train on and to test on."""
    return (
        data.synthetic_rings(train, side, seed=0),
        data.synthetic_rings(test, side, seed=1),
    )


def membrane(folder: Path) -> tuple[Any, Any]:
    """Returns tiles of membrane images; 1 is membrane, the thin part."""
    from PIL import Image

    def stack(*names: str) -> np.ndarray:
        inner = next((folder / n for n in names if (folder / n).is_dir()), None)
        if inner is None:
            raise SystemExit(f"benchmarks.lung_ssfnet: {folder} must hold {names[0]}")
        paths = sorted(inner.glob("*.png"), key=lambda p: int(p.stem))
        return np.stack([np.asarray(Image.open(p).convert("L")) for p in paths])

    pictures = stack("train/image", "image", "images").astype(np.float32) / 255
    labels = (stack("train/label", "label", "masks") < 128).astype(np.int32)

    def tiles(x: np.ndarray) -> np.ndarray:
        n, side = len(x), x.shape[1] // TILE
        cut = x.reshape(n, side, TILE, side, TILE).swapaxes(2, 3)
        return cut.reshape(n * side * side, TILE, TILE)

    parts = []
    for rows in (slice(0, TRAIN_SLICES), slice(TRAIN_SLICES, None)):
        image, label = tiles(pictures[rows]), tiles(labels[rows])
        parts.append({"image": image[..., None], "label": label})
    return parts[0], parts[1]


def measure(
    train: Any,
    test: Any,
    *,
    model: str,
    seed: int,
    epochs: int | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """Returns the row of one model and seed, trained to the end of its recipe.

    `changes`: fields of the recipe that differ from the preset of the model.
    """
    recipe = jaxvision.recipe("lung_ssfnet", preset=MODELS[model])
    recipe = recipe.replace(num_images=len(train["image"]), **changes)
    if epochs is not None:
        recipe = recipe.replace(epochs=epochs)
    config, start = recipe.config, time.perf_counter()
    batches: Any = ArrayBatches(train, config.batch_size, seed=seed, last="drop")
    result = fit(recipe.task(), batches, config.steps, key=jax.random.key(seed))
    seconds = time.perf_counter() - start
    overlaps: dict[str, list[Any]] = {"dice": [], "iou": []}
    predict = jax.jit(partial(_predicted, recipe, result.state))
    size = config.batch_size
    for i in range(0, len(test["image"]) - size + 1, size):
        found = predict(test["image"][i : i + size])
        for kind, rows in overlaps.items():
            rows.append(
                metrics.overlap_per_image(
                    found, jnp.asarray(test["label"][i : i + size]), 2, kind=kind
                )[:, 1]
            )
    return {
        "kind": "run",
        "model": model,
        "seed": seed,
        "parameters": jaxvision.layers.count_parameters(
            lambda: recipe.network(rngs=nnx.Rngs(0))
        ),
        "steps": result.step,
        "step_seconds": result.timings["step_seconds"] / config.steps,
        "seconds": seconds,
        "loss": float(result.metrics["loss"]),
        **{k: float(jnp.nanmean(jnp.concatenate(v))) for k, v in overlaps.items()},
    }


def _predicted(recipe: Any, state: Any, image: Any) -> Any:
    from jaxvision.recipes.lung_ssfnet import SYSTEM, predictions

    graph, _, _ = jaxvision.layers.split(
        nnx.eval_shape(lambda: recipe.network(rngs=nnx.Rngs(0)))
    )
    network = nnx.merge(graph, state["params"], state["statistics"], copy=True)
    network.eval()
    return predictions(SYSTEM.predict(recipe.config, network, image))


def forward(side: int, repeats: int, options: LungSSFOptions) -> list[dict[str, Any]]:
    """Returns rows of one forward pass, ours against PyTorch's in two forms."""
    import torch

    model = nnx.eval_shape(lambda: LungSSFNet(options, rngs=nnx.Rngs(0)))
    rng = np.random.default_rng(0)
    state = {
        name: _plausible(rng, name, x.shape)
        for name, x in weights.named_arrays(model).items()
    }
    weights.set_weights(model, state)
    model.eval()
    graph, arrays = nnx.split(model)
    x = rng.normal(size=(1, side, side, options.in_channels)).astype("float32")
    start = time.perf_counter()
    program = (
        jax.jit(lambda arrays, x: nnx.merge(graph, arrays, copy=True)(x))
        .lower(arrays, x)
        .compile()
    )
    compiled = time.perf_counter() - start
    given = torch.from_numpy(np.moveaxis(x, -1, 1).copy())
    theirs = {}
    for name, repeated in (("pytorch", False), ("pytorch, published form", True)):
        peer = _lung_ssfnet_torch.build(torch, options, image_per_channel=repeated)
        peer.load_state_dict(
            {
                k: torch.as_tensor(v.copy())
                for k, v in _lung_ssfnet_torch.state_of(state).items()
            },
            strict=False,
        )
        theirs[name] = partial(_without_gradient, torch, peer, given)
    ours = jnp.asarray(x)
    found = np.asarray(program(arrays, ours))
    rows = []
    times = _results.interleave(
        {"jaxvision": lambda: program(arrays, ours), **theirs}, repeats
    )
    for name, run in theirs.items():
        expected = np.moveaxis(run(), 1, -1)
        ratio = np.asarray(times[name]) / np.asarray(times["jaxvision"])
        rows.append(
            {
                "kind": "forward",
                "side": side,
                "seconds": {
                    n: _results.summarize(times[n]) for n in ("jaxvision", name)
                },
                f"{name}_over_jaxvision": _results.summarize(ratio),
                "compile_seconds": compiled,
                "difference": float(
                    np.abs(found - expected).max() / np.abs(expected).max()
                ),
                "threads": torch.get_num_threads(),
            }
        )
    return rows


def _without_gradient(torch: Any, network: Any, x: Any) -> Any:
    with torch.no_grad():
        return network(x).numpy()


def _plausible(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> Any:
    if name.endswith(("scale", "var", "alpha", "beta")):
        return np.ones(shape, np.float32)
    width = math.sqrt(2 / math.prod(shape[:-1]))
    return (rng.normal(size=shape) * width).astype(np.float32)


def statistics(side: int, repeats: int) -> list[dict[str, Any]]:
    """Returns rows of value and gradient of the frequency statistics by method."""
    rows = []
    x = jax.random.normal(jax.random.key(0), (7, side, side, 64))
    for kind in ("forward", "gradient"):
        programs = {}
        for method in ("fold", "direct"):

            def total(x: Any, method: Any = method) -> Any:
                found = transforms.multi_frequency_statistics(
                    x, transforms.frequency_list("top", 16), 112, method=method
                )
                return sum(jnp.sum(part**2) for part in found)

            target = total if kind == "forward" else jax.value_and_grad(total)
            programs[method] = partial(jax.jit(target).lower(x).compile(), x)
        times = _results.interleave(programs, repeats)
        ratio = np.asarray(times["direct"]) / np.asarray(times["fold"])
        rows.append(
            {
                "kind": f"statistics, {kind}",
                "side": side,
                "seconds": {n: _results.summarize(t) for n, t in times.items()},
                "direct_over_fold": _results.summarize(ratio),
            }
        )
    return rows


def grouped(repeats: int) -> list[dict[str, Any]]:
    """Returns rows of the gradient of a convolution in 32 groups by method."""
    rows = []
    for channels, side in GROUPED:
        x = jax.random.normal(jax.random.key(0), (1, side, side, channels))
        programs = {}
        for method in ("auto", "native"):
            layer = jaxvision.layers.GroupedConv(
                channels, channels, 3, groups=32, method=method, rngs=nnx.Rngs(0)
            )
            graph, kernel = nnx.split(layer)

            def total(kernel: Any, x: Any, graph: Any = graph) -> Any:
                return jnp.sum(nnx.merge(graph, kernel, copy=True)(x) ** 2)

            slope = jax.jit(jax.grad(total, (0, 1)))
            programs[method] = partial(slope.lower(kernel, x).compile(), kernel, x)
        times = _results.interleave(programs, repeats)
        ratio = np.asarray(times["native"]) / np.asarray(times["auto"])
        rows.append(
            {
                "kind": f"gradient, 32 groups of {channels // 32} channel"
                + "s" * (channels > 32),
                "side": side,
                "seconds": {n: _results.summarize(t) for n, t in times.items()},
                "native_over_auto": _results.summarize(ratio),
            }
        )
    return rows


def learned(part: str, train: Any, test: Any, options: argparse.Namespace) -> None:
    """Trains all models with all seeds and writes the rows."""
    rows = []
    for seed in range(options.seeds):
        for model in options.models or MODELS:
            row = measure(train, test, model=model, seed=seed, epochs=options.epochs)
            print(line(row), flush=True)
            rows.append(row)
    said = _results.judged(verdicts(rows))
    if not options.dry:
        print(record(part, [*rows, *said], train, test))


def line(row: dict[str, Any]) -> str:
    """Returns a row as text."""
    return (
        f"{row['model']:12} seed {row['seed']} dice {row['dice']:.4f} "
        f"iou {row['iou']:.4f} loss {row['loss']:.4f} {row['seconds']:.0f} s"
    )


def verdicts(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns what the rows say on each claim, in means over the seeds."""
    dice: dict[str, dict[int, float]] = {}
    for row in rows:
        dice.setdefault(row["model"], {})[row["seed"]] = 100 * row["dice"]
    found = []
    plain, *others = MODELS
    for model in others:
        if model not in dice or plain not in dice:
            continue
        gaps = [dice[model][seed] - value for seed, value in dice[plain].items()]
        shown = ", ".join(f"{gap:+.1f}" for gap in gaps)
        found.append(
            {
                "what": f"{model}: at least the Dice of the plain {plain}",
                "figure": f"{np.mean(gaps):+.1f} points; by seed {shown}",
                "holds": bool(np.mean(gaps) >= 0),
            }
        )
    return found


def record(part: str, rows: Sequence[dict[str, Any]], train: Any, test: Any) -> Path:
    """Writes the rows of a part and returns the path of the file."""
    what = {
        "rings": "synthetic rings of 1 to 3 pixels' wall among discs and lines",
        "membrane": "ISBI 2012 membranes, tiles of 128 pixels: slices 0 to 19 of 30 "
        "for training, 20 to 29 for test",
    }[part]
    return _results.write(
        f"lung_ssfnet_{part}",
        rows,
        claim="Fusion units and attention to frequencies segment thin walls at least "
        "as well as a plain U-Net at equal steps",
        notes=[
            what,
            f"{len(train['image'])} images for training, {len(test['image'])} for "
            f"test, {TILE} x {TILE}; base width 8, five stages, batches of 10",
            "Dice and IoU of the thin class, means over the test images",
            "seeds differ in parameters and order of the images",
        ],
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.lung_ssfnet")
    parser.add_argument("part", choices=("rings", "membrane", "speed"))
    parser.add_argument("--data", type=Path, help="folder with the membrane images")
    parser.add_argument("--dry", action="store_true", help="write nothing")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--epochs", type=int, default=None)
    parser.add_argument("--models", nargs="*", choices=tuple(MODELS))
    parser.add_argument("--train", type=int, default=300, help="rings to train on")
    parser.add_argument("--test", type=int, default=100, help="rings to test on")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--side", type=int, default=512, help="at least 256")
    options = parser.parse_args(arguments)
    if options.part == "membrane":
        if options.data is None:
            parser.error("membrane needs --data FOLDER")
        learned("membrane", *membrane(options.data), options)
        return
    if options.part == "rings":
        learned("rings", *rings(options.train, options.test), options)
        return
    rows = forward(options.side, options.repeats, SPEED_OPTIONS)
    rows += statistics(options.side // 4, options.repeats)
    rows += grouped(options.repeats)
    for row in rows:
        medians = {n: s["median"] for n, s in row["seconds"].items()}
        print(row["kind"], " ".join(f"{n} {s:.3f} s" for n, s in medians.items()))
    if not options.dry:
        print(
            _results.write(
                "lung_ssfnet_speed",
                rows,
                claim="The forward pass at 512 x 512 is faster than the same network "
                "in PyTorch, and takes a fifth of the "
                f"{PUBLISHED_SECONDS} s reported for the authors' code",
                notes=[
                    "one image, one class, the fusion of the authors' code; float32",
                    "PyTorch: written from the description, basis images kept once "
                    "or, in the published form, for each channel",
                    "all in one process, in turns, with the same arrays",
                ],
                peers=["torch"],
            )
        )


if __name__ == "__main__":
    main()

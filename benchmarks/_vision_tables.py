"""Tables of the vision systems, as Markdown with a line on what their figures are."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from benchmarks._intervals import interval


Results = Mapping[str, Any]
Row = Mapping[str, Any]
METHODS = {
    "standalone": "no exchange",
    "cwt": "ring",
    "cwt_random": "ring, rewind to a random node",
    "cwt_rewind": "ring, rewind to the previous node",
    "rwt": "random",
    "rwt_random": "random, rewind to a random node",
    "rwt_rewind": "random, rewind to the previous node",
    "fedavg": "FedAvg",
    "fedavg_rewind": "FedAvg, rewind to a random node",
    "joint": "one model on all data",
}
NAMES = {"constant": "constant variance", "bs": "optimal variance"}


def beta_sigma_vae(results: Results) -> str:
    """Returns one row per model and beta: bounds, error and rate, over the seeds."""
    result = results["beta_sigma_vae"]
    groups: dict[tuple[str, float], list[Row]] = {}
    for row in result["rows"]:
        if row["kind"] == "model":
            groups.setdefault((row["model"], row["beta"]), []).append(row)
    header = (
        *("model", "beta", "test bound", "read at 1/2", "read at beta/2"),
        *("training bound", "squared error", "KL", "Frechet distance"),
    )
    lines = [
        (
            NAMES[model],
            f"{beta:g}",
            _spread(rows, "bound", 1),
            # Its variance is its own: there is nothing else to read it at.
            *(
                (_spread(rows, "bound_half", 1), _spread(rows, "bound_beta", 1))
                if model == "constant"
                else ("–", "–")
            ),
            _spread(rows, "train_bound", 1),
            _spread(rows, "mse", 4),
            _spread(rows, "rate", 2),
            _spread(rows, "frechet_distance", 2),
        )
        for (model, beta), rows in groups.items()
    ]
    seeds = len(next(iter(groups.values())))
    real = next(r["frechet_distance"] for r in result["rows"] if r["kind"] == "real")
    caption = (
        f"Nats per image, medians over {seeds} seeds, in brackets the extremes. "
        "Bounds weigh the KL divergence by 1 and are taken at the best variance of "
        "each image unless said otherwise. The Frechet distance is that of drawn "
        "digits to the test images in the features of a small classifier, no FID; "
        f"that of the training images is {real:.2f}. {_setting(result)}"
    )
    return "\n".join([*_markdown(header, lines), "", caption])


def ripeness_vit(results: Results) -> str:
    """Returns one row per task, model and augmentation: accuracy over the seeds."""
    result = results["ripeness_vit"]
    groups: dict[tuple[str, str, bool], list[Row]] = {}
    first = {r["part"]: r for r in result["rows"] if r["kind"] == "pretext"}
    for row in result["rows"]:
        if row["kind"] == "model":
            key = (row["part"], row["model"], row["augmented"])
            groups.setdefault(key, []).append(row)
    lines = [
        (
            part,
            model,
            "yes" if augmented else "no",
            _spread([{"points": 100 * r["accuracy"]} for r in rows], "points", 1),
            f"{100 * rows[0]['train_accuracy']:.1f}",
            rows[0]["steps"],
        )
        for (part, model, augmented), rows in groups.items()
    ]
    header = ("task", "encoder", "augmented", "test accuracy", "training", "steps")
    reached = ", ".join(
        f"{100 * r['accuracy']:.1f} % of new images in {r['classes']} classes ({part})"
        for part, r in first.items()
    )
    counts = ", ".join(
        f"{len(next(v for k, v in groups.items() if k[0] == part))} ({part})"
        for part in first
    )
    caption = (
        f"Percent, medians over the seeds, {counts}, in brackets the extremes; the "
        f"training accuracy of the last steps. The encoder's first task: {reached}. "
        f"{_setting(result)}"
    )
    return "\n".join([*_markdown(header, lines), "", caption])


def claims(results: Results, name: str, figure: str = "found") -> str:
    """Returns what was expected of the figures of a file, and what came out."""
    rows = [r for r in results[name]["rows"] if r["kind"] == "verdict"]
    lines = [
        (row["what"], row["figure"], "yes" if row["holds"] else "no") for row in rows
    ]
    return "\n".join(_markdown(("expected", figure, "holds"), lines))


GANS = {
    "bce": "BCE (nonsaturating)",
    "hinge": "hinge",
    "rlc_gradient": "hinge + RLC, gradient",
    "rlc_gradient_0.001": "hinge + RLC, gradient",
    "rlc_gradient_0.01": "hinge + RLC, gradient",
    "rlc_gradient_0.1": "hinge + RLC, gradient",
    "rlc_gradient_1": "hinge + RLC, gradient",
    "rlc_lecam": "hinge + RLC, LeCam",
    "rlc_anchor": "hinge + RLC, anchor",
    "rlc_notebook": "hinge + RLC, anchor as the notebook calls it",
    "gp0": "hinge + GP-0 (R1)",
    "gp0_10": "hinge + GP-0 (R1)",
    "real": "training images",
}


def gan_ring(results: Results) -> str:
    """Returns one row per loss and regularizer: means with 95 % intervals."""
    result = results["hinge_rlc_gan"]
    groups = _by_objective(result, "ring")
    header = (
        *("discriminator", "weight", "modes of 8", "samples on a mode"),
        *("slope of its loss", "mean absolute score of real points"),
    )
    lines = [
        (
            GANS[name],
            f"{rows[0]['weight']:g}" if rows[0]["weight"] else "–",
            *(
                _interval(rows, figure, digits)
                for figure, digits in (
                    *(("modes", 1), ("on_a_mode", 2)),
                    *(("slope", 2), ("confidence", 2)),
                )
            ),
        )
        for name, rows in groups.items()
    ]
    first = next(iter(groups.values()))
    caption = (
        f"Means over {len(first)} seeds with 95 % intervals by Student's t, after "
        f"{first[0]['steps']} steps. The slope is that in the parameters of the "
        f"discriminator. {_setting(result)}"
    )
    return "\n".join([*_markdown(header, lines), "", caption])


def gan_digits(results: Results) -> str:
    """Returns one row per regularizer for digits, and one for real images."""
    result = results["hinge_rlc_gan"]
    groups = _by_objective(result, "digits")
    columns = (
        ("class_accuracy", "decided as asked for", 3),
        ("kl_to_uniform", "KL of classes to uniform", 4),
        ("distance_within_classes", "distance within classes", 2),
        ("frechet_distance", "Frechet distance", 2),
        ("kernel_distance", "kernel distance", 3),
    )
    lines = [
        (GANS[name], *(_spread(rows, figure, digits) for figure, _, digits in columns))
        for name, rows in groups.items()
    ]
    seeds, steps = max(
        (len(rows), rows[0]["steps"]) for rows in groups.values() if "steps" in rows[0]
    )
    caption = (
        f"Medians over {seeds} seeds after {steps} steps, in brackets the extremes, in "
        "the features of a small classifier: no FID and no KID."
    )
    header = ("discriminator", *(title for _, title, _ in columns))
    return "\n".join([*_markdown(header, lines), "", caption])


def _by_objective(result: Row, kind: str) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = {}
    for row in result["rows"]:
        if row["kind"] == kind:
            groups.setdefault(row["objective"], []).append(row)
    return groups


def _interval(rows: Sequence[Row], name: str, digits: int) -> str:
    mean, half = interval([row[name] for row in rows])
    return f"{mean:.{digits}f} ± {half:.{digits}f}"


def fedrewind(results: Results) -> str:
    """Returns one row per method: FA, FF and PFA at each alpha, steps."""
    result = results["fedrewind"]
    groups: dict[str, dict[float, list[Row]]] = {}
    for row in result["rows"]:
        if row["kind"] == "run":
            found = groups.setdefault(row["method"], {})
            found.setdefault(row["alpha"], []).append(row)
    alphas = list(next(iter(groups.values())))
    header = ["method"]
    for alpha in alphas:
        header += [f"FA, alpha {alpha:g}", "FF", "PFA", "steps"]
    lines = [
        [METHODS[method]]
        + [
            _mean(found[alpha], name, digits)
            for alpha in alphas
            for name, digits in (
                ("fa", 1),
                ("ff", 1),
                ("pfa", 1),
                ("gradient_steps", 0),
            )
        ]
        for method, found in groups.items()
    ]
    seeds = len(next(iter(groups.values()))[alphas[0]])
    caption = (
        f"Percent, means over {seeds} partitions, in brackets standard deviations; "
        "averages of the last five rounds, each model scored where it has just "
        f"arrived. Steps are those of all nodes in all rounds. {_setting(result)}"
    )
    return "\n".join([*_markdown(header, lines), "", caption])


def fedrewind_speed(results: Results) -> str:
    """Returns milliseconds of a round, by number of nodes and form."""
    result = results["fedrewind_speed"]
    forms = list(dict.fromkeys(row["form"] for row in result["rows"]))
    times: dict[int, dict[str, float]] = {}
    for row in result["rows"]:
        times.setdefault(row["nodes"], {})[row["form"]] = row["seconds"]["median"]
    lines = [
        [count, *(f"{1e3 * found[form]:.1f}" for form in forms)]
        for count, found in times.items()
    ]
    caption = f"Milliseconds of a round, medians. {_setting(result)}"
    return "\n".join([*_markdown(("nodes", *forms), lines), "", caption])


def lung_ssfnet_speed(results: Results) -> str:
    """Returns seconds of ours and of what it is compared with, and their ratio."""
    # Here, because it imports JAX, which no other table of this file needs.
    from benchmarks.lung_ssfnet import PUBLISHED_SECONDS

    result = results["lung_ssfnet_speed"]
    lines = []
    for row in result["rows"]:
        (ours, own), (other, theirs) = row["seconds"].items()
        ratio = row[f"{other}_over_{ours}"]
        lines.append(
            [
                f"{row['kind']}, {row['side']} × {row['side']}",
                f"{ours}: {own['median']:.3g}",
                f"{other}: {theirs['median']:.3g}",
                f"{ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})",
            ]
        )
    whole = next(row for row in result["rows"] if row["kind"] == "forward")
    times = PUBLISHED_SECONDS / whole["seconds"]["jaxvision"]["median"]
    caption = (
        "Seconds, medians of alternating runs; the ratio is the median of paired ones, "
        "in brackets its extremes. PyTorch: the same network with the same arrays, "
        f"written from the description. The authors report {PUBLISHED_SECONDS:g} s for "
        f"theirs on a CPU of their own, {times:.1f} times ours. {_setting(result)}"
    )
    header = ("what", "ours", "beside it", "ratio")
    return "\n".join([*_markdown(header, lines), "", caption])


def lung_ssfnet(results: Results, part: str) -> str:
    """Returns one row per model of a data set: size, steps and overlaps."""
    result = results[f"lung_ssfnet_{part}"]
    groups: dict[str, list[Row]] = {}
    for row in result["rows"]:
        if row["kind"] == "run":
            points = {name: 100 * row[name] for name in ("dice", "iou")}
            groups.setdefault(row["model"], []).append({**row, **points})
    lines = [
        (
            *(model, f"{rows[0]['parameters']:,}", rows[0]["steps"]),
            *(_spread(rows, name, 1) for name in ("dice", "iou")),
        )
        for model, rows in groups.items()
    ]
    seeds = len(next(iter(groups.values())))
    caption = (
        f"Percent, medians over {seeds} seeds, in brackets the extremes; means over "
        f"the test images: {'; '.join(result['notes'][:2])}. {_setting(result)}"
    )
    header = ("network", "parameters", "steps", "Dice", "IoU")
    return "\n".join([*_markdown(header, lines), "", caption])


def _mean(rows: Sequence[Row], name: str, digits: int) -> str:
    values = [row[name] for row in rows if name in row]
    if not values:  # one model for all has no node of its own
        return "–"
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.{digits}f} ({deviation:.{digits}f})"


def _spread(rows: Sequence[Row], name: str, digits: int) -> str:
    values = sorted(row[name] for row in rows)
    half = len(values) // 2
    middle = values[half] if len(values) % 2 else sum(values[half - 1 : half + 1]) / 2
    shown = (f"{v:.{digits}f}" for v in (middle, values[0], values[-1]))
    return "{} ({} to {})".format(*shown)


def _markdown(header: Sequence[str], lines: Sequence[Sequence[Any]]) -> list[str]:
    rows = [header, ["---"] * len(header), *lines]
    return ["| " + " | ".join(map(str, row)) + " |" for row in rows]


def _setting(result: Row) -> str:
    here = result["environment"]
    versions = {"JAX": here["jax"], **here["peers"], "Python": here["python"]}
    shown = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"{here['cpu']}, {here['cores']} cores; {shown}; {here['date']}."


TABLES: dict[str, Callable[[Results], str]] = {
    "beta_sigma_vae": beta_sigma_vae,
    "beta_sigma_claims": partial(claims, name="beta_sigma_vae"),
    "gan_ring": gan_ring,
    "gan_claims": partial(claims, name="hinge_rlc_gan", figure="difference"),
    "gan_digits": gan_digits,
    "ripeness_vit": ripeness_vit,
    "ripeness_vit_claims": partial(claims, name="ripeness_vit"),
    "fedrewind": fedrewind,
    "fedrewind_claims": partial(claims, name="fedrewind"),
    "fedrewind_speed": fedrewind_speed,
    "lung_ssfnet_rings": partial(lung_ssfnet, part="rings"),
    "lung_ssfnet_rings_claims": partial(claims, name="lung_ssfnet_rings"),
    "lung_ssfnet_membrane": partial(lung_ssfnet, part="membrane"),
    "lung_ssfnet_membrane_claims": partial(claims, name="lung_ssfnet_membrane"),
    "lung_ssfnet_speed": lung_ssfnet_speed,
}

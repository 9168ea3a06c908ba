"""Our figures in the table of systems: one line each, to stand beside the paper's."""

from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

from benchmarks._intervals import interval


Results = Mapping[str, Any]
Row = Mapping[str, Any]


def _rows(results: Results, name: str, **wanted: Any) -> list[Row]:
    """Returns the rows of a file with these values; there must be some."""
    found = [
        row
        for row in results[name]["rows"]
        if all(row.get(key) == value for key, value in wanted.items())
    ]
    if not found:
        raise ValueError(f"benchmarks/results: {name} has no row with {wanted}")
    return found


def pinns(results: Results) -> str:
    """Returns the error of a network of the paper and the paper's for it."""
    chosen = {"problem": "helmholtz", "model": "cp", "rank": 32, "points": 64}
    (row,) = (
        r for r in _rows(results, "paper_tables", **chosen) if r["weights"] == "paper"
    )
    return (
        f"Helmholtz, CP of rank 32 on 64³ points: relative L2 "
        f"{row['relative_l2']['median']:.3f} after {row['iterations']:,} iterations"
    )


def pinns_paper(results: Results) -> str:
    """Returns what the paper prints for that network."""
    chosen = {"problem": "helmholtz", "model": "cp", "rank": 32, "points": 64}
    row = _rows(results, "paper_tables", **chosen)[0]["paper"]
    return (
        f"Helmholtz, CP of rank 32 on {row['points']}³ points: relative L2 "
        f"{row['relative_l2']:.3f} after {row['iterations']:,} iterations"
    )


def beta_sigma_vae(results: Results) -> str:
    """Returns the bounds at beta 1 of both models, and the best of the constant one."""
    bounds: dict[tuple[str, float], list[float]] = {}
    for row in _rows(results, "beta_sigma_vae", kind="model"):
        bounds.setdefault((row["model"], row["beta"]), []).append(row["bound"])
    found = {key: median(values) for key, values in bounds.items()}
    best = max((key for key in found if key[0] == "constant"), key=found.__getitem__)
    return (
        f"8 × 8 digits, test bound at beta 1: {found['bs', 1]:.1f} nats; constant "
        f"variance {found['constant', 1]:.1f}, at beta {best[1]:g} {found[best]:.1f}"
    )


def hinge_rlc_gan(results: Results) -> str:
    """Returns the modes covered with RLC and with the hinge loss alone."""
    means = []
    for objective in ("rlc_gradient_0.1", "hinge"):
        rows = _rows(results, "hinge_rlc_gan", kind="ring", objective=objective)
        means.append("{:.1f} ± {:.1f}".format(*interval([r["modes"] for r in rows])))
    return (
        f"ring of Gaussians, modes of 8: {means[0]} with RLC (gradient, 0.1), "
        f"{means[1]} with the hinge loss alone"
    )


def lung_ssfnet(results: Results) -> str:
    """Returns the Dice of each network on what there are trainings of, and speed."""
    parts = []
    for part, what in (("rings", "thin rings"), ("membrane", "membranes")):
        name = f"lung_ssfnet_{part}"
        if name not in results:
            continue
        groups: dict[str, list[float]] = {}
        for row in _rows(results, name, kind="run"):
            groups.setdefault(row["model"], []).append(100 * row["dice"])
        found = ", ".join(f"{k} {median(v):.1f}" for k, v in groups.items())
        parts.append(f"{what}, Dice in percent: {found}")
    (row, *_) = _rows(results, "lung_ssfnet_speed", kind="forward")
    parts.append(f"forward at 512 × 512: {row['seconds']['jaxvision']['median']:.2f} s")
    return "; ".join(parts)


def ripeness_vit(results: Results) -> str:
    """Returns the accuracies on drawn fruit, frozen encoder and from scratch."""
    frozen, scratch = (
        100
        * median(
            row["accuracy"]
            for row in _rows(
                results, "ripeness_vit", part="fruit", model=model, augmented=False
            )
        )
        for model in ("frozen", "scratch")
    )
    return f"drawn fruit: pretrained {frozen:.1f} %, from scratch {scratch:.1f} %"


def fedrewind(results: Results) -> str:
    """Returns the FA of the ring, with rewind and without."""
    means = []
    for method in ("cwt_rewind", "cwt"):
        rows = _rows(results, "fedrewind", kind="run", method=method, alpha=0.25)
        means.append(sum(row["fa"] for row in rows) / len(rows))
    return (
        f"8 × 8 digits, 10 nodes, FA of the ring: {means[0]:.1f} %; without rewind "
        f"{means[1]:.1f} %"
    )


FIGURES: dict[str, Callable[[Results], str]] = {
    "paper_pinns": pinns_paper,
    "ours_pinns": pinns,
    "ours_beta_sigma_vae": beta_sigma_vae,
    "ours_hinge_rlc_gan": hinge_rlc_gan,
    "ours_lung_ssfnet": lung_ssfnet,
    "ours_ripeness_vit": ripeness_vit,
    "ours_fedrewind": fedrewind,
}

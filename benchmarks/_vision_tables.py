"""Tables of the vision systems, as Markdown with a line on what their figures are."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any


Results = Mapping[str, Any]
Row = Mapping[str, Any]
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
        *("training bound", "squared error", "KL"),
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
        )
        for (model, beta), rows in groups.items()
    ]
    seeds = len(next(iter(groups.values())))
    caption = (
        f"Nats per image, medians over {seeds} seeds, in brackets the extremes. "
        "Bounds weigh the KL divergence by 1 and are taken at the best variance of "
        f"each image unless said otherwise. {_setting(result)}"
    )
    return "\n".join([*_markdown(header, lines), "", caption])


def beta_sigma_claims(results: Results) -> str:
    """Returns what was expected of those figures and what came out."""
    rows = [r for r in results["beta_sigma_vae"]["rows"] if r["kind"] == "verdict"]
    lines = [
        (row["what"], row["figure"], "yes" if row["holds"] else "no") for row in rows
    ]
    return "\n".join(_markdown(("expected", "found", "holds"), lines))


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
    peers = ", ".join(f"{name} {version}" for name, version in here["peers"].items())
    return (
        f"{here['cpu']}, {here['cores']} cores; JAX {here['jax']}, {peers}, Python "
        f"{here['python']}; {here['date']}."
    )


TABLES: dict[str, Callable[[Results], str]] = {
    "beta_sigma_vae": beta_sigma_vae,
    "beta_sigma_claims": beta_sigma_claims,
}

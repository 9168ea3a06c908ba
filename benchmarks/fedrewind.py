"""Federations with and without rewind on real digits: `python -m benchmarks.fedrewind`.

Ten nodes share the 8 x 8 digits of scikit-learn in Dirichlet shares. Every topology is
run with and without rewind, all partitions and rounds of a method as one program.
Prints accuracy (FA), forgetting (FF) and accuracy at home (PFA) and writes
`benchmarks/results/fedrewind.json` (`--dry` does not). `--only speed` times a round
against a Python loop over the nodes instead: `benchmarks/results/fedrewind_speed.json`.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from sklearn.datasets import load_digits

import jaxvision
from benchmarks import _results
from jaxvision import federated
from jaxvision.recipes import fedrewind


ALPHAS = (0.25, 0.1)
SEEDS = 5
LAST = 5  # rounds that the figures are means over
METHODS = (
    "standalone", "cwt", "cwt_random", "cwt_rewind", "rwt", "rwt_random", "rwt_rewind",
    "fedavg", "fedavg_rewind", "joint",
)  # fmt: skip
FIGURES = {
    "federated_accuracy": "fa",
    "federated_forgetting": "ff",
    "personalized_accuracy": "pfa",
}


def digits() -> dict[str, np.ndarray]:
    """Returns all images (n, 8, 8, 1) in [0, 1] and their labels."""
    found = load_digits()
    images = found.images.astype(np.float32)[..., None] / 16
    return {"image": images, "label": found.target.astype(np.int32)}


def configured(method: str, **changes: Any) -> fedrewind.FedRewindRecipe:
    """Returns the recipe of a method for digits."""
    return jaxvision.recipe("fedrewind", preset=f"digits_{method}", **changes).config


def federations(method: str, cases: Sequence[tuple[float, int]]) -> tuple[Any, Any]:
    """Returns training and test data of one federation per (alpha, seed), stacked."""
    arrays = digits()
    found = [
        fedrewind.nodes(configured(method, alpha=alpha), arrays, seed)
        for alpha, seed in cases
    ]

    def joined(parts: Sequence[Any]) -> Any:
        most = max(part["valid"].shape[1] for part in parts)

        def fill(x: np.ndarray) -> np.ndarray:
            rest = [(0, 0)] * (x.ndim - 2)
            return np.pad(x, [(0, 0), (0, most - x.shape[1]), *rest])

        return jax.tree.map(lambda *x: np.stack(list(map(fill, x))), *parts)

    return joined([n.train for n in found]), joined([n.test for n in found])


def measure(
    method: str, cases: Sequence[tuple[float, int]], *, rounds: int | None = None
) -> list[dict[str, Any]]:
    """Returns one row per (alpha, seed): the figures in percent, and gradient steps."""
    config = configured(method)
    rounds = rounds or config.rounds
    task = fedrewind.task(config)
    train, test = federations(method, cases)
    evaluate: Any = task.evaluate

    @jax.jit
    def run(keys, train, test):
        def one(key, train, test):
            state = task.init(jax.random.fold_in(key, 0))

            def take(state, number):
                now = jax.random.fold_in(key, number)
                state, metrics = task.step(state, train, now)
                return state, (metrics, evaluate(state, test))

            return lax.scan(take, state, jnp.arange(1, rounds + 1))[1]

        return jax.vmap(one)(keys, train, test)

    keys = jnp.stack([jax.random.key(seed) for _, seed in cases])
    metrics, found = jax.device_get(run(keys, train, test))
    return [
        {
            "method": method,
            "alpha": alpha,
            "seed": seed,
            **{
                short: 100 * float(np.mean(found[name][i, -LAST:]))
                for name, short in FIGURES.items()
                if name in found
            },
            "loss": float(np.mean(metrics["loss"][i, -LAST:])),
            "gradient_steps": int(metrics["gradient_steps"][i].sum()),
            "rounds": rounds,
        }
        for i, (alpha, seed) in enumerate(cases)
    ]


def gaps(
    rows: Sequence[dict[str, Any]], name: str, one: str, other: str, alpha: float
) -> np.ndarray:
    """Returns what `one` has of a figure more than `other`, for each seed."""
    by_seed = {(r["method"], r["seed"]): r[name] for r in rows if r["alpha"] == alpha}
    seeds = sorted({seed for _, seed in by_seed})
    return np.array([by_seed[one, s] - by_seed[other, s] for s in seeds])


def verdicts(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns what the rows say on each claim, in means over the seeds."""
    said = []
    for plain, back in (
        ("cwt", "cwt_rewind"),
        ("rwt", "rwt_rewind"),
        ("fedavg", "fedavg_rewind"),
    ):
        for alpha in ALPHAS:
            for name, word, sign in (("fa", "raises", 1), ("ff", "lowers", -1)):
                found = gaps(rows, name, back, plain, alpha)
                said.append(
                    {
                        "what": f"{back} {word} {name.upper()} of {plain} at alpha "
                        f"{alpha:g}",
                        "figure": _mean(found, "+"),
                        "holds": bool(sign * found.mean() > 0),
                    }
                )
    for alpha in ALPHAS:
        least = min(
            (gaps(rows, "fa", m, "standalone", alpha) for m in METHODS[1:]),
            key=np.mean,
        )
        said.append(
            {
                "what": f"standalone has the lowest FA at alpha {alpha:g}",
                "figure": f"the next is {_mean(least, '+')} away",
                "holds": bool(least.mean() > 0),
            }
        )
    first, second = (gaps(rows, "fa", "cwt_rewind", "cwt", a).mean() for a in ALPHAS)
    said.append(
        {
            "what": "cwt_rewind gains more FA at the smaller alpha",
            "figure": f"{second:.1f} against {first:.1f}",
            "holds": bool(second > first),
        }
    )
    return said


def _mean(values: np.ndarray, sign: str = "") -> str:
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return f"{values.mean():{sign}.1f} (SD {deviation:.1f})"


def line(row: dict[str, Any]) -> str:
    """Returns a row as text."""
    names = [name for name in FIGURES.values() if name in row]
    figures = " ".join(f"{name} {row[name]:6.2f}" for name in names)
    return (
        f"{row['method']:13} alpha {row['alpha']:4g} seed {row['seed']} {figures} "
        f"steps {row['gradient_steps']}"
    )


def rounds_of(num_nodes: int) -> dict[str, Callable[[], Any]]:
    """Returns a round of FedRewind on a ring in three forms, by name.

    One program with all nodes at once, one with the nodes in sequence, and a Python
    loop that calls a compiled training for each node and phase. The nodes have one
    another's models already: they rewind.
    """
    options = {"num_nodes": num_nodes, "alpha": 0.5, "min_size": 4}
    config = configured("cwt_rewind", **options)
    train = jax.device_put(fedrewind.nodes(config, digits(), 0).train)
    key = jax.random.key(1)
    found: dict[str, Callable[[], Any]] = {}
    state = fedrewind.task(config).init(jax.random.key(0))
    source = federated.ring(num_nodes)
    state = {**state, "source": source, "round": state["round"] + 1}
    for name, at_once in (("one program", 0), ("one program, in sequence", 1)):
        task = fedrewind.task(
            configured("cwt_rewind", nodes_at_once=at_once, **options)
        )
        found[name] = partial(jax.jit(task.step), state, train, key)
    found["Python loop"] = _loop(config, state, train, key)
    return found


def _loop(config: Any, state: Any, train: Any, key: Any) -> Callable[[], Any]:
    """Returns the round node by node: it gives a list of models."""
    learner = fedrewind.learner(config)

    @jax.jit
    def visit(model, rows, valid, keys, node):
        keys = jax.vmap(jax.random.fold_in, (0, None))(keys, node)
        return federated.train_node(learner, model, rows, valid, keys).model

    def parted(tree: Any) -> list[Any]:
        return [
            jax.tree.map(lambda x, k=k: x[k], tree) for k in range(config.num_nodes)
        ]

    start, nodes = parted(state["models"]), parted(train)
    source = state["source"].tolist()
    epochs = jax.vmap(jax.random.fold_in, (None, 0))(
        jax.random.fold_in(key, 0), jnp.arange(config.epochs)
    )
    ends = np.cumsum((0, *config.phases))
    keys = [epochs[first:last] for first, last in pairwise(ends)]

    def run() -> list[Any]:
        models = list(start)
        for phase, now in enumerate(keys):
            for j, model in enumerate(models):
                node = source[j] if phase == 1 else j
                data = nodes[node]
                models[j] = visit(model, data["rows"], data["valid"], now, node)
        return [models[k] for k in source]

    return run


def speed(nodes: Sequence[int], repeats: int = 7) -> list[dict[str, Any]]:
    """Returns seconds of a round, by number of nodes and form."""
    rows = []
    for count in nodes:
        times = _results.interleave(rounds_of(count), repeats)
        rows += [
            {"nodes": count, "form": form, "seconds": _results.summarize(seconds)}
            for form, seconds in times.items()
        ]
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.fedrewind")
    parser.add_argument("--dry", action="store_true", help="write nothing")
    parser.add_argument("--only", choices=("accuracy", "speed"), default="accuracy")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--rounds", type=int, default=None)
    options = parser.parse_args(arguments)
    if options.only == "speed":
        timed = speed((10, 50))
        for row in timed:
            seconds = row["seconds"]["median"]
            print(f"{row['nodes']:3} nodes {row['form']:25} {1e3 * seconds:9.1f} ms")
        if not options.dry:
            path = _results.write(
                "fedrewind_speed",
                timed,
                claim="A round of all nodes as one program is faster than a loop over "
                "the nodes",
                notes=[
                    "a round of 8, 1 and 1 epochs on a ring, 64-64-10 perceptrons, "
                    "batches of 32, 1347 digits over all nodes, alpha 0.5",
                    "the loop calls one compiled training per node and phase, which "
                    "takes no more steps than the node has",
                ],
                peers=["scikit-learn"],
            )
            print(path)
        return
    cases = [(alpha, seed) for alpha in ALPHAS for seed in range(options.seeds)]
    rows: list[dict[str, Any]] = []
    for method in METHODS:
        found = measure(method, cases, rounds=options.rounds)
        for row in found:
            print(line(row), flush=True)
        rows += found
    said = _results.judged(verdicts(rows))
    if not options.dry:
        path = _results.write(
            "fedrewind",
            [
                *({"kind": "run", **row} for row in rows),
                *said,
            ],
            claim="Rewinding raises accuracy over the whole federation and lowers "
            "forgetting, at equal epochs",
            notes=[
                "scikit-learn digits, 8 x 8, dealt to 10 nodes by Dirichlet shares, "
                "75 % of each node's for training",
                "perceptrons 64-64-10; SGD 0.05, batch 32, 10 epochs a round, lambda "
                "0.1",
                f"means over the last {LAST} rounds, models scored after the exchange",
                "seeds differ in partition, parameters and order",
            ],
            peers=["scikit-learn"],
        )
        print(path)


if __name__ == "__main__":
    main()

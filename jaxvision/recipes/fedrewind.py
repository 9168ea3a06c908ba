"""FedRewind: classifiers that travel between the nodes of a federation, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array

from jaxcore.training import FunctionBatches, Task, masked_mean
from jaxvision import _checks, data, losses, weights
from jaxvision.federated import Learner, Protocol, federated_task
from jaxvision.layers import counted_rows, split, statistics_of
from jaxvision.layers._checks import positive
from jaxvision.models import FedRewindClassifier, FedRewindOptions
from jaxvision.recipes._labels import check_labels
from jaxvision.system import Arrays, System


OWNER = "jaxvision.recipe('fedrewind')"
PARTITIONS = ("dirichlet", "iid")
ALPHA, MIN_SIZE = 0.25, 10


@dataclass(frozen=True)
class FedRewindRecipe(Protocol):
    """What is trained and how; the defaults are the paper's for CIFAR-10 and 10 nodes.

    Attributes, besides those of `jaxvision.federated.Protocol`:
        network: sizes of the network.
        weights: file of safetensors with torchvision's ResNet-18; the last layer is
            drawn anew. Empty: everything is. The paper's have seen ImageNet.
        rounds: of training at all nodes and exchange.
        num_nodes: N.
        partition: `"dirichlet"`, see `jaxvision.data.partition_dirichlet`, or `"iid"`.
        alpha, min_size, balance: of the Dirichlet partition.
        train_share: of the rows of a node to train on; it is tested on the others.
        num_tasks: for continual learning, in how many tasks the classes are cut, in
            their order; each node goes through them at its own pace. 1: none.
        learning_rate: of SGD without momentum, while rewinding too.
        decay: factor of the learning rate from one round to the next; 1, the paper's,
            keeps it constant.
        batch_size: rows of a minibatch.
        nodes_at_once: how many nodes are trained in parallel; 0: all.

    Raises:
        ValueError: a value out of range, or two that do not go together.
    """

    network: FedRewindOptions = field(default_factory=FedRewindOptions)
    weights: str = ""
    rounds: int = 50
    num_nodes: int = 10
    partition: str = "dirichlet"
    alpha: float = ALPHA
    min_size: int = MIN_SIZE
    balance: bool = True
    train_share: float = 0.75
    num_tasks: int = 1
    learning_rate: float = 1e-3
    decay: float = 1.0
    batch_size: int = 32
    nodes_at_once: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(
            OWNER,
            rounds=self.rounds,
            num_nodes=self.num_nodes,
            min_size=self.min_size,
            num_tasks=self.num_tasks,
            batch_size=self.batch_size,
        )
        _checks.positive(OWNER, "learning_rate", self.learning_rate)
        _checks.positive(OWNER, "alpha", self.alpha)
        if not 0 < self.decay <= 1:
            raise ValueError(f"{OWNER}: `decay` must be in (0, 1], got {self.decay!r}")
        if self.partition not in PARTITIONS:
            raise ValueError(
                f"{OWNER}: `partition` must be one of {PARTITIONS}, got "
                f"{self.partition!r}"
            )
        given = (self.alpha, self.min_size, self.balance)
        if self.partition == "iid" and given != (ALPHA, MIN_SIZE, True):
            raise ValueError(
                f"{OWNER}: `alpha`, `min_size` and `balance` must be left as they are "
                f"with partition='iid', which has no use for them, got {given}"
            )
        if not 0 < self.train_share < 1:
            raise ValueError(
                f"{OWNER}: `train_share` must be in (0, 1), got {self.train_share}"
            )
        if self.network.num_classes % self.num_tasks:
            raise ValueError(
                f"{OWNER}: `num_tasks` must divide the {self.network.num_classes} "
                f"classes, got {self.num_tasks}"
            )
        if self.num_tasks > self.rounds:
            raise ValueError(
                f"{OWNER}: `num_tasks` must be at most the {self.rounds} rounds, got "
                f"{self.num_tasks}"
            )
        if self.weights and self.network.network != "resnet18":
            raise ValueError(
                f"{OWNER}: `weights` must be empty for a {self.network.network}, got "
                f"{self.weights!r}"
            )
        if self.nodes_at_once < 0 or (
            self.nodes_at_once and self.num_models % self.nodes_at_once
        ):
            raise ValueError(
                f"{OWNER}: `nodes_at_once` must be 0 or divide the {self.num_models} "
                f"nodes that are trained, got {self.nodes_at_once}"
            )

    @property
    def steps(self) -> int:
        """Steps of the task: one a round."""
        return self.rounds

    @property
    def num_models(self) -> int:
        """Models that are trained: one for each node, or one for all data."""
        return 1 if self.topology == "joint" else self.num_nodes


class Nodes(NamedTuple):
    """The data of a federation.

    train, test: dicts of `jaxvision.data.stack_nodes`, with `"image"` and `"label"` in
    `"rows"`; for continual learning with `"task"` and `"schedule"` besides.
    """

    train: dict[str, Any]
    test: dict[str, Any]

    def batches(self) -> tuple[FunctionBatches, FunctionBatches]:
        """Returns what `fit` trains and evaluates on: one batch, nodes in its rows."""
        found = []
        for part in self:
            count = len(part["valid"])
            description = {"rows": part["valid"].sum(axis=1).tolist()}

            def read(step: int, rows: slice, part: Any = part) -> Any:
                return jax.tree.map(lambda x: x[rows], part)

            found.append(
                FunctionBatches(
                    read, count, every=None, num_batches=1, description=description
                )
            )
        return found[0], found[1]


def nodes(
    config: FedRewindRecipe,
    arrays: Mapping[str, np.ndarray],
    seed: int,
    *,
    size: int = 0,
) -> Nodes:
    """Returns images and labels dealt to the nodes of a federation.

    Args:
        config: says how.
        arrays: `"image"` (n, H, W, C) floats and `"label"` (n,) integers.
        seed: of partition, local splits and schedule.
        size: rows that the training data of a node are filled up to; default those of
            the largest.

    Raises:
        TypeError: labels are no integers.
        ValueError: no images or labels, or some out of range; or rows that do not make
            such a federation.
    """
    check(OWNER, config, arrays)
    labels = np.asarray(arrays["label"])
    if config.partition == "iid":
        parts = data.partition_iid(len(labels), config.num_nodes, seed=seed)
    else:
        parts = data.partition_dirichlet(
            labels,
            config.num_nodes,
            config.alpha,
            seed=seed,
            min_size=config.min_size,
            balance=config.balance,
        )
    kept, held = data.split_local(parts, train=config.train_share, seed=seed)
    if config.topology == "joint":
        kept = [np.sort(np.concatenate(kept))]
    given = {name: arrays[name] for name in ("image", "label")}
    train = data.stack_nodes(given, kept, size=size)
    if config.num_tasks > 1:
        each = config.network.num_classes // config.num_tasks
        train["task"] = (train["rows"]["label"] // each).astype(np.int32)
        train["schedule"] = data.task_schedule(
            config.num_models, config.num_tasks, config.rounds, seed=seed
        )
    return Nodes(train, data.stack_nodes(given, held))


def check(where: str, config: FedRewindRecipe, arrays: Arrays) -> None:
    """Raises unless each image has a label in range."""
    check_labels(where, arrays, config.network.num_classes)


def check_options(
    where: str, config: FedRewindRecipe, options: Mapping[str, Any]
) -> None:
    """Raises ValueError for options of the engine that a round cannot carry out.

    Args:
        where: what errors begin with.
        config: says how many nodes are trained.
        options: of `jaxcore.training.fit`.
    """
    for name, default in (("precision", "float32"), ("accumulate", 1), ("ema", None)):
        value = options.get(name, default)
        if value != default:
            raise ValueError(
                f"{where}: `{name}` must be left alone for 'fedrewind', whose step is "
                f"a round of all nodes and not one gradient of one model, got {value!r}"
            )
    parallel, devices = options.get("parallel", "none"), options.get("devices")
    if parallel == "pmap":
        raise ValueError(
            f"{where}: `parallel` must be 'none' or 'sharded' for 'fedrewind', which "
            "splits the nodes over the devices, got 'pmap'"
        )
    if parallel != "sharded":
        return
    count = jax.device_count() if devices is None else devices
    count = len(count) if isinstance(count, Sequence) else count
    if count > 0 and config.num_models % count:
        raise ValueError(
            f"{where}: `devices` must divide the number of nodes that are trained, "
            f"{config.num_models}, got {count}"
        )


def learner(config: FedRewindRecipe) -> Learner:
    """Returns how a model is trained at a node: cross-entropy, SGD."""
    graph, _, _ = split(nnx.eval_shape(partial(_build, config), jax.random.key(0)))

    def loss(params: Any, statistics: Any, rows: Any, counts: Array):
        model = nnx.merge(graph, params, statistics, copy=True)
        model.train()
        with counted_rows(model, counts):
            logits = model(rows["image"])
        each = losses.softmax_cross_entropy(logits, rows["label"])
        return masked_mean(each, counts), statistics_of(model)

    optimizer = optax.sgd(config.learning_rate)
    return Learner(loss, optimizer, config.batch_size, config.decay)


def _build(config: FedRewindRecipe, key: Array) -> FedRewindClassifier:
    return FedRewindClassifier(config.network, rngs=nnx.Rngs(params=key))


def task(config: FedRewindRecipe) -> Task:
    """Returns the task, see `jaxvision.federated.federated_task`.

    Batches are those of `nodes(config, arrays, seed).batches()`; the state has all
    models, stacked.

    Raises:
        ValueError, FileNotFoundError: `config.weights` are not those of the network.
    """
    abstract = nnx.eval_shape(partial(_build, config), jax.random.key(0))
    if config.weights:
        weights.load_weights(
            abstract.backbone, config.weights, source="torchvision", leave=("head",)
        )
    graph, *given = split(abstract)

    def init(key: Array) -> dict[str, Any]:
        _, *drawn = split(_build(config, key))
        params, statistics = jax.tree.map(_given_or_drawn, given, drawn)
        return {"params": params, "statistics": statistics}

    def correct(params: Any, statistics: Any, rows: Any) -> Array:
        model = nnx.merge(graph, params, statistics, copy=True)
        model.eval()
        found = jnp.argmax(model(rows["image"]), axis=-1)
        return (found == rows["label"]).astype(jnp.float32)

    return federated_task(
        config,
        config.num_models,
        init,
        learner(config),
        correct,
        nodes_at_once=config.nodes_at_once,
    )


def summarize(config: FedRewindRecipe, found: dict[str, Any]) -> dict[str, Any]:
    """Returns the metrics of an evaluation in percent, and where models were scored."""
    percent = {f"{k}_percent": 100 * np.asarray(v) for k, v in found.items()}
    return {
        "scored": config.evaluate_at,
        **{name: value.tolist() for name, value in percent.items()},
    }


def _given_or_drawn(given: Any, drawn: Array) -> Array:
    return drawn if isinstance(given, jax.ShapeDtypeStruct) else jnp.asarray(given)


def read(
    config: FedRewindRecipe,
    path: Path,
    *,
    split: str | None = None,
    damaged: str = "raise",
) -> dict[str, np.ndarray]:
    """Returns images and labels of a folder or file, see `jaxvision.data.read_images`.

    Of data that come in parts training and test set together, as in the paper: it is
    the recipe that deals them to nodes and holds out rows of each.

    Raises:
        ValueError: another split is asked for.
    """
    if split not in (None, "all"):
        raise ValueError(
            f"{OWNER}: `split` must be 'all', because the recipe itself holds out rows "
            f"of every node, got {split!r}"
        )
    network = config.network
    return data.read_images(
        path,
        network.image_size,
        channels=network.in_channels,
        split="all" if data.splits_of(path) else split,
        damaged=damaged,
    )


# The rows of the paper's tables: topology and rewind.
ROWS = {
    "cwt_rewind": ("cwt", "previous"),
    "cwt": ("cwt", "none"),
    "cwt_random": ("cwt", "random"),
    "rwt": ("rwt", "none"),
    "rwt_rewind": ("rwt", "previous"),
    "rwt_random": ("rwt", "random"),
    "fedavg": ("fedavg", "none"),
    "fedavg_rewind": ("fedavg", "random"),
    "standalone": ("standalone", "none"),
    "joint": ("joint", "none"),
}
CONTINUAL = ("fedavg", "fedavg_rewind", "cwt", "cwt_rewind")
# One ResNet after another: what fits on one accelerator, and no grouped convolutions.
NETWORKS = {
    "cifar10": FedRewindOptions(),
    "cifar100": FedRewindOptions(num_classes=100),
    "mnist": FedRewindOptions(28, 1),
}
# 8 x 8 digits: small enough for a CPU, not in the paper.
DIGITS = FedRewindRecipe(
    network=FedRewindOptions(8, 1, network="perceptron"), rounds=20, learning_rate=0.05
)


def _presets() -> dict[str, FedRewindRecipe]:
    found = {}
    for name, network in NETWORKS.items():
        for row, (topology, rewind) in ROWS.items():
            for count in (10, 50):
                found[f"{name}_{row}_{count}"] = FedRewindRecipe(
                    topology=topology,
                    rewind=rewind,
                    network=network,
                    num_nodes=count,
                    nodes_at_once=1,
                )
    for row in CONTINUAL:
        found[f"cifar100_continual_{row}"] = replace(
            found[f"cifar100_{row}_10"], epochs=3, num_tasks=10
        )
    for row, (topology, rewind) in ROWS.items():
        found[f"digits_{row}"] = replace(DIGITS, topology=topology, rewind=rewind)
    return found


def _inputs(options: FedRewindOptions) -> tuple[Any, ...]:
    size = options.image_size
    return (jax.ShapeDtypeStruct((1, size, size, options.in_channels), jnp.float32),)


SYSTEM = System(
    paper="Palazzo et al., FedRewind: Rewinding Continual Model Exchange for "
    "Decentralized Federated Learning, ICPR 2024",
    task="federated classification",
    status="protocol, partitions and metrics tested; trained on 8 x 8 digits",
    options=FedRewindOptions,
    build=FedRewindClassifier,
    presets=_presets(),
    task_of=task,
    inputs=_inputs,
    read=read,
    summarize=summarize,
    splits=("all", "all"),
    check=check,
    check_options=check_options,
    batches=lambda config, arrays, seed: nodes(config, arrays, seed).batches(),
    paper_figures={
        "CIFAR-10, 10 nodes, FA of the ring in percent": "55.57; without rewind 45.81",
        "CIFAR-10, 10 nodes, FA of FedAvg in percent": "59.27; without rewind 51.19",
        "CIFAR-10, 50 nodes, FA of the ring in percent": "47.83; without rewind 40.00",
        "CIFAR-100, 10 nodes, FA of the ring in percent": "37.44; without rewind 34.02",
        "MNIST, 10 nodes, FA of the ring in percent": "96.19; without rewind 93.09",
        "continual CIFAR-100, accuracy of FedSpace (not provided)": "35.53; with "
        "rewind 39.40",
    },
)

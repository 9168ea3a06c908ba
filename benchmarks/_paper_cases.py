"""Tables 2 and 3 of the tensor-decomposition paper as printed, and the rows we run.

Source: Vemuri et al., "Functional Tensor Decompositions for Physics-Informed Neural
Networks", ICPR 2024.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from benchmarks._rows import Row


MODELS = ("cp", "tt", "tucker")
# Pointwise networks, by their names in pinns.baselines.
BASELINES = ("vanilla", "g_pinn", "sa_pinn", "causal_pinn")
BASELINE_PROBLEMS = ("klein_gordon", "helmholtz")
# Faults of the released code, each with the rows that it stands behind.
FAULTS = {
    "one_face": "one of the ten faces of Poisson is trained, the lower one of x1",
    "own_source": "the source of Helmholtz is computed from the network's own output",
}
# Our name -> name in pinns.problems, options, name in benchmarks.classical.
PROBLEMS: dict[str, tuple[str, dict[str, Any], str]] = {
    "klein_gordon": ("klein_gordon", {"velocity": False}, "Klein-Gordon (2+1)d"),
    "helmholtz": ("helmholtz3d", {"a": (4, 4, 3)}, "Helmholtz 3d"),
    "poisson": ("poisson", {"dimension": 5}, "Poisson 5d"),
    "flow_mixing": ("flow_mixing", {}, "flow mixing (2+1)d"),
}
TEST_POINTS = {3: 100, 5: 32}
# Factors of residual and Dirichlet condition; a condition is the mean over its faces.
WEIGHTS: dict[str, dict[str, tuple[float, float]]] = {
    "paper": {},
    "released": {
        "helmholtz": (1.0, 6.0),
        "poisson": (1.0, 10.0),
        "flow_mixing": (10.0, 4.0),
    },
}


class Case(NamedTuple):
    """One row: `points` per axis, `weights` of `WEIGHTS`, `fault` of `FAULTS` or None.

    A pointwise network has no rank.
    """

    problem: str
    model: str
    rank: int | None
    points: int
    weights: str = "paper"
    fault: str | None = None

    @property
    def baseline(self) -> bool:
        return self.model in BASELINES


class Published(NamedTuple):
    """What the paper reports; iterations per second on a GTX 1080, None if not said."""

    relative_l2: float
    points: int
    iterations: int
    iterations_per_second: int | None


class Scale(NamedTuple):
    """How much is run: per problem its iterations, and points if not the paper's.

    baselines: points per axis and iterations of the pointwise networks.
    """

    seeds: int
    iterations: Mapping[str, int]
    points: Mapping[str, int]
    baselines: tuple[int, int]


SCALES = {
    "paper": Scale(
        seeds=10,
        iterations={
            "klein_gordon": 50_000,
            "helmholtz": 50_000,
            "poisson": 80_000,
            "flow_mixing": 50_000,
        },
        points={},
        baselines=(32, 50_000),
    ),
    "cpu": Scale(
        seeds=3,
        iterations={
            "klein_gordon": 5000,
            "helmholtz": 5000,
            "poisson": 1500,
            "flow_mixing": 1500,
        },
        points={"poisson": 10, "flow_mixing": 32},
        baselines=(12, 500),
    ),
}

# Table 2: (rank, points) -> Klein-Gordon, Helmholtz, iterations per second.
_TABLE_2 = {
    "cp": {
        (8, 64): (0.050, 0.061, 364),
        (16, 64): (0.025, 0.051, 347),
        (32, 16): (0.069, 0.063, 357),
        (32, 32): (0.055, 0.060, 343),
        (32, 64): (0.008, 0.040, 327),
    },
    "tt": {
        (8, 64): (0.068, 0.064, 358),
        (16, 64): (0.043, 0.061, 353),
        (32, 16): (0.088, 0.060, 356),
        (32, 32): (0.079, 0.055, 310),
        (32, 64): (0.010, 0.048, 305),
    },
    "tucker": {
        (8, 64): (0.061, 0.079, 345),
        (16, 64): (0.053, 0.076, 328),
        (32, 16): (0.066, 0.077, 301),
        (32, 32): (0.062, 0.070, 333),
        (32, 64): (0.019, 0.057, 312),
    },
}
# Table 2: Klein-Gordon, Helmholtz, iterations per second, all with 32^3 points.
_BASELINES = {
    "vanilla": (0.092, 0.998, 20),
    "g_pinn": (0.073, 0.794, 16),
    "sa_pinn": (0.095, 0.920, 15),
    "causal_pinn": (0.041, 0.406, 3),
}
# Table 3: rank -> CP, tensor train, Tucker. The paper prints 24 x 3 points in 5-d.
_TABLE_3 = {
    ("poisson", 24): {
        6: (0.097, 0.048, 0.040),
        8: (0.077, 0.047, 0.038),
        12: (0.033, 0.037, 0.026),
    },
    ("flow_mixing", 128): {64: (0.013, 0.018, 0.028)},
}


def _published() -> dict[Case, Published]:
    found = {}
    steps = SCALES["paper"].iterations
    for i, name in enumerate(BASELINE_PROBLEMS):
        for model, figures in _BASELINES.items():
            case = Case(name, model, None, 32)
            found[case] = Published(figures[i], 32, steps[name], int(figures[2]))
        for model, table in _TABLE_2.items():
            for (rank, points), figures in table.items():
                case = Case(name, model, rank, points)
                speed = int(figures[2])
                found[case] = Published(figures[i], points, steps[name], speed)
    for (name, points), ranks in _TABLE_3.items():
        for i, model in enumerate(MODELS):
            for rank, errors in ranks.items():
                case = Case(name, model, rank, points)
                found[case] = Published(errors[i], points, steps[name], None)
    return found


PUBLISHED = _published()


def cases(scale: str, weights: str = "paper") -> list[Case]:
    """Returns the rows of a scale, in the order of the tables.

    The pointwise networks and the rows of a fault are there with the paper's weights.
    """
    chosen = SCALES[scale]
    found = []
    for case in PUBLISHED:
        points = chosen.points.get(case.problem, case.points)
        if case.baseline:
            points = chosen.baselines[0]
        found.append(case._replace(points=points, weights=weights))
    if weights != "paper":
        return [case for case in found if not case.baseline]
    faulty = []
    for case in found:
        if case.problem == "poisson" and case.rank == 12:
            faulty.append(case._replace(fault="one_face"))
        if case.problem == "helmholtz" and case.model == "vanilla":
            faulty.append(case._replace(fault="own_source"))
    return found + faulty


def iterations(scale: str, case: Case) -> int:
    """Returns the iterations of a row at this scale."""
    if case.baseline:
        return SCALES[scale].baselines[1]
    return SCALES[scale].iterations[case.problem]


def published(case: Case) -> Row:
    """Returns the paper's figures for this model and rank, with their points."""
    found = PUBLISHED.get(case._replace(weights="paper", fault=None))
    if found is None:
        # Fewer points than in the paper: its only row of this model and rank.
        found = next(p for c, p in PUBLISHED.items() if c[:3] == case[:3])
    return found._asdict()

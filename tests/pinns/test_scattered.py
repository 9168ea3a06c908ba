"""Scattered points of pointwise networks, masked boxes, and what both refuse."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pinns
from jaxcore import sampling
from jaxcore.training import CheckpointError
from pinns import CP, MLP, Boundary, Box, Dirichlet, MaskedBox, Problem
from pinns._norms import random_points
from pinns.cli import main
from pinns.losses import GridLoss
from pinns.masked import drawn
from pinns.plotting import plot
from pinns.scattered import SCATTERED, PointLoss, PreparedPoints, adapted


KEY = jax.random.key(0)
NET = MLP(hidden=(5,))
SQUARE = Box(x=(-1.0, 1.0), y=(-1.0, 1.0))
HOLE = MaskedBox(lambda x, y: x**2 + y**2 - 0.25, x=(-1, 1), y=(-1, 1))


def exact(x, y):
    return 1.5 * x**2 - y**2


def circle(s):
    return 0.5 * jnp.cos(2 * jnp.pi * s), 0.5 * jnp.sin(2 * jnp.pi * s)


def laplace(box, conditions=None):
    default = [Dirichlet(exact), pinns.Periodic("x", order=0)]
    chosen = default if conditions is None else conditions
    return Problem(box, lambda u: u.laplacian() - 1.0, chosen, exact=exact)


HOLED = laplace(HOLE, [Dirichlet(exact), Boundary(circle, exact, count=20)])


def run(problem, **options):
    options = {"points": 40, "steps": 6, "key": KEY, "progress": False, **options}
    return pinns.solve(problem, options.pop("model", NET), **options)


def test_loss_on_the_points_of_a_grid_is_that_of_the_grid(x64):
    problem = laplace(SQUARE)
    params = NET.init(KEY, SQUARE, dtype="float64")
    axes = SQUARE.points(6, "uniform", key=KEY, dtype="float64")
    grid = GridLoss(problem, NET, (6, 6), "float64")
    total, groups = grid(params, grid.prepare(axes))
    loss = PointLoss(problem, NET, 36, "float64")
    x, y = (p.coordinates for p in axes)
    mesh = jnp.stack(jnp.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2)
    line = jnp.stack([x, y], axis=1)
    faces = tuple(None if not plan.count else line for plan in loss.plans)
    found = loss(params, PreparedPoints(mesh, faces))
    np.testing.assert_allclose(found[0], total, rtol=1e-12)
    np.testing.assert_allclose(found[1], groups, rtol=1e-12)


@pytest.mark.parametrize("kind", SCATTERED)
def test_points_lie_inside(kind):
    loss = PointLoss(HOLED, NET, 50)
    points = loss.draw(KEY, kind)
    assert points.interior.shape == (50, 2)
    assert bool(HOLE.inside(list(points.interior.T)).all())
    assert np.abs(points.interior).max() <= 1
    assert len(np.unique(points.interior, axis=0)) == 50
    assert [f is None for f in points.faces] == [True, False, False]
    assert points.faces[1].shape == (math.ceil(math.sqrt(50)), 2)


def test_points_on_a_face_lie_inside():
    half = MaskedBox(lambda x, y: x > 0, x=(-1, 1), y=(0, 1))
    found = drawn(half, KEY, 30, "float32", pinned=(1, 0.0))
    assert (found[:, 0] > 0).all()
    assert (found[:, 1] == 0).all()
    assert half.share == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("kind", ["rad", "r3"])
def test_next_points_are_those_of_the_formulas(kind):
    loss = PointLoss(laplace(SQUARE), NET, 30)
    params = NET.init(KEY, SQUARE)
    points = loss.draw(KEY, kind).interior
    found = adapted(loss, kind, params, points, jax.random.key(5))
    first, second = jax.random.split(jax.random.key(5))
    if kind == "rad":
        candidates = drawn(SQUARE, first, 300, "float32")
        residual = loss.residual(params, candidates)
        expected = sampling.rad(second, candidates, residual, 30)
    else:
        stay = sampling.r3_kept(loss.residual(params, points))
        assert 0 < int(stay.sum()) < 30
        expected = np.where(stay[:, None], points, drawn(SQUARE, first, 30, "float32"))
    np.testing.assert_array_equal(found, expected)


def test_points_follow_a_peaked_residual():
    """With a source near one corner RAD puts more points there than uniform ones."""
    peak = Problem(SQUARE, lambda u, x, y: u - jnp.exp(-30 * ((x - 0.7) ** 2 + y**2)))
    params = jax.tree.map(jnp.zeros_like, NET.init(KEY, SQUARE))
    loss = PointLoss(peak, NET, 200)
    points = loss.draw(KEY, "rad").interior

    def near(points):
        return float(jnp.mean(jnp.hypot(points[:, 0] - 0.7, points[:, 1]) < 0.3))

    for kind in ("rad", "r3"):
        moved = points
        for i in range(4):
            moved = adapted(loss, kind, params, moved, jax.random.key(i))
        assert near(moved) > 2 * near(points)


@pytest.mark.parametrize(
    "kind", ["rad", "r3", "scattered", pytest.param("sobol", marks=pytest.mark.slow)]
)
def test_runs_go_on_exactly(kind, tmp_path):
    options = {"sampling": kind, "redraw_every": 2}
    whole = run(HOLED, **options)
    assert whole.settings["method"] == "adam"
    assert whole.settings["sampling"] == [kind]
    assert (whole.settings["points"], whole.settings["loss"]) == ([40], "points")
    half = run(HOLED, **options, steps=3)
    rest = pinns.resume(pinns.load(half.save(tmp_path), HOLED), 3)
    for a, b in zip(jax.tree.leaves((whole.params, whole.optimizer_state)),
                    jax.tree.leaves((rest.params, rest.optimizer_state)),
                    strict=True):  # fmt: skip
        np.testing.assert_array_equal(a, b)
    fixed = run(HOLED, sampling=kind, redraw_every=100)
    assert fixed.history.loss[1] == whole.history.loss[1]
    assert fixed.history.loss[3] != whole.history.loss[3]


def test_checkpoints_hold_the_points(tmp_path):
    options = {"sampling": "r3", "redraw_every": 2}
    whole = run(HOLED, **options)
    run(HOLED, **options, steps=3, checkpoint=tmp_path)
    rest = run(HOLED, **options, steps=6, checkpoint=tmp_path)
    np.testing.assert_array_equal(
        rest.optimizer_state.points, whole.optimizer_state.points
    )
    with pytest.raises(CheckpointError, match="sampling"):
        run(HOLED, sampling="rad", checkpoint=tmp_path)


def test_norms_and_pictures_are_of_the_domain():
    solution = run(HOLED, steps=1)
    grid = [np.linspace(-1, 1, 15)] * 2
    x, y = np.meshgrid(*grid, indexing="ij")
    inside = x**2 + y**2 > 0.25
    gap = (np.asarray(solution(*grid)) - exact(x, y))[inside]
    norm = np.linalg.norm(exact(x, y)[inside])
    assert solution.relative_l2(15) == pytest.approx(np.linalg.norm(gap) / norm, 1e-4)
    assert solution.linf(15) == pytest.approx(np.abs(gap).max(), rel=1e-4)
    unseen = random_points(HOLE, 100, 1)
    assert unseen.shape == (100, 2)
    assert (np.hypot(*unseen.T) > 0.5).all()
    image = plot(solution, points=15).axes[0].images[0].get_array()
    np.testing.assert_array_equal(~image.mask, inside.T)
    certificate = solution.certificate()
    assert certificate.boundary == {}
    assert "masked box" in certificate.reason


def test_network_learns_in_a_masked_box():
    edges = [Dirichlet(exact, weight=20.0), Boundary(circle, exact, weight=20.0)]
    problem = laplace(HOLE, edges)
    options = {"points": 128, "learning_rate": 1e-2, "sampling": "rad"}
    options |= {"model": MLP(hidden=(16, 16)), "redraw_every": 50}
    trained = run(problem, steps=400, **options)
    fresh = run(problem, steps=1, **options)
    assert trained.relative_l2(31) < 0.5 * fresh.relative_l2(31)
    assert trained.history.loss[-1] < 0.5 * trained.history.loss[0]


def test_boundaries_by_points_and_by_curves():
    points = np.array([[0.5, 0.0], [0.0, 0.5]])
    by_points = Boundary(points, [1.0, 2.0])
    np.testing.assert_array_equal(by_points.values, [1, 2])
    by_curve = Boundary(circle, lambda y, x: x + 2 * y, count=4, weight=2.0)
    Problem(HOLE, lambda u: u, [by_curve])
    np.testing.assert_allclose(by_curve.values, [0.5, 1, -0.5, -1], atol=1e-6)
    assert Boundary(circle, 3.0, count=2).values.tolist() == [3, 3]
    assert by_curve.group(HOLE) == "boundary"
    again = Boundary(circle, lambda x: x, count=4)
    both = Problem(HOLE, lambda u: u, [by_curve, again])
    assert both.groups == ("residual", "boundary", "boundary 2")
    np.testing.assert_allclose(both.data[1][1].values, [0.5, 0, -0.5, 0], atol=1e-6)


def test_mapped_boxes_weigh_scattered_points_by_volume(x64):
    """The mean of r^2 over a disk of radius 2 is 2, by points uniform in r."""
    disk = pinns.Disk(2.0)
    problem = Problem(disk, lambda u, r: 0.0 * u + r)
    loss = PointLoss(problem, NET, 4000, "float64")
    params = NET.init(KEY, disk, dtype="float64")
    prepared = loss.draw(KEY, "sobol")
    assert float(loss.mean_squares(params, prepared)[0]) == pytest.approx(2.0, rel=5e-3)


def test_command_line(tmp_path, capsys):
    small = ["--model", "mlp", "--hidden", "4", "--points", "16", "--steps", "2"]
    options = [*small, "--sampling", "r3", "--out", str(tmp_path), "--no-progress"]
    assert main(["solve", "poisson", "-p", "dimension=1", *options]) == 0
    assert main(["resume", str(tmp_path), "--steps", "1"]) == 0
    solution = pinns.load(tmp_path)
    assert (solution.step, solution.settings["sampling"]) == (3, ["r3"])
    capsys.readouterr()
    assert main(["solve", "poisson", "--sampling", "rad", "--rank", "2"]) == 2
    assert "is for pointwise networks" in capsys.readouterr().err


def mask(function, **intervals):
    return lambda: MaskedBox(function, **(intervals or {"x": (-1, 1), "y": (-1, 1)}))


SPLIT = MaskedBox(lambda x, y: x + y > -1, x=(-1, 1), y=(-1, 1))
CORNER = MaskedBox(lambda x, y: x > 0, x=(-1, 1), y=(-1, 1))
BAD = [
    (mask(lambda x, z: x), r"`mask` must take axes among \(x, y\), got \(x, z\)"),
    (mask(lambda x: True), r"`mask` must return an array of the shape .*got \(\)"),
    (mask(lambda x: x > 5), "holds on 0 % of the box, expected at least 0.1 %"),
    (lambda: run(HOLED, model=CP(rank=2)), r"needs tensor grids, .*Supported domains"),
    (lambda: run(HOLED, model=None), "model=None needs tensor grids"),
    (lambda: run(HOLED, method="lbfgs"), "method='lbfgs' needs tensor grids"),
    (lambda: run(HOLED, sampling="uniform"), "must be one of scattered, .* 'uniform'"),
    (lambda: run(laplace(SPLIT, [Dirichlet(exact, "x")])), "only in part"),
    (lambda: run(laplace(CORNER, [Dirichlet(exact, "x")])), "no point of the face x"),
    (lambda: run(laplace(SQUARE), model=CP(rank=2), sampling="rad"),
     "sampling='rad' is for pointwise networks, pinns.MLP; separable models take"),
    (lambda: run(laplace(SQUARE), points=(4, 4), sampling="sobol"), "be one number"),
    (lambda: run(laplace(SQUARE), points=0, sampling="sobol"), "positive integer"),
    (lambda: run(laplace(SQUARE), sampling="r3", weighting="ntk"),
     "`weighting` must be None with sampling='r3'"),
    (lambda: run(laplace(SQUARE), sampling="r3", devices=2), "`devices` must be 1"),
    (lambda: run(laplace(SQUARE), sampling="r3", loss="grid"), "`loss` must be 'auto'"),
    (lambda: run(laplace(SQUARE), sampling="rad", method="lbfgs"),
     "`sampling` belongs to method='adam', got 'rad' with method='lbfgs'"),
    (lambda: Boundary(circle, count=0), "Boundary: `count` must be a positive integer"),
    (lambda: Boundary(np.ones((2, 2)), [1.0]), r"pinns.Boundary: expected `points`"),
    (lambda: laplace(HOLE, [Boundary(np.ones((2, 2)) * 3)]), "Boundary: point 0 lies"),
    (lambda: laplace(HOLE, [Boundary(circle, lambda x: 1 / (0 * x))]), "be finite"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "message"), BAD)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_wrong_types():
    with pytest.raises(TypeError, match="`mask` must be a function of coordinates"):
        MaskedBox(1, x=(0, 1))
    with pytest.raises(TypeError, match="a curve must return one array per axis"):
        Boundary(lambda s: s)

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pinns import Box


@pytest.fixture
def box():
    return Box(t=(0.0, 10.0), x=(-1.0, 1.0), y=(-2.0, 3.0))


def test_axes_keep_their_order(box):
    assert box.names == ("t", "x", "y")
    assert box.dimension == 3
    assert box.interval("y") == (-2.0, 3.0)


def test_cube_names_its_axes():
    cube = Box.cube(3, (-1, 1))
    assert cube == Box(x1=(-1, 1), x2=(-1, 1), x3=(-1, 1))
    assert hash(cube) == hash(Box.cube(3, (-1, 1)))
    assert cube != Box.cube(3)


def test_points_differ_per_axis(box):
    points = box.points({"t": 5, "x": 3, "y": 4}, key=jax.random.key(0))
    assert [p.coordinates.shape for p in points] == [(5,), (3,), (4,)]
    for p, (a, b) in zip(points, box.intervals, strict=True):
        assert (p.coordinates >= a).all()
        assert (p.coordinates <= b).all()


@pytest.mark.parametrize("sampling", ["chebyshev", "gauss_legendre", "equispaced"])
def test_weights_are_a_mean_and_integrate_polynomials(box, sampling, x64):
    for p, (a, b) in zip(
        box.points(9, sampling, dtype="float64"), box.intervals, strict=True
    ):
        x, w = np.asarray(p.coordinates), np.asarray(p.weights)
        assert abs(w.sum() - 1.0) < 1e-13
        degree = 1 if sampling == "equispaced" else 3
        exact = (b ** (degree + 1) - a ** (degree + 1)) / (degree + 1) / (b - a)
        assert abs(w @ x**degree - exact) < 1e-11 * max(1.0, abs(exact))


def test_stratified_has_one_point_per_cell(box):
    (t, *_) = box.points(16, "stratified", key=jax.random.key(3))
    cells = np.floor(np.asarray(t.coordinates) / 10.0 * 16).astype(int)
    assert sorted(cells) == list(range(16))


def test_samplings_mix_by_axis(box):
    kinds = {"t": "stratified", "x": "gauss_legendre", "y": "uniform"}
    t, x, y = box.points(4, kinds, key=jax.random.key(0))
    assert t.weights is None
    assert y.weights is None
    assert x.weights is not None


def test_grid_includes_both_ends(box):
    grid = box.grid(3)
    assert jnp.allclose(grid[2], jnp.array([-2.0, 0.5, 3.0]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Box(), "expected at least one axis"),
        (lambda: Box(x=(1.0, 1.0)), r"axis 'x' needs finite lower < upper, got \(1, 1"),
        (lambda: Box(x=(2.0, 1.0)), r"needs finite lower < upper, got \(2, 1\)"),
        (lambda: Box(x=(0.0, np.inf)), "needs finite lower < upper"),
        (lambda: Box(x=3.0), r"needs an interval \(lower, upper\), got 3.0"),
        (lambda: Box(**{"a b": (0, 1)}), "must be an identifier, got 'a b'"),
        (lambda: Box.cube(0), "`dimension` must be a positive integer, got 0"),
        (lambda: Box(x=(0, 1)).axis("z"), "unknown axis 'z', the axes are x"),
        (
            lambda: Box(x=(0, 1)).points(1),
            "at least 2 on every axis, got 1 on axis 'x'",
        ),
        (lambda: Box(x=(0, 1)).points(-4), "must be a positive integer, got -4"),
        (lambda: Box(x=(0, 1)).points(2.5), "must be a positive integer, got 2.5"),
        (lambda: Box(x=(0, 1)).points((2, 3)), "one entry for each of the 1 axes"),
        (lambda: Box(x=(0, 1)).points({"y": 3}), "unknown axis 'y'"),
        (
            lambda: Box(x=(0, 1), y=(0, 1)).points({"y": 3}),
            "names no value for axis 'x'",
        ),
        (lambda: Box(x=(0, 1)).points(4), "is random and needs `key`"),
        (
            lambda: Box(x=(0, 1)).points(4, "sobol"),
            "`sampling` must be one of uniform, stratified, .*, got 'sobol'",
        ),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()

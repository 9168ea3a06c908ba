"""Curvilinear boxes: harmonic functions, volumes, faces, and what is refused."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pinns
from pinns import Annulus, Ball, Box, Disk, MappedBox, SphericalShell
from pinns.evaluation import scattered_residual
from pinns.factored import FactoredLoss, relative_l2
from pinns.losses import GridLoss
from pinns.plotting import plot


RING = Annulus(r=(1.0, 2.0))
SHELL = SphericalShell(r=(1.0, 2.0))


def spiral(rho, theta):
    return jnp.exp(rho) * jnp.cos(theta), jnp.exp(rho) * jnp.sin(theta)


LOG_POLAR = MappedBox(Box(rho=(0.0, 1.0), theta=(0.0, 3.0)), spiral, ("x", "y"))


def scattered(box, count=7):
    """Columns of random points of a box, away from its ends."""
    lower, upper = np.asarray(box.intervals).T
    unit = np.random.default_rng(3).uniform(0.05, 0.95, (count, box.dimension))
    return [jnp.asarray(c) for c in (lower + (upper - lower) * unit).T]


def applied(box, exact, residual):
    """The residual with an exact function in the place of the unknown."""
    problem = pinns.Problem(box, residual, exact=exact)
    return np.asarray(problem.exact_residual(scattered(box))[0])


HARMONIC = [
    (RING, lambda r, theta: r**3 * jnp.cos(3 * theta)),
    (RING, lambda r, theta: r**-2 * jnp.sin(2 * theta)),
    (RING, lambda r: jnp.log(r)),
    (RING, lambda x, y: jnp.exp(x) * jnp.cos(y)),
    (Disk(2.0), lambda x, y: x**3 - 3 * x * y**2),
    (LOG_POLAR, lambda rho, theta: jnp.exp(-rho) * jnp.sin(theta)),
    (LOG_POLAR, lambda x, y: x * y),
    (SHELL, lambda r: 1 / r),
    # Spherical harmonics of degree 2, growing and decaying.
    (SHELL, lambda r, theta: r**2 * (3 * jnp.cos(theta) ** 2 - 1)),
    (SHELL, lambda r, theta, phi: r**-3 * jnp.sin(2 * theta) * jnp.cos(phi)),
    (SHELL, lambda r, theta, phi: r**-3 * jnp.sin(theta) ** 2 * jnp.sin(2 * phi)),
    (Ball(), lambda x, y, z: x * y * z),
    (Annulus(r=(1.0, 2.0), z=(0.0, 1.0)), lambda x, z: jnp.sin(x) * jnp.cosh(z)),
]


@pytest.mark.parametrize(("box", "exact"), HARMONIC)
def test_laplacian_of_harmonic_functions_is_zero(box, exact, x64):
    size = applied(box, exact, lambda u: u.d(box.names[0], 2) + 0.0)
    found = applied(box, exact, lambda u: u.laplacian())
    assert np.abs(size).max() > 0.01
    np.testing.assert_allclose(found, 0, atol=1e-12 * max(np.abs(size).max(), 1))


@pytest.mark.parametrize("box", [RING, LOG_POLAR, SHELL, Ball(2.0)], ids=repr)
def test_laplacian_and_gradient_of_polynomials(box, x64):
    """Laplacian of |x|^4 is 4 (d + 2) |x|^2, the gradient of x^2 y is (2 x y, x^2)."""
    d = box.dimension

    def quartic(*c):
        return sum(x**2 for x in box.physical(c)) ** 2

    def residual(u, *c):
        square = sum(x**2 for x in box.physical(c))
        return u.laplacian() - 4 * (d + 2) * square

    np.testing.assert_allclose(applied(box, quartic, residual), 0, atol=2e-11)

    def product(x, y):
        return x**2 * y

    for j, slope in enumerate([lambda x, y: 2 * x * y, lambda x, y: x**2]):
        gap = applied(
            box,
            product,
            lambda u, x, y, j=j, s=slope: u.gradient("cartesian")[j] - s(x, y),
        )
        np.testing.assert_allclose(gap, 0, atol=1e-12)
    # Both frames are orthonormal: the slope has one length.
    length = applied(
        box,
        product,
        lambda u: (
            sum(g**2 for g in u.gradient()) - sum(g**2 for g in u.gradient("cartesian"))
        ),
    )
    np.testing.assert_allclose(length, 0, atol=1e-11)


def test_time_is_no_space(x64):
    """exp(-k^2 t) J is replaced by t r^2: u_t - laplacian u = r^2 - 4 t."""
    box = Annulus(t=(0.0, 1.0), r=(1.0, 2.0))
    assert box.names == ("t", "r", "theta")
    gap = applied(
        box,
        lambda t, r: t * r**2,
        lambda u, t, r: u.d("t") - u.laplacian() - r**2 + 4 * t,
    )
    np.testing.assert_allclose(gap, 0, atol=1e-13)


def test_plain_boxes_have_the_same_words(x64):
    box = Box(t=(0.0, 1.0), x=(0.0, 1.0), y=(0.0, 1.0))

    def exact(t, x, y):
        return t**2 * x**2 * y

    gap = applied(box, exact, lambda u, t, y: u.laplacian() - 2 * t**2 * y)
    np.testing.assert_allclose(gap, 0, atol=1e-14)
    gap = applied(box, exact, lambda u, t, x: u.gradient()[1] - t**2 * x**2)
    np.testing.assert_allclose(gap, 0, atol=1e-14)


@pytest.mark.parametrize(
    ("box", "volume"),
    [
        (RING, 3 * math.pi),
        (Annulus(r=(1.0, 2.0), theta=(0.0, 1.0)), 1.5),
        (Disk(3.0), 9 * math.pi),
        (SHELL, 28 / 3 * math.pi),
        (Ball(2.0), 32 / 3 * math.pi),
        (LOG_POLAR, 1.5 * (math.e**2 - 1)),
    ],
    ids=repr,
)
def test_volumes(box, volume, x64):
    plain = Box(**dict(zip(box.names, box.intervals, strict=True)))
    rule = plain.points(20, "gauss_legendre", dtype="float64")
    factors = box.volume([p.coordinates for p in rule])
    found = math.prod(
        (b - a) * float(p.weights @ f)
        for p, f, (a, b) in zip(rule, factors, box.intervals, strict=True)
    )
    assert found == pytest.approx(volume, rel=1e-12)
    weighed = box.points(20, "gauss_legendre", dtype="float64")
    means = [float(jnp.sum(p.weights)) for p in weighed]
    np.testing.assert_allclose(means, 1, rtol=1e-13)


def test_random_points_weigh_with_the_volume(key):
    r, theta = RING.points(50, "uniform", key=key)
    np.testing.assert_allclose(r.weights, r.coordinates / r.coordinates.sum(), 1e-5)
    assert theta.weights is None


@pytest.mark.parametrize("box", [RING, Disk(), SHELL], ids=repr)
def test_there_and_back(box, x64):
    points = jnp.stack(scattered(box), axis=1)
    there = box.to_physical(points)
    np.testing.assert_allclose(box.from_physical(there), points, atol=1e-12)
    radius = np.linalg.norm(there, axis=1)
    np.testing.assert_allclose(radius, points[:, 0], rtol=1e-12)


def test_physical_points_of_a_sector_that_crosses_the_cut(x64):
    box = Annulus(t=(0.0, 1.0), r=(1.0, 2.0), theta=(-0.5, 0.5))
    found = box.from_physical(jnp.array([[0.3, 1.5, -0.3], [0.3, 1.5, 0.3]]))
    np.testing.assert_allclose(found[:, 0], 0.3)
    np.testing.assert_allclose(found[0, 2], -found[1, 2])


def test_faces_and_the_seam():
    dirichlet = pinns.Dirichlet(0.0)
    assert dirichlet.faces(RING) == [(0, "ends")]
    assert dirichlet.faces(Disk()) == [(0, "upper")]
    assert dirichlet.faces(Ball()) == [(0, "upper")]
    cap = SphericalShell(r=(1.0, 2.0), theta=(0.0, 1.0))
    assert dirichlet.faces(cap) == [(0, "ends"), (1, "upper")]
    sector = Annulus(r=(1.0, 2.0), theta=(0.0, 1.0))
    assert dirichlet.faces(sector) == [(0, "ends"), (1, "ends")]
    assert sector.periodic == ()
    problem = pinns.Problem(RING, lambda u: u.laplacian(), [dirichlet])
    assert problem.groups == ("residual", "dirichlet(r)", "periodic(theta)")
    own = pinns.Periodic("theta", order=2)
    stated = pinns.Problem(RING, lambda u: u.laplacian(), [dirichlet, own])
    assert stated.conditions == (dirichlet, own)
    pair = pinns.Problem(RING, lambda u, v: (u, v), unknowns=("u", "v"))
    assert [c.unknown for c in pair.conditions] == ["u", "v"]


def test_normal_derivatives_are_per_unit_length(x64):
    """u = y = r sin(theta) on the side theta = 0 of a sector: du/dn = -1."""
    sector = Annulus(r=(1.0, 2.0), theta=(0.0, 1.0))
    side = pinns.Neumann(-1.0, axes="theta", side="lower")
    term = pinns.Problem(sector, lambda u: u.laplacian(), [side]).terms[1]
    r, theta = jnp.array([[1.1], [1.7]]), jnp.zeros((1, 1))

    def source(unknown, orders, selectors):
        return r * jnp.cos(theta) if orders == (0, 1) else r * jnp.sin(theta)

    np.testing.assert_allclose(term.function(source, [r, theta])[0], 0, atol=1e-15)


def dirichlet_problem(box, exact):
    return pinns.Problem(
        box, lambda u: u.laplacian(), [pinns.Dirichlet(exact)], exact=exact
    )


@pytest.mark.slow
def test_direct_solves_converge():
    problem = dirichlet_problem(RING, lambda x, y: jnp.exp(x) * jnp.cos(y))
    errors = []
    for size in ((6, 16), (12, 40)):
        solution = pinns.solve(problem, method="direct", size=size)
        errors.append(solution.relative_l2(21))
    assert errors[1] < 1e-6 < 1e-3 < errors[0]
    # Physical points, and the norm with the volume element, by hand.
    points = np.array([[1.2, 0.5], [-1.0, -1.1]])
    expected = np.exp(points[:, 0]) * np.cos(points[:, 1])
    np.testing.assert_allclose(solution.at(points, "physical"), expected, rtol=1e-4)
    grid = [np.linspace(*i, 21) for i in RING.intervals]
    r, theta = np.meshgrid(*grid, indexing="ij")
    exact = np.exp(r * np.cos(theta)) * np.cos(r * np.sin(theta))
    gap = np.asarray(solution(*grid)) - exact
    by_hand = math.sqrt((r * gap**2).sum() / (r * exact**2).sum())
    assert solution.relative_l2(21) == pytest.approx(by_hand, rel=1e-4)
    reason = solution.certificate().reason
    assert "couples 2 axes" in reason
    _, rings = plot(solution, points=9).axes[:2]
    assert (rings.get_xlabel(), rings.get_ylabel()) == ("x", "y")


def test_disk_and_factored_error(x64):
    problem = dirichlet_problem(Disk(), lambda x, y: x**2 - y**2 + x)
    solution = pinns.solve(problem, method="direct", size=(6, 26))
    assert solution.relative_l2(21) < 1e-7
    model = pinns.CP(rank=2, hidden=(3,))
    params = model.init(jax.random.key(0), problem.box)
    # The norm over the disk of a function that is far from the exact one.
    found = relative_l2(problem, model, params, 24)
    rule = problem.box.points(24, "gauss_legendre", dtype="float64")
    r, theta = (p.coordinates for p in rule)
    weight = rule[0].weights[:, None] * rule[1].weights[None]
    jets = model.factors(params, problem.box, [r, theta])[0]
    values = jets[0][0] @ jets[1][0].T
    x, y = RING.to(r[:, None], theta[None])
    exact = x**2 - y**2 + x
    expected = jnp.sqrt(
        (weight * (values - exact) ** 2).sum() / (weight * exact**2).sum()
    )
    assert found == pytest.approx(float(expected), rel=1e-10)


@pytest.mark.slow
def test_factored_loss_is_that_of_the_grid_and_of_the_volume(x64):
    problem = dirichlet_problem(RING, lambda r, theta: r * jnp.cos(theta))
    model = pinns.CP(rank=2, hidden=(4,))
    params = model.init(jax.random.key(0), RING, dtype="float64")
    points = RING.points(9, "gauss_legendre", dtype="float64")
    factored = FactoredLoss(problem, model, points, "float64", choose="factored")
    total, groups = factored(params, factored.prepare(points))
    grid = GridLoss(problem, model, (9, 9), "float64")
    expected, of_grid = grid(params, grid.prepare(points))
    assert float(total) == pytest.approx(float(expected), rel=1e-10)
    np.testing.assert_allclose(groups, of_grid, rtol=1e-9)
    # The mean square residual over the area, by a formula of the plane.
    r, theta = jnp.meshgrid(*(p.coordinates for p in points), indexing="ij")
    at = jnp.stack([r.ravel(), theta.ravel()], axis=1)
    residual = scattered_residual(problem, model, params, at)[0].reshape(r.shape)
    weight = points[0].weights[:, None] * points[1].weights[None]
    assert float((weight * residual**2).sum()) == pytest.approx(float(groups[0]), 1e-9)


def test_boxes_of_a_kind_are_equal():
    assert Annulus(r=(1, 2)) == RING
    assert hash(Annulus(r=(1, 2))) == hash(RING)
    assert Box(r=(1, 2), theta=(0, 2 * math.pi)) != RING
    half = RING.with_interval("r", (1.0, 1.5))
    assert (half.interval("r"), half.periodic) == ((1.0, 1.5), ("theta",))
    assert RING.interval("r") == (1.0, 2.0)


def skew(a, b):
    return a + b, b


def elliptic(mu, nu):
    return jnp.cosh(mu) * jnp.cos(nu), jnp.sinh(mu) * jnp.sin(nu)


UNIT = Box(a=(0.0, 1.0), b=(0.0, 1.0))
ELLIPTIC = Box(mu=(0.5, 1.0), nu=(0.0, 1.0))
BAD = [
    (lambda: Annulus(theta=(0, 1)), r"expected the radii r=\(inner, outer\), got axes"),
    (lambda: Annulus(r=(0, 1)), r"`r` must be positive, got \(0, 1\).*pinns.Disk"),
    (lambda: SphericalShell(r=(-1, 1)), r"`r` must be positive.*pinns.Ball"),
    (lambda: Annulus(r=(1, 2), theta=(0, 7)), "`theta` must span at most 6.28319"),
    (lambda: Annulus(theta=(0, 1), r=(1, 2)), "must come in the order r, theta"),
    (lambda: Disk(-1.0), "pinns.Disk: `radius` must be a positive number, got -1"),
    (lambda: Disk(r=(0, 1)), r"r goes from 0 to `radius`, got r=\(0, 1\)"),
    (lambda: Ball(theta=(-1, 1)), r"`theta` must lie in \[0, pi\], got \(-1, 1\)"),
    (lambda: MappedBox(UNIT, skew, ("x", "y")), "'a' and 'b' are not orthogonal.*"
     "supported are pinns.Box, pinns.Annulus"),
    (lambda: MappedBox(ELLIPTIC, elliptic, ("x", "y")), "scale factor of 'mu' is no "
     "product of functions of one coordinate.*supported are"),
    (lambda: MappedBox(UNIT, lambda a, b: (a**2, b * 0), ("x", "y")), "one-to-one"),
    (lambda: MappedBox(UNIT, lambda a, c: (a, c), ("x", "y")), r"among \(a, b\), got"),
    (lambda: MappedBox(UNIT, lambda b, a: (a, b), ("x", "y")), "in the order of the"),
    (lambda: MappedBox(UNIT, lambda a, b: (a, b), ("x",)), "must be 2 different names"),
    (lambda: MappedBox(UNIT, lambda a, b: (a, b), ("x", "a")), r"no axes \(a, b\)"),
    (lambda: MappedBox(UNIT, lambda a, b: a, ("x", "y")), "return a tuple of 2 arrays"),
    (lambda: pinns.Dirichlet(0.0, axes="theta").faces(RING), "'theta' has no face in"),
    (lambda: pinns.Dirichlet(0.0, "r", "lower").faces(Disk()), "no lower face in Disk"),
    (lambda: LOG_POLAR.from_physical(jnp.ones((1, 2))), "made without `back`"),
    (lambda: RING.from_physical(jnp.zeros((1, 2))), "point 0 lies outside Annulus"),
    (lambda: pinns.Problem(RING, lambda u: u.d("x")), r"'x' is no axis of .*gradient"),
    (lambda: pinns.Problem(RING, lambda u: u.gradient("polar")[0]), "`frame` must be"),
    (lambda: pinns.Problem(RING, lambda u, s: u), r"among \(r, theta, x, y\), got"),
    (lambda: pinns.Problem(RING, lambda u: u.laplacian().laplacian()),
     "pinns.Field.laplacian: this field has values only"),
    (lambda: pinns.Eigenproblem(RING, lambda u: u.laplacian()),
     "over a plain pinns.Box"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "message"), BAD)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_wrong_types():
    with pytest.raises(TypeError, match=r"`box` must be a pinns.Box, got 1"):
        MappedBox(1, skew, ("x", "y"))
    with pytest.raises(TypeError, match=r"`to` must be a function of axes"):
        MappedBox(UNIT, 1, ("x", "y"))


def test_other_names_of_coordinates_are_refused():
    problem = dirichlet_problem(RING, lambda x, y: x)
    solution = pinns.solve(problem, method="direct", size=(6, 20))
    with pytest.raises(ValueError, match="must be 'box' or 'physical', got 'polar'"):
        solution.at(np.ones((1, 2)), "polar")

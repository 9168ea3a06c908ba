import numpy as np
import pytest

from benchmarks import classical


KEYS = {"relative_l2", "linf", "seconds", "unknowns", "method"}


@pytest.fixture(autouse=True)
def _small_test_grid(monkeypatch):
    monkeypatch.setattr(classical, "TEST_POINTS_5D", 14)


def check(row, bound, unknowns):
    assert set(row) == KEYS
    assert row["relative_l2"] < bound
    assert row["seconds"] > 0
    assert row["unknowns"] == unknowns
    return row


def test_helmholtz():
    check(classical.helmholtz3d(36), 1e-12, 34**3)


def test_poisson():
    check(classical.poisson5d(10), 1e-10, 8**5)


def test_klein_gordon():
    row = check(classical.klein_gordon(5, 16, 10), 1e-12, 10 * 16 * 3**2)
    assert row["linf"] < 1e-12


def test_flow_mixing():
    row = check(classical.flow_mixing(64, 2), 1e-3, 62**2)
    assert 1e-3 < row["linf"] < 3e-2


@pytest.mark.parametrize(
    ("function", "coarse", "fine", "gain"),
    [
        (classical.helmholtz3d, (20,), (28,), 1e2),
        (classical.poisson5d, (6,), (9,), 1e3),
        (classical.klein_gordon, (5, 8, 10), (5, 12, 10), 1e3),
        (classical.flow_mixing, (32, 1), (64, 2), 5),
    ],
)
def test_finer_is_better(function, coarse, fine, gain):
    assert function(*coarse)["relative_l2"] > gain * function(*fine)["relative_l2"]


def test_errors_are_measured_between_the_points():
    """An error at one collocation point alone reaches the test grid."""
    n, x = 12, np.linspace(-1, 1, 100)
    matrix = classical._interpolation(n, -1, 1, x)
    nodes = classical._points(n, -1, 1)
    np.testing.assert_allclose(matrix @ nodes**11, x**11, atol=1e-14)
    np.testing.assert_array_equal(classical._interpolation(n, -1, 1, nodes), np.eye(n))
    one = np.zeros(n)
    one[4] = 1e-3
    row = classical._row([(matrix @ one, x)], 0.1, unknowns=n, method="none")
    assert row["linf"] > 5e-4
    # The "exact" values are x, and the computed ones nearly zero.
    assert row["relative_l2"] == pytest.approx(1, rel=1e-2)


def test_matrices_are_exact_for_polynomials():
    n, (a, b) = 9, (0.5, 3.0)
    x = classical._points(n, a, b)
    assert (x[0], x[-1]) == (a, b)
    for k in range(n):
        first = classical._derivative(n, a, b) @ x**k
        np.testing.assert_allclose(first, k * x ** max(k - 1, 0), rtol=1e-9, atol=1e-9)
        integral = classical._integration(n, b - a) @ x**k
        exact = (x ** (k + 1) - a ** (k + 1)) / (k + 1)
        np.testing.assert_allclose(integral, exact, rtol=1e-11, atol=1e-11)


def test_exact_solutions_satisfy_their_equations():
    """Central differences of the closed forms, at points away from the origin."""
    rng, h = np.random.default_rng(0), 1e-4
    t, x, y = rng.uniform(0.3, 1.0, (3, 50))

    def wave(t, x, y):
        return (x + y) * np.cos(2 * t) + x * y * np.sin(2 * t)

    axis = np.array([0.4, 0.7])
    grid = classical._klein_gordon_exact(axis, axis, axis)
    np.testing.assert_allclose(grid, wave(*np.ix_(axis, axis, axis)))
    tt = (wave(t + h, x, y) - 2 * wave(t, x, y) + wave(t - h, x, y)) / h**2
    np.testing.assert_allclose(tt, -4 * wave(t, x, y), atol=1e-6)

    flow = classical._flow_value
    omega = classical._flow_omega(x, y)
    u_t = (flow(t + h, x, y) - flow(t - h, x, y)) / (2 * h)
    u_x = (flow(t, x + h, y) - flow(t, x - h, y)) / (2 * h)
    u_y = (flow(t, x, y + h) - flow(t, x, y - h)) / (2 * h)
    np.testing.assert_allclose(u_t - omega * y * u_x + omega * x * u_y, 0, atol=1e-6)


def test_angular_speed_at_the_origin_is_its_limit():
    near = classical._flow_omega(np.array([0.0, 1e-5]), np.zeros(2))
    np.testing.assert_allclose(near, 1 / classical.FLOW_MAX_SPEED, rtol=1e-9)


def test_too_long_windows_are_refused():
    message = r"klein_gordon: no fixed point in window 0 after 100 iterations, got wind"
    with pytest.raises(RuntimeError, match=message):
        classical.klein_gordon(5, 16, 1)


def test_main_writes_the_table(monkeypatch, capsys):
    results = pytest.importorskip("benchmarks._results")
    written = {}
    monkeypatch.setattr(
        results, "write", lambda name, rows, **rest: written.update({name: rows})
    )
    small = {
        "Helmholtz 3d": lambda: classical.helmholtz3d(20),
        "flow mixing (2+1)d": lambda: classical.flow_mixing(16, 1),
    }
    monkeypatch.setattr(classical, "PROBLEMS", small)
    classical.main()
    rows = written["classical"]
    assert [row["problem"] for row in rows] == list(small)
    assert all(row["seconds"]["n"] >= 7 for row in rows)
    assert "Helmholtz 3d" in capsys.readouterr().out

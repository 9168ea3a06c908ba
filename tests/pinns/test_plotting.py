"""What figures show is what the solution is; options are refused by name."""

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest
from PIL import Image

from pinns import CP, Box, Dirichlet, Initial, Problem, plotting, problems
from pinns.plotting._view import headline
from pinns.solution import History, Solution


MODEL = CP(rank=2, hidden=(4,))


def untrained(problem, model=MODEL, dtype="float32") -> Solution:
    """A solution with fresh parameters and an invented history."""
    history = History(problem.groups)
    steps = np.arange(1, 6)
    history.extend(steps, 1.0 / steps, np.ones((5, len(problem.groups))))
    with jax.enable_x64(dtype == "float64"):
        unknowns = len(problem.unknowns)
        key = jax.random.key(0)
        params = model.init(key, problem.box, unknowns=unknowns, dtype=dtype)
    return Solution(problem, model, params, dtype, history, "finished", 5, {}, {})


def heat(**options) -> Problem:
    """A problem in (t, x) whose exact solution is not known."""
    return Problem(
        Box(t=(0.0, 2.0), x=(-1.0, 1.0)),
        lambda u: u.d("t") - u.d("x", 2),
        [Initial("t", lambda x: jnp.sin(x)), Dirichlet(0.0, axes="x")],
        **options,
    )


def plate() -> Problem:
    """Two unknowns and two equations, exact solution not known."""
    return Problem(
        Box(x=(0.0, 1.0), y=(0.0, 1.0)),
        lambda u, v: (u.d("x", 2) - v, v.d("y", 2) - u),
        [Dirichlet(0.0, unknown="u"), Dirichlet(0.0, unknown="v")],
        unknowns=("u", "v"),
    )


def images(figure) -> list:
    return [panel.images[0] for panel in panels(figure) if panel.images]


def panels(figure) -> list:
    """All axes except color bars."""
    return [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]


def bars(figure) -> list:
    return [axes for axes in figure.axes if axes.get_label() == "<colorbar>"]


def titles(figure) -> list[str]:
    return [panel.get_title() for panel in panels(figure)]


def test_one_axis_is_a_line_with_its_error():
    solution = untrained(problems.poisson(dimension=1))
    top, bottom = plotting.plot(solution, points=33).axes
    ours, exact = top.lines
    x = np.linspace(0.0, 1.0, 33)
    np.testing.assert_allclose(ours.get_xdata(), x)
    np.testing.assert_allclose(ours.get_ydata(), solution(x), rtol=1e-6)
    np.testing.assert_allclose(exact.get_ydata(), np.sin(np.pi * x / 2), atol=1e-6)
    gap = np.abs(ours.get_ydata() - exact.get_ydata())
    np.testing.assert_allclose(bottom.lines[0].get_ydata(), gap)
    assert [text.get_text() for text in top.get_legend().get_texts()] == ["u", "exact"]
    assert (bottom.get_xlabel(), bottom.get_ylabel()) == ("x1", "|error|")


def test_two_axes_are_three_maps():
    solution = untrained(problems.wave1d())
    figure = plotting.plot(solution, points=(9, 17))
    assert titles(figure) == ["u", "exact", "|error|"]
    assert {(p.get_xlabel(), p.get_ylabel()) for p in panels(figure)} == {("t", "x")}
    assert [bar.get_ylabel() for bar in bars(figure)] == ["u", "|error|"]
    ours, exact, gap = images(figure)
    t, x = np.linspace(0.0, 2.0, 9), np.linspace(0.0, 1.0, 17)
    expected = np.asarray(solution(t, x)).T
    np.testing.assert_allclose(ours.get_array(), expected, atol=1e-6)
    wave = np.cos(np.pi * t) * np.sin(np.pi * x)[:, None]
    wave += 0.5 * np.sin(3 * np.pi * t) * np.sin(3 * np.pi * x)[:, None]
    np.testing.assert_allclose(exact.get_array(), wave, atol=1e-5)
    np.testing.assert_allclose(gap.get_array(), np.abs(expected - wave), atol=1e-5)
    assert ours.get_clim() == exact.get_clim()
    low, high = ours.get_clim()
    assert low == -high  # signed values: white is zero
    assert gap.get_clim()[0] == 0.0
    # Pixels are centered at the points, so the first one is cut in half by the frame.
    assert ours.get_extent()[:2] == pytest.approx((-0.125, 2.125))
    assert panels(figure)[0].get_xlim() == (0.0, 2.0)


def test_figure_is_headed_by_problem_model_and_steps():
    figure = plotting.plot(untrained(problems.wave1d()), points=5)
    assert figure.get_suptitle() == "wave1d, cp, 5 steps"
    direct = untrained(problems.wave1d())
    direct.settings["method"] = "direct"
    assert headline(direct) == "wave1d, cp, direct"


def test_time_is_cut_at_start_middle_and_end():
    figure = plotting.plot(untrained(problems.klein_gordon()), points=9)
    shown = titles(figure)
    assert shown[:3] == ["u, t = 0", "u, t = 5", "u, t = 10"]
    assert shown[3:6] == ["exact, t = 0", "exact, t = 5", "exact, t = 10"]
    assert shown[6:] == ["|error|, t = 0", "|error|, t = 5", "|error|, t = 10"]
    bottom_left = panels(figure)[6]
    assert (bottom_left.get_xlabel(), bottom_left.get_ylabel()) == ("x", "y")
    assert len(bars(figure)) == 2
    assert len({image.get_clim() for image in images(figure)[:6]}) == 1


def test_time_need_not_be_the_first_axis():
    problem = Problem(
        Box(x=(0.0, 1.0), t=(0.0, 2.0), y=(0.0, 3.0)),
        lambda u: u.d("t") - u.d("x", 2) - u.d("y", 2),
        exact=lambda x, t, y: x + 10.0 * t + 100.0 * y,
    )
    figure = plotting.plot(untrained(problem), points=5)
    assert titles(figure)[0] == "u, t = 0"
    exact = images(figure)[5].get_array()  # t = 2; rows are y, columns x
    np.testing.assert_allclose(exact[0], 20.0 + np.linspace(0.0, 1.0, 5), rtol=1e-6)
    np.testing.assert_allclose(exact[:, 0], 20 + 100 * np.linspace(0, 3, 5), rtol=1e-6)


def test_slices_without_time_are_where_the_solution_is_large():
    # The exact solution vanishes on the planes through the quarters of the box.
    figure = plotting.plot(untrained(problems.helmholtz3d()), points=33)
    cuts = [float(title.split("= ")[1]) for title in titles(figure)[:3]]
    assert cuts == sorted(cuts)
    assert all(title.startswith("u, x = ") for title in titles(figure)[:3])
    for image in images(figure)[3:6]:
        assert np.max(np.abs(image.get_array())) > 0.9


def test_slices_can_be_chosen():
    solution = untrained(problems.klein_gordon())
    figure = plotting.plot(solution, points=5, at={"y": (-1.0, 0.25)})
    assert titles(figure)[:2] == ["u, y = -1", "u, y = 0.25"]
    t, x = np.linspace(0.0, 10.0, 5), np.linspace(-1.0, 1.0, 5)
    expected = solution(t, x, 0.25).T
    np.testing.assert_allclose(images(figure)[1].get_array(), expected, atol=1e-6)


def test_many_axes_are_pairs_and_lines_through_the_center():
    solution = untrained(problems.poisson(dimension=5))
    figure = plotting.plot(solution, points=5, at={"x5": 0.25})
    assert titles(figure)[:3] == ["u, over x1, x2", "u, over x2, x3", "u, over x3, x4"]
    grid = np.linspace(0.0, 1.0, 5)
    expected = solution(0.5, grid, grid, 0.5, 0.25).T
    np.testing.assert_allclose(images(figure)[1].get_array(), expected, atol=1e-6)
    lines = [panel for panel in panels(figure) if panel.lines]
    assert [panel.get_xlabel() for panel in lines] == ["x1", "x2", "x3", "x4", "x5"]
    ours, exact = lines[4].lines
    x = ours.get_xdata()
    expected = solution(0.5, 0.5, 0.5, 0.5, x)
    np.testing.assert_allclose(ours.get_ydata(), expected, atol=1e-6)
    center = 4 * np.sin(np.pi / 4)
    np.testing.assert_allclose(exact.get_ydata(), center + np.sin(np.pi * x / 2), 1e-5)
    (held,) = [f.get_suptitle() for f in figure.subfigs if f.get_suptitle()]
    assert "x4 = 0.5, x5 = 0.25" in held


def test_very_many_axes_are_drawn_in_part():
    figure = plotting.plot(untrained(problems.poisson(dimension=9)), points=3)
    assert len([panel for panel in panels(figure) if panel.lines]) == 6
    assert figure.subfigs[1].get_suptitle().endswith(", ...")


def test_residual_stands_in_for_an_unknown_exact_solution():
    solution = untrained(heat())
    figure = plotting.plot(solution, points=70)  # more points than fit one chunk
    assert titles(figure) == ["u", "|residual|"]
    grid = np.meshgrid(np.linspace(0, 2, 70), np.linspace(-1, 1, 70), indexing="ij")
    points = jnp.asarray(np.stack([c.ravel() for c in grid], 1), jnp.float32)
    (expected,) = solution.residual(points)
    shown = images(figure)[1].get_array().T.ravel()
    np.testing.assert_allclose(shown, np.abs(expected), atol=1e-5)


def test_residual_of_a_line():
    problem = Problem(Box(x=(0.0, 1.0)), lambda u: u.d("x") - 1.0, [Dirichlet(0.0)])
    top, bottom = plotting.plot(untrained(problem), points=7).axes
    assert len(top.lines) == 1
    assert bottom.get_ylabel() == "|residual|"


def test_several_unknowns_and_equations():
    solution = untrained(plate())
    figure = plotting.plot(solution, unknown="v", points=5)
    assert titles(figure) == ["v", "|residual|"]
    x = np.linspace(0.0, 1.0, 5)
    expected = np.asarray(solution["v"](x, x)).T
    np.testing.assert_allclose(images(figure)[0].get_array(), expected, atol=1e-6)
    corner = solution.residual(jnp.zeros((1, 2)))
    expected = np.hypot(*(float(r[0]) for r in corner))
    assert images(figure)[1].get_array()[0, 0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("problem", [problems.wave1d(), heat()], ids=["exact", "none"])
def test_float64_is_shown_in_float64(problem):
    solution = untrained(problem, dtype="float64")
    t, x = (np.linspace(*i, 6) for i in problem.box.intervals)
    shown = images(plotting.plot(solution, points=6))[0].get_array()
    np.testing.assert_allclose(shown, np.asarray(solution(t, x)).T, rtol=1e-12)


def test_values_that_are_not_finite_are_left_out():
    solution = untrained(problems.wave1d())
    solution.params = jax.tree.map(lambda leaf: leaf * jnp.nan, solution.params)
    ours, exact, gap = images(plotting.plot(solution, points=5))
    assert np.ma.getmaskarray(ours.get_array()).all()
    assert np.ma.getmaskarray(gap.get_array()).all()
    assert not np.ma.getmaskarray(exact.get_array()).any()


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_suffix_is_the_format(suffix, tmp_path):
    solution = untrained(problems.poisson(dimension=1))
    path = tmp_path / "made" / f"u.{suffix}"
    solution.plot(path, points=5)
    starts = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}
    assert path.read_bytes().startswith(starts[suffix])


def test_figures_are_not_pyplots():
    plotting.plot(untrained(problems.poisson(dimension=1)), points=5)
    helpers = matplotlib._pylab_helpers
    assert helpers.Gcf.get_all_fig_managers() == []


def test_notebooks_show_the_figure():
    figure = plotting.plot(untrained(problems.poisson(dimension=1)), points=5)
    assert figure._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "u.xyz"}, r"plot: `path` must end in one of .*\.png.*, got 'u.xyz'"),
        ({"path": "noend"}, "plot: `path` must end in one of .*, got 'noend'"),
        ({"unknown": "w"}, r"plot: `unknown` must be one of \(u\), got 'w'"),
        ({"points": 1}, r"plot: `points` must be at least 2 .* got 1 on axis 't'"),
        ({"points": (5, 5)}, "plot: `points` must have one entry for each of the 3"),
        ({"at": {"z": 0.0}}, "plot: `at`: unknown axis 'z', the axes are t, x, y"),
        (
            {"at": {"t": (1.0, 11.0)}},
            r"`at\[t\]` must be numbers in \[0, 10\], got",
        ),
        ({"at": {"t": ()}}, r"`at\[t\]` must be numbers in \[0, 10\], got \(\)"),
        ({"at": {"t": 1.0, "x": 0.0}}, "`at` must cut one axis .*, got t, x"),
    ],
)
def test_plot_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        plotting.plot(untrained(problems.klein_gordon()), **options)


def test_plot_refuses_to_choose_an_unknown():
    with pytest.raises(ValueError, match=r"must be one of \(u, v\), got None"):
        plotting.plot(untrained(plate()))


def test_plot_refuses_to_cut_a_plane():
    with pytest.raises(ValueError, match=r"`at` cuts boxes of three or more axes, got"):
        plotting.plot(untrained(problems.wave1d()), at={"t": 1.0})


def test_plot_refuses_several_centers():
    solution = untrained(problems.poisson(dimension=4))
    with pytest.raises(ValueError, match=r"`at\[x1\]` must be one number in \[0, 1\]"):
        plotting.plot(solution, at={"x1": (0.2, 0.3)})


def test_animation_of_maps(tmp_path):
    solution = untrained(problems.klein_gordon())
    path = plotting.animate(solution, tmp_path / "new" / "u.gif", frames=4, fps=10,
                            points=9)  # fmt: skip
    with Image.open(path) as movie:
        assert (movie.n_frames, movie.info["duration"]) == (4, 100)
        frames = []
        for i in range(4):
            movie.seek(i)
            frames.append(np.asarray(movie.convert("RGB"), np.int64))
    width, height = frames[0].shape[1], frames[0].shape[0]
    # The color bar of the error, at the right edge, is the same in all frames; the
    # maps are not, nor is the time above them.
    bar = [frame[height // 5 :, -width // 13 :] for frame in frames]
    assert all((b == bar[0]).all() for b in bar)
    assert len({frame[: height // 12].tobytes() for frame in frames}) == 4
    assert len({frame[height // 5 :].tobytes() for frame in frames}) == 4


def test_colors_of_frames_are_those_of_the_color_maps(tmp_path):
    # A palette chosen frame by frame would leave the color maps with a few steps.
    solution = untrained(problems.klein_gordon())
    path = plotting.animate(solution, tmp_path / "u.gif", frames=2, points=9)
    with Image.open(path) as movie:
        width = movie.size[0]
        bar = np.asarray(movie.convert("RGB"))[:, -width // 13 :].reshape(-1, 3)
    assert len(np.unique(bar, axis=0)) > 100


@pytest.mark.parametrize("problem", [problems.wave1d(), heat()], ids=["exact", "none"])
def test_animation_of_lines(problem, tmp_path):
    path = plotting.animate(untrained(problem), tmp_path / "u.gif", frames=2, points=9)
    with Image.open(path) as movie:
        assert movie.n_frames == 2


def test_animation_along_another_axis(tmp_path):
    solution = untrained(problems.poisson(dimension=4))
    path = tmp_path / "u.gif"
    plotting.animate(solution, path, axis="x2", frames=2, points=5)
    assert path.is_file()


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("u.mp4", {}, r"animate: `path` must end in \.gif, got 'u.mp4'"),
        ("u.gif", {"axis": "z"}, "animate: unknown axis 'z', the axes are t, x"),
        ("u.gif", {"frames": 0}, "animate: `frames` must be a positive integer, got 0"),
        ("u.gif", {"fps": 2.5}, "animate: `fps` must be a positive integer, got 2.5"),
        (
            "u.gif",
            {"unknown": "w"},
            r"animate: `unknown` must be one of \(u\), got 'w'",
        ),
        ("u.gif", {"points": 1}, "animate: `points` must be at least 2"),
    ],
)
def test_animate_refuses(path, options, message):
    with pytest.raises(ValueError, match=message):
        plotting.animate(untrained(problems.wave1d()), path, **options)


def test_animate_refuses_one_axis():
    solution = untrained(problems.poisson(dimension=1))
    with pytest.raises(ValueError, match="has no axis besides 'x1' to draw"):
        plotting.animate(solution, "u.gif", axis="x1")


def test_history_has_log_axes(tmp_path):
    solution = untrained(problems.wave1d())
    solution.history.add_error(2, 0.5)
    solution.history.add_error(5, 0.1)
    figure = plotting.plot_history(solution, tmp_path / "history.png")
    left, right = figure.axes
    for panel in (left, right):
        assert (panel.get_xscale(), panel.get_yscale()) == ("log", "log")
        assert panel.get_xlabel() == "step"
    names = [text.get_text() for text in left.get_legend().get_texts()]
    assert names == ["loss", *solution.problem.groups]
    np.testing.assert_allclose(left.lines[0].get_ydata(), 1 / np.arange(1, 6))
    np.testing.assert_allclose(right.lines[0].get_xdata(), [2, 5])
    assert (tmp_path / "history.png").is_file()


def test_history_without_errors_is_one_panel_and_gaps_where_log_fails():
    solution = untrained(heat())
    solution.history.extend([6, 7, 8], [np.nan, 0.0, np.inf], np.zeros((3, 3)))
    (panel,) = plotting.plot_history(solution).axes
    assert np.isnan(panel.lines[0].get_ydata()[-3:]).all()


def test_long_histories_are_thinned():
    solution = untrained(problems.wave1d())
    count = 10_000
    history = History(solution.problem.groups)
    history.extend(np.arange(1, count + 1), np.ones(count), np.ones((count, 4)))
    solution.history = history
    line = plotting.plot_history(solution).axes[0].lines[0]
    steps = line.get_xdata()
    assert steps.size <= 500
    assert (steps[0], steps[-1]) == (1, count)


def test_history_refuses_unknown_formats():
    solution = untrained(problems.wave1d())
    with pytest.raises(ValueError, match="plot_history: `path` must end in one of"):
        plotting.plot_history(solution, "u.txt")

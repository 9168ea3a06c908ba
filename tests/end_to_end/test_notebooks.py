"""Notebooks run from top to bottom at small size and match their text twins."""

from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient


NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
# What each of them prints when it comes to its point.
PRINTED = {
    "gaunt_products": (
        "accuracy on rotated pieces 100.0 %",
        "classes in the mirror: [1, 0, 2, 3, 4, 5, 6, 7]",
    ),
    "segmentation_with_dct_attention": (
        "U-Net: loss",
        "with attention: Dice of the rings",
    ),
    "inverse_problem": ("by gauss_newton", "standard errors from the truth"),
    "parametric_pde": ("du/da at the center", "exact 1.2665"),
    "navier_stokes": ("relative L2 error of w", "should be   0.5000"),
    "solve_your_own_pde": ("steps/s", "heat in"),
}


def test_there_are_notebooks():
    assert {path.stem for path in NOTEBOOKS} == set(PRINTED)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_text_twin_is_in_step(path):
    notebook = jupytext.read(path)
    twin = jupytext.read(path.with_suffix(".py"))
    assert [(c.cell_type, c.source) for c in notebook.cells] == [
        (c.cell_type, c.source) for c in twin.cells
    ]
    assert not any(cell.get("outputs") for cell in notebook.cells), "strip the outputs"


@pytest.mark.slow
# The kernel's own libraries warn about event loops and sockets.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_runs(path, monkeypatch, tmp_path):
    monkeypatch.setenv("SEPARAX_QUICK", "1")
    monkeypatch.setenv("PYTHONPATH", str(path.parents[1]))
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )  # fmt: skip
    client.execute()
    printed = "".join(
        out.get("text", "")
        for cell in notebook.cells
        for out in cell.get("outputs", ())
    )
    for words in PRINTED[path.stem]:
        assert words in printed

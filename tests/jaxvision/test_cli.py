"""`jaxvision list` and `jaxvision info`: what they print and how they end."""

import json
import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxvision import cli, registry, runs
from jaxvision.recipes.beta_sigma_vae import SYSTEM


def test_list(capsys):
    assert cli.main(["list"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].split()[:3] == ["name", "task", "parameters"]
    assert "5,183,043" in out


def test_info(capsys):
    assert cli.main(["info", "beta_sigma_vae"]) == 0
    out = capsys.readouterr().out
    for part in ("float32[1, 64, 64, 3]", "5,183,043", "latent", "mnist_bs_beta_10"):
        assert part in out
    assert "CelebA, FID at beta 10" in out


def test_operations_are_counted():
    """A matrix product of known size, in place of a network."""

    class Product(nnx.Module):
        def __init__(self, options, *, rngs):
            self.kernel = nnx.Param(jnp.ones((16, 32)))

        def __call__(self, x):
            return x @ self.kernel[...]

    system = replace(SYSTEM, build=Product)
    shape = jax.ShapeDtypeStruct((8, 16), jnp.float32)
    out, operations = cli._forward(system, None, (shape,))
    assert out.shape == (8, 32)
    assert operations == 2 * 8 * 16 * 32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["info", "beta_sigma"], "error: jaxvision info: `name` must be one of .*did "),
        (["info"], "error: Missing from jaxvision info: NAME .*; see jaxvision --help"),
        (["train", "x", "--dta", "y"], "error: .* --data PATH .*; --out PATH .*--dta"),
        (["solve"], "error: .*solve.*; see jaxvision --help"),
        ([], "error: .*; see jaxvision --help"),
    ],
)
def test_bad_input(capsys, arguments, message):
    assert cli.main(arguments) == 2
    found = capsys.readouterr()
    assert not found.out
    assert re.fullmatch(message + ".*\n", found.err)


def test_help(capsys):
    assert cli.main(["--help"]) == 0
    assert "info" in capsys.readouterr().out


def test_interrupted(capsys, monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    monkeypatch.setattr(registry, "list_systems", interrupt)
    assert cli.main(["list"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_json_of_an_evaluation_is_json(capsys, monkeypatch, tmp_path):
    """Null for what is undefined, as a precision; all keys are there."""
    run = runs.Run(registry.recipe("ripeness_vit"), None, 3)
    found = {"f1/ripe": np.nan, "rows": [1.0, np.nan], "bound": -np.inf, "scored": "x"}
    monkeypatch.setattr(runs, "load", lambda *_, **__: run)
    monkeypatch.setattr(runs, "evaluate", lambda *_, **__: found)
    monkeypatch.setattr(cli, "_read", lambda *_: {})
    where = [str(tmp_path), "--data", str(tmp_path)]
    assert cli.main(["evaluate", *where, "--json"]) == 0
    read = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert read == {
        "step": 3,
        "split": None,
        "f1/ripe": None,
        "rows": [1.0, None],
        "bound": "-inf",
        "scored": "x",
    }
    assert cli.main(["evaluate", *where]) == 0
    assert re.search(r"f1/ripe +nan\n", capsys.readouterr().out)


def test_our_figures_stand_beside_the_papers(capsys, monkeypatch):
    figures = {"CelebA, FID at beta 10": lambda: "1234"}
    system = replace(SYSTEM, figures=figures)
    monkeypatch.setattr(registry, "find", lambda where, name: system)
    monkeypatch.setattr(cli, "_forward", lambda *_: ((), 0.0))
    assert cli.main(["info", "beta_sigma_vae"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.search(r"figure +in the paper +here", "\n".join(lines))
    (row,) = (line for line in lines if line.startswith("CelebA, FID at beta 10"))
    assert row.endswith(" 1234")
    (other,) = (line for line in lines if line.startswith("MNIST, FID at beta 10"))
    assert other.endswith(" –")


def test_comparable_figures_are_computed():
    """Those that no data are needed for, beside the paper's."""
    found = {
        (name, what): (system.paper_figures[what], cli._figure(system, what))
        for name in registry.SYSTEMS
        for system in [registry.find("test", name)]
        for what in system.figures
    }
    assert found == {
        ("lung_ssfnet", "parameters, one class, the authors' code"): (
            ("50,518,913",) * 2
        ),
        ("lung_ssfnet", "operations of its convolutions at 512 x 512"): (
            ("246.3 GFLOP",) * 2
        ),
        ("ripeness_vit", "parameters of B/16"): ("86 millions", "85.8 millions"),
        ("ripeness_vit", "patches of H/14 at 518 x 518"): ("1369", "1369"),
    }

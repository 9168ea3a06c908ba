"""Finding systems by name, with a system made up for the purpose."""

import sys
from dataclasses import dataclass, field
from types import ModuleType

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import jaxvision
from jaxcore.training import Task
from jaxvision import registry
from jaxvision.system import System


@dataclass(frozen=True)
class Options:
    width: int = 3
    bias: bool = True


@dataclass(frozen=True)
class Config:
    network: Options = field(default_factory=Options)
    learning_rate: float = 0.1


def build(options: Options, *, rngs: nnx.Rngs) -> nnx.Module:
    return nnx.Linear(2, options.width, use_bias=options.bias, rngs=rngs)


def task_of(config: Config) -> Task:
    return Task(
        lambda key: jnp.zeros(()),
        lambda state, batch, key: (state + config.learning_rate, {}),
    )


@pytest.fixture
def toy(monkeypatch):
    module = ModuleType("toy_recipe")
    module.SYSTEM = System(
        paper="Toys, 2026",
        task="nothing",
        status="made up",
        options=Options,
        build=build,
        presets={"row_1": Config(), "row_2": Config(Options(5, False), 0.2)},
        task_of=task_of,
        inputs=lambda options: (jax.ShapeDtypeStruct((1, 2), jnp.float32),),
        paper_figures={"loss": "0.1"},
    )
    monkeypatch.setitem(sys.modules, "toy_recipe", module)
    monkeypatch.setattr(registry, "SYSTEMS", {"toy_net": "toy_recipe"})


@pytest.mark.usefixtures("toy")
def test_list():
    (row,) = jaxvision.list_systems()
    assert row == ("toy_net", "Toys, 2026", "nothing", 9, "made up")
    assert row.parameters == 9


@pytest.mark.usefixtures("toy")
def test_create_takes_options_and_keys():
    model = jaxvision.create("toy_net", width=4, bias=False, rngs=nnx.Rngs(0))
    assert model.kernel.shape == (2, 4)
    assert model.bias is None
    same, other = (
        jaxvision.create("toy_net", width=4, rngs=nnx.Rngs(s)) for s in (0, 1)
    )
    assert jnp.array_equal(model.kernel[...], same.kernel[...])
    assert not jnp.array_equal(model.kernel[...], other.kernel[...])


@pytest.mark.usefixtures("toy")
def test_recipes():
    first = jaxvision.recipe("toy_net")
    assert (first.preset, first.config) == ("row_1", Config())
    second = jaxvision.recipe("toy_net", preset="row_2", learning_rate=0.5)
    assert second.config == Config(Options(5, False), 0.5)
    assert second.network(rngs=nnx.Rngs(0)).kernel.shape == (2, 5)
    state, _ = second.task().step(jnp.zeros(()), None, jax.random.key(0))
    assert float(state) == 0.5
    assert second.replace(learning_rate=1.0).config.learning_rate == 1.0


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize("function", ["create", "recipe"])
def test_unknown_name(function):
    options = {"rngs": nnx.Rngs(0)} if function == "create" else {}
    with pytest.raises(
        ValueError,
        match=rf"jaxvision.{function}: `name` must be one of 'toy_net', got 'toynet'; "
        r"did you mean 'toy_net'\?",
    ):
        getattr(jaxvision, function)("toynet", **options)


@pytest.mark.usefixtures("toy")
def test_unknown_option():
    with pytest.raises(
        TypeError,
        match=r"jaxvision.create\('toy_net'\): options must be among 'width', 'bias', "
        r"got 'widht'; did you mean 'width'\?",
    ):
        jaxvision.create("toy_net", widht=3, rngs=nnx.Rngs(0))
    with pytest.raises(TypeError, match=r"options must be among .*, got 'zzz'$"):
        jaxvision.recipe("toy_net", zzz=3)


@pytest.mark.usefixtures("toy")
def test_unknown_preset():
    with pytest.raises(
        ValueError,
        match=r"`preset` must be one of 'row_1', 'row_2', got 'row1'; did you mean",
    ):
        jaxvision.recipe("toy_net", preset="row1")


@pytest.mark.usefixtures("toy")
def test_keys_are_asked_for():
    with pytest.raises(TypeError, match=r"`rngs` must be a flax.nnx.Rngs, got int; wr"):
        jaxvision.create("toy_net", rngs=0)


def test_no_system_at_all(monkeypatch):
    monkeypatch.setattr(registry, "SYSTEMS", {})
    assert jaxvision.list_systems() == []
    with pytest.raises(ValueError, match="must be one of none: no system is here yet"):
        jaxvision.recipe("toy_net")

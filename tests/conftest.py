"""Settings of the whole run, docstring examples included.

pyproject.toml names this folder first in `testpaths`, so that pytest loads this file
before it imports any package. Processes started by a test inherit the environment.
"""

import gc
import os
import random
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path


ROOT = Path(__file__).resolve().parent.parent
XLA_FLAGS = {"--xla_force_host_platform_device_count": "4"}
# The programs of tests are small and run once: most of their time is compilation, which
# these two more than halve. A process ends at a flag that its XLA does not know.
if metadata.version("jaxlib").startswith("0.10."):
    XLA_FLAGS["--xla_cpu_use_fusion_emitters"] = "false"
    XLA_FLAGS["--xla_cpu_parallel_codegen_split_count"] = "1"

flags = os.environ.get("XLA_FLAGS", "")
more = (f"{name}={value}" for name, value in XLA_FLAGS.items() if name not in flags)
os.environ["XLA_FLAGS"] = " ".join([flags, *more]).strip()
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.02")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

import hypothesis
import jax
import jaxtyping
import numpy as np
import pytest


jax.config.update("jax_numpy_rank_promotion", "raise")

# Tracing makes objects by the million, few of them in cycles.
gc.set_threshold(20_000, 20, 20)

# Times vary with the load of the machine, cases must not vary between runs.
hypothesis.settings.register_profile(
    "separax",
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("separax")


@pytest.fixture
def x64() -> Iterator[None]:
    """Float64 for the length of one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def key() -> jax.Array:
    """The typed key with seed 0."""
    return jax.random.key(0)


@pytest.fixture
def rng() -> np.random.Generator:
    """A NumPy generator with seed 0."""
    return np.random.default_rng(0)


@pytest.fixture(scope="module", autouse=True)
def _settle() -> Iterator[None]:
    """Keep what a module leaves behind out of later garbage collections.

    The programs that JAX keeps are millions of objects by the end of a run, and each
    full collection looks at them all, for seconds.
    """
    yield
    gc.collect(1)
    gc.freeze()


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Fix the global generators, which a peer library may draw from."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Compile with all optimizations where a test measures time."""
    before = jax.config.read("jax_disable_most_optimizations")
    if item.get_closest_marker("optimized"):
        jax.config.update("jax_disable_most_optimizations", False)
    try:
        return (yield)
    finally:
        jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(autouse=True)
def _annotations(request: pytest.FixtureRequest) -> Iterator[None]:
    """Switch run-time checks of annotations off where wrong arguments are passed.

    The checks exist only with `--jaxtyping-packages`. They come before the function
    and would hide its own message from `pytest.raises`.
    """
    code = getattr(getattr(request.node, "function", None), "__code__", None)
    names = code.co_names if code else ()
    unchecked = "raises" in names or request.node.get_closest_marker("unchecked")
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", before or bool(unchecked))
    yield
    jaxtyping.config.update("jaxtyping_disable", before)

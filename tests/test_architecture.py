"""Rules for the source as a whole, read from its syntax trees.

A checker takes one source file and returns its findings as `path:line: what`. Every
checker meets the repository, which must be clean, and code that it must refuse.
"""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest


ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("jaxcore", "jaxvision", "pinns")
MAX_LINES = 500

FORBIDDEN = {
    "jaxcore": {"pinns", "jaxvision", "flax", "torch", "benchmarks", "tests"},
    "jaxvision": {"pinns", "torch", "benchmarks", "tests"},
    "pinns": {"jaxvision", "torch", "benchmarks", "tests"},
}
# The layers of pinns, lowest first. Private modules belong to the lowest; the package
# itself and `__main__` to the highest.
LAYERS = (
    {"derivatives", "factors", "domain", "mapped", "round_domains", "masked"},
    {
        "problem",
        "eigenproblem",
        "conditions",
        "boundary",
        "field",
        "separable",
        "contraction",
        "functions",
        "parameters",
        "hard",
        "program",
        "problems",
        "pointwise",
        "evaluation",
        "fingerprint",
        "faces",
        "slabs",
    },
    {
        "solvers",
        "losses",
        "scattered",
        "weighting",
        "factored",
        "operators",
        "kernels",
        "baselines",
        "ranks",
    },
    {
        "solve",
        "settings",
        "choice",
        "engine",
        "iterate",
        "linear",
        "nonlinear",
        "inverse",
        "march",
        "solution",
        "storage",
        "resume",
        "progress",
        "certificate",
        "error_bound",
        "separability",
        "eigen",
    },
    {"cli", "plotting", "report", "demo", "__main__", ""},
)
# A method that is a shorthand for a function of a higher layer imports it when called:
# the lower module can still be imported without the higher one.
DEFERRED = {
    ("solution", "plotting"),
    ("solution", "storage"),
    ("separability", "plotting"),
}

UNSAFE_MODULES = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}
UNSAFE_CALLS = {
    "eval", "exec", "builtins.eval", "builtins.exec", "torch.load",
    "yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load",
}  # fmt: skip


@dataclass(frozen=True)
class Source:
    """A file: its path from the root of the repository, and its text."""

    path: str
    text: str

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(ast.parse(self.text, self.path)))

    @cached_property
    def imports(self) -> list[tuple[ast.AST, str, str]]:
        """Each import as (node, dotted name, name it gets here)."""
        return [
            (node, name, local)
            for node in self.nodes
            for name, local in _imported(node, self.path)
        ]

    @property
    def package(self) -> str:
        return self.path.split("/")[0]

    @property
    def module(self) -> str:
        """The first name below the package, "" for the package itself."""
        name = self.path.split("/")[1].removesuffix(".py")
        return "" if name == "__init__" else name

    def finding(self, node: ast.AST, what: str) -> str:
        return f"{self.path}:{getattr(node, 'lineno', 1)}: {what}"


Checker = Callable[[Source], list[str]]


def _imported(node: ast.AST, path: str) -> list[tuple[str, str]]:
    if isinstance(node, ast.Import):
        return [(alias.name, alias.asname or alias.name) for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = [node.module] if node.module else []
    if node.level:
        folder = path.split("/")[:-1]
        base = folder[: len(folder) - node.level + 1] + base
    return [
        (".".join([*base, alias.name]), alias.asname or alias.name)
        for alias in node.names
    ]


def check_packages(source: Source) -> list[str]:
    """No package imports one that stands beside or above it."""
    forbidden = FORBIDDEN.get(source.package, set())
    return [
        source.finding(node, f"{source.package} must not import {name}")
        for node, name, _ in source.imports
        if name.split(".")[0] in forbidden
    ]


def _layer(module: str) -> int | None:
    """Index into LAYERS; None for a module that the table does not name."""
    if module.startswith("_") and not module.startswith("__"):
        return 0
    return next((i for i, names in enumerate(LAYERS) if module in names), None)


def _inside_functions(source: Source) -> set[ast.AST]:
    return {
        inner
        for node in source.nodes
        if isinstance(node, ast.FunctionDef)
        for inner in ast.walk(node)
    }


def check_layers(source: Source) -> list[str]:
    """No module of pinns imports from a layer above its own."""
    if source.package != "pinns":
        return []
    own = _layer(source.module)
    if own is None:
        return [f"{source.path}:1: in no layer, add `{source.module}` to LAYERS"]
    late = _inside_functions(source)
    findings = []
    for node, name, _ in source.imports:
        package, _, rest = name.partition(".")
        target = rest.split(".")[0]
        if package != "pinns" or ((source.module, target) in DEFERRED and node in late):
            continue
        height = _layer(target)  # None: a name of the package itself, as in pinns.Box
        if (len(LAYERS) - 1 if height is None else height) > own:
            findings.append(source.finding(node, f"{name} is in a layer above"))
    return findings


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return "?"


def check_security(source: Source) -> list[str]:
    """Nothing that runs code found in a file or a string."""
    findings = [
        source.finding(node, f"import of {name}")
        for node, name, _ in source.imports
        if name.split(".")[0] in UNSAFE_MODULES
    ]
    names = {local: name for _, name, local in source.imports}
    for node in source.nodes:
        if isinstance(node, ast.Name | ast.Attribute):
            first, dot, rest = _dotted(node).partition(".")
            name = names.get(first, first) + dot + rest
            if name in UNSAFE_CALLS or name.endswith("read_pickle"):
                findings.append(source.finding(node, f"use of {name}"))
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            value = node.value.value if isinstance(node.value, ast.Constant) else None
            if value is not False:
                findings.append(source.finding(node.value, "allow_pickle"))
    return findings


def check_length(source: Source) -> list[str]:
    """One idea a file."""
    lines = len(source.text.splitlines())
    if lines <= MAX_LINES:
        return []
    return [f"{source.path}:{lines}: {lines} lines, at most {MAX_LINES}"]


def check_asserts(source: Source) -> list[str]:
    """`assert` vanishes under -O and says nothing: packages raise."""
    return [
        source.finding(node, "assert")
        for node in source.nodes
        if isinstance(node, ast.Assert)
    ]


def check_x64(source: Source) -> list[str]:
    """Precision belongs to the caller: no package switches it for the process."""
    named: list[ast.AST] = [
        node
        for node in source.nodes
        if isinstance(node, ast.Call) and _dotted(node.func).endswith("config.update")
        if node.args and _text(node.args[0]) == "jax_enable_x64"
    ]
    named += [node for node in source.nodes if _text(node) == "JAX_ENABLE_X64"]
    named += [
        target
        for node in source.nodes
        if isinstance(node, ast.Assign)
        for target in node.targets
        if _dotted(target).endswith("config.jax_enable_x64")
    ]
    return [source.finding(node, "switches jax_enable_x64") for node in named]


def _text(node: ast.AST) -> object:
    return node.value if isinstance(node, ast.Constant) else None


def check_typed(package: Path) -> list[str]:
    """Type checkers read a package only if it says so."""
    marker = package / "py.typed"
    return [] if marker.is_file() else [f"{package.name}: no py.typed"]


EVERYWHERE = (*PACKAGES, "benchmarks", "tests")
CHECKS: list[tuple[Checker, tuple[str, ...]]] = [
    (check_packages, PACKAGES),
    (check_layers, ("pinns",)),
    (check_security, EVERYWHERE),
    (check_length, EVERYWHERE),
    (check_asserts, PACKAGES),
    (check_x64, PACKAGES),
]


def _sources(folders: tuple[str, ...]) -> Iterator[Source]:
    for folder in folders:
        for file in sorted((ROOT / folder).rglob("*.py")):
            text = file.read_text(encoding="utf-8")
            yield Source(file.relative_to(ROOT).as_posix(), text)


@pytest.mark.parametrize(("check", "folders"), CHECKS)
def test_repository_is_clean(check: Checker, folders: tuple[str, ...]):
    findings = [finding for source in _sources(folders) for finding in check(source)]
    assert not findings, "\n".join(findings)


def test_every_folder_is_read():
    read = {source.package for source in _sources(EVERYWHERE)}
    assert read >= {"jaxcore", "jaxvision", "benchmarks", "tests"}


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_are_typed(package: str):
    assert not check_typed(ROOT / package)


def test_missing_marker_is_found(tmp_path: Path):
    assert check_typed(tmp_path) == [f"{tmp_path.name}: no py.typed"]


REFUSED: list[tuple[Checker, str, str]] = [
    (check_packages, "jaxcore/a.py", "import pinns"),
    (check_packages, "jaxcore/a.py", "from jaxvision.layers import x"),
    (check_packages, "jaxcore/b/a.py", "def f():\n    from flax import nnx"),
    (check_packages, "jaxvision/a.py", "import pinns.domain as d"),
    (check_packages, "pinns/a.py", "from jaxvision import layers"),
    (check_packages, "pinns/a.py", "import torch"),
    (check_layers, "pinns/domain.py", "from pinns.problem import Problem"),
    (check_layers, "pinns/domain.py", "from pinns import solve"),
    (check_layers, "pinns/domain.py", "from pinns import Box"),
    (check_layers, "pinns/domain.py", "import pinns"),
    (check_layers, "pinns/factors.py", "from .separable import CP"),
    (check_layers, "pinns/field.py", "from . import losses"),
    (check_layers, "pinns/solvers/adam.py", "from ..solve import solve"),
    (check_layers, "pinns/losses.py", "def f():\n    import pinns.solution"),
    (check_layers, "pinns/solution.py", "from pinns import plotting"),
    (check_layers, "pinns/storage.py", "def f():\n    from pinns import plotting"),
    (check_layers, "pinns/_checks.py", "from pinns.field import Field"),
    (check_layers, "pinns/unheard_of.py", "x = 1"),
    (check_security, "tests/a.py", "import pickle"),
    (check_security, "pinns/a.py", "from cloudpickle import loads"),
    (check_security, "pinns/a.py", "eval('1')"),
    (check_security, "pinns/a.py", "run = exec"),
    (check_security, "pinns/a.py", "import builtins as b\nb.eval('1')"),
    (check_security, "pinns/a.py", "import yaml\nyaml.load(f)"),
    (check_security, "pinns/a.py", "from yaml import load as read\nread(f)"),
    (check_security, "benchmarks/a.py", "import torch as t\nt.load(f)"),
    (check_security, "pinns/a.py", "np.load(f, allow_pickle=True)"),
    (check_security, "pinns/a.py", "np.load(f, allow_pickle=flag)"),
    (check_security, "pinns/a.py", "pd.read_pickle(f)"),
    (check_length, "pinns/a.py", "x = 1\n" * (MAX_LINES + 1)),
    (check_asserts, "pinns/a.py", "def f(x):\n    assert x > 0"),
    (check_x64, "pinns/a.py", "jax.config.update('jax_enable_x64', True)"),
    (check_x64, "pinns/a.py", "config.update('jax_enable_x64', True)"),
    (check_x64, "pinns/a.py", "jax.config.jax_enable_x64 = True"),
    (check_x64, "pinns/a.py", "os.environ['JAX_ENABLE_X64'] = '1'"),
]

ALLOWED: list[tuple[Checker, str, str]] = [
    (check_packages, "pinns/a.py", "import jaxcore.transforms, flax, optax"),
    (check_layers, "pinns/solve.py", "from pinns.domain import Box"),
    (check_layers, "pinns/solve.py", "from .solution import Solution"),
    (check_layers, "pinns/solvers/adam.py", "from . import lbfgs"),
    (check_layers, "pinns/solution.py", "def f():\n    from . import plotting"),
    (check_layers, "pinns/__init__.py", "from pinns.cli import main"),
    (check_layers, "pinns/demo.py", "import pinns"),
    (check_layers, "jaxcore/a.py", "import pinns.solve"),
    (check_security, "pinns/a.py", "model.eval()\nyaml.safe_load(f)"),
    (check_security, "pinns/a.py", "np.load(f, allow_pickle=False)"),
    (check_length, "pinns/a.py", "x = 1\n" * MAX_LINES),
    (check_asserts, "pinns/a.py", "'assert x'"),
    (check_x64, "pinns/a.py", "with jax.enable_x64(True):\n    pass"),
    (check_x64, "pinns/a.py", "x64 = jax.config.jax_enable_x64"),
]


@pytest.mark.parametrize(("check", "path", "code"), REFUSED)
def test_checker_can_fail(check: Checker, path: str, code: str):
    findings = check(Source(path, code))
    assert len(findings) == 1
    assert findings[0].startswith(f"{path}:")


@pytest.mark.parametrize(("check", "path", "code"), ALLOWED)
def test_checker_can_pass(check: Checker, path: str, code: str):
    assert check(Source(path, code)) == []


def test_settings_of_the_run():
    assert len(jax.devices()) >= 4 or jax.default_backend() != "cpu"
    with pytest.raises(ValueError, match="rank_promotion"):
        jnp.ones((2, 3)) + jnp.ones(3)


def test_x64_fixture(x64: None):
    assert jnp.zeros(()).dtype == jnp.float64

"""`Problem`: a box, a residual, conditions and, if known, the solution."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial as partial_function
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from pinns.conditions import Condition, Data, Periodic, Term
from pinns.derivatives import partial
from pinns.domain import Box, positive_integer, positive_number
from pinns.field import Field, LeafSource
from pinns.functions import (
    UnfitArrayError,
    bind_coordinates,
    broadcast,
    chosen,
    coordinate_arguments,
    explained,
    parameter_names,
)
from pinns.hard import HardConditions
from pinns.parameters import Parameters, Unknown


RESIDUAL = "residual"
# Points per axis, at least, on which a problem is checked when it is made.
CHECKED_POINTS = (3, 7)


class Problem:
    """A partial differential equation on a box, ready for `pinns.solve`.

    Args:
        box: the domain, with named axes.
        residual: `residual(u, t, x, ...)`: receives one `Field` per unknown, then
            coordinates by name (any of them, or `*coordinates` in box order), and
            returns what should vanish: one array or field, or a tuple with one per
            equation. Each coordinate is an array that varies along its own axis
            only, of length one along all others.
        conditions: `Dirichlet`, `Neumann`, `Robin`, `Periodic`, `Initial`, `Data`.
        unknowns: names of the unknown functions.
        parameters: unknown numbers and coefficient functions by name, each a
            `pinns.Unknown`; the residual takes them by name, as it does coordinates.
        exact: the solution if known: a function of the coordinates, or for several
            unknowns a mapping from names to functions.
        equations: number of equations, or their names, under which their losses are
            reported (`residual[name]`); by default as many as unknowns, by number.
        weight: factor of the residual's mean square in the loss.
        name: shown in tables and plots; by default that of the residual function.

    Everything is traced once on abstract points here, so mistakes surface before
    anything compiles.

    Raises:
        ValueError: names that are no axes or unknowns, a wrong number of equations
            or a wrong shape, contradictory hard conditions.
        TypeError: not functions or conditions where these are expected.

    Example:
        >>> import jax.numpy as jnp
        >>> box = Box(x=(0.0, 1.0))
        >>> def residual(u, x):
        ...     return u.d("x", 2) + jnp.pi**2 * jnp.sin(jnp.pi * x)
        >>> from pinns.conditions import Dirichlet
        >>> Problem(box, residual, [Dirichlet(0.0)]).unknowns
        ('u',)
    """

    def __init__(
        self,
        box: Box,
        residual: Callable[..., Any],
        conditions: Sequence[Condition] = (),
        *,
        unknowns: Sequence[str] = ("u",),
        parameters: Mapping[str, Unknown] | None = None,
        exact: Callable[..., Any] | Mapping[str, Callable[..., Any]] | None = None,
        equations: int | Sequence[str] | None = None,
        weight: float = 1.0,
        name: str | None = None,
    ):
        if not isinstance(box, Box):
            raise TypeError(f"pinns.Problem: `box` must be a pinns.Box, got {box!r}")
        self.box = box
        self.unknowns = _unknown_names(unknowns, box)
        given_parameters = {} if parameters is None else parameters
        self.parameters = Parameters(box, given_parameters, self.unknowns)
        self.residual = residual
        self.residual_groups = _residual_groups(equations, len(self.unknowns))
        self.equations = len(self.residual_groups)
        named = isinstance(equations, Sequence)
        self.stated_equations = equations if named else self.equations
        self.weight = positive_number(weight, "pinns.Problem", "weight")
        given = str(getattr(residual, "__name__", ""))
        self.name = name or (given if given.isidentifier() else "") or "problem"
        # (problem name, options) when made by pinns.problems; lets solutions reload.
        self.origin: tuple[str, dict[str, Any]] | None = None
        # Its place in a march (pinns.march), for solvers that share programs there.
        self.window: Any = None
        # Standard deviation of synthetic measurements, where there are any.
        self.noise: float | None = None
        self._arguments_of_residual = self._residual_arguments()
        if isinstance(conditions, Condition):
            raise TypeError(
                f"pinns.Problem: `conditions` must be a list of conditions, "
                f"got one condition, {conditions!r}"
            )
        closed = [*conditions, *self._closing(conditions)]
        self.conditions = tuple(_told_apart(box, closed))
        indexed = [(self._unknown_of(c), c) for c in self.conditions]
        hard = [(i, c) for i, c in indexed if getattr(c, "hard", False)]
        self._check_hard(hard)
        self.hard = HardConditions(box, hard, len(self.unknowns))
        self.lifts = tuple(self.hard.lift(i) for i in range(len(self.unknowns)))
        soft = [(i, c) for i, c in indexed if not getattr(c, "hard", False)]
        self.data = tuple((i, c) for i, c in soft if isinstance(c, Data))
        for _, condition in self.data:
            condition.check(box)
        faces = [(i, c) for i, c in soft if not isinstance(c, Data)]
        self.terms = (
            *(self._residual_term(i) for i in range(self.equations)),
            *(term for i, c in faces for term in c.terms(box, i)),
        )
        self.exact = self._exact(exact)
        self._check()

    @property
    def groups(self) -> tuple[str, ...]:
        """Names under which losses are reported, residual first."""
        names = [t.group for t in self.terms]
        names += [c.group(self.box) for _, c in self.data]
        return tuple(dict.fromkeys(names))

    def fields(
        self, source: LeafSource, coordinates: Sequence[Array] = ()
    ) -> list[Field]:
        """Returns one field per unknown over the given source of leaf values."""
        count = len(self.unknowns)
        return [self._field(source, i, coordinates) for i in range(count)]

    def _field(
        self, source: LeafSource, number: int, coordinates: Sequence[Array] = ()
    ) -> Field:
        axes = self.parameters.axes
        return Field.unknown(source, self.box, number, axes, coordinates)

    def lift_values(
        self, unknown: int, orders: Sequence[int], coordinates: Sequence[Array]
    ) -> Array | None:
        """Returns a derivative of the lift of hard conditions; None without one."""
        lift = None if unknown in self.parameters else self.lifts[unknown]
        return None if lift is None else partial(lift, orders)(*coordinates)

    def residual_values(
        self, source: LeafSource, coordinates: Sequence[Array]
    ) -> list[Array]:
        """Returns the residual of every equation where leaves come from `source`.

        Args:
            source: `(unknown, orders) -> values` of derivatives of the unknowns;
                parameters are numbered on from these, see `Parameters`.
            coordinates: arrays that broadcast against each other, one per axis.
        """
        shape = jnp.broadcast_shapes(*(c.shape for c in coordinates))
        which = self._arguments_of_residual
        axes = [i for i in which if not isinstance(i, str)]
        placed = iter(chosen(self.box, coordinates, axes))
        arguments = [
            *self.fields(source, coordinates),
            *(
                self._field(source, self.parameters.number(i), coordinates)
                if isinstance(i, str)
                else next(placed)
                for i in which
            ),
        ]
        try:
            with explained("pinns.Problem", "residual", shape):
                out = self.residual(*arguments)
        except AttributeError as error:
            if getattr(error, "name", None) == "d":
                raise TypeError(
                    "pinns.Problem: the residual calls `.d` on an array; derivatives "
                    "are taken of unknowns and their sums and products: write "
                    "x * u.d('x') + u for d(x u)/dx"
                ) from error
            raise
        values = list(out) if isinstance(out, (tuple, list)) else [out]
        if len(values) != self.equations:
            raise ValueError(
                f"pinns.Problem: the residual must return {self.equations} "
                f"equation{'s' * (self.equations > 1)} (set `equations` otherwise), "
                f"got {len(values)}"
            )
        return [self._equation(i, v, shape) for i, v in enumerate(values)]

    def exact_residual(self, coordinates: Sequence[Array]) -> list[Array]:
        """Returns the residual of the exact solution: zero up to rounding.

        Raises:
            ValueError: the problem has no exact solution.
        """
        exact = self.require_exact("exact_residual")

        def source(unknown, orders):
            if unknown in self.parameters:
                return self.parameters.exact_value(unknown, orders, coordinates)
            return partial(exact[unknown], orders)(*coordinates)

        return self.residual_values(source, coordinates)

    def require_exact(self, owner: str) -> tuple[Callable[..., Array], ...]:
        if self.exact is None:
            raise ValueError(
                f"pinns: `{owner}` needs an exact or reference solution, and problem "
                f"{self.name!r} has none (give `exact=` to pinns.Problem)"
            )
        return self.exact

    def __repr__(self) -> str:
        conditions = ", ".join(c.group(self.box) for c in self.conditions)
        return f"Problem({self.name}: {self.box!r}; {conditions})"

    def _residual_arguments(self) -> tuple[Any, ...]:
        """Returns what the residual takes after the unknowns: axes, parameters."""
        owner = "pinns.Problem: `residual`"
        names, variadic = parameter_names(self.residual, owner)
        count = len(self.unknowns)
        if tuple(names[:count]) != self.unknowns and not (variadic and not names):
            raise ValueError(
                f"{owner} must take the unknowns ({', '.join(self.unknowns)}) first, "
                f"then coordinates among ({', '.join(self.box.names)}), "
                f"got ({', '.join(names)})"
            )
        others = self.parameters.names
        return coordinate_arguments(
            self.residual, self.box, owner, skip=count, others=others
        )

    def _residual_term(self, index: int) -> Term:
        selectors = ("interior",) * self.box.dimension

        def function(source, coordinates):
            def leaf(unknown, orders):
                return source(unknown, orders, selectors)

            return [self.residual_values(leaf, coordinates)[index]]

        return Term(
            name=self.residual_groups[index],
            group=self.residual_groups[index],
            weight=self.weight,
            selectors=selectors,
            function=function,
        )

    def _closing(self, conditions: Sequence[Condition]) -> list[Condition]:
        """Returns the periodicity that the domain has and nobody stated."""
        several = len(self.unknowns) > 1
        stated = {
            (axis, c.unknown or self.unknowns[0])
            for c in conditions
            if isinstance(c, Periodic)
            for axis in c.axes
        }
        return [
            Periodic(axis, unknown=unknown if several else None)
            for axis in self.box.periodic
            for unknown in self.unknowns
            if (axis, unknown) not in stated
        ]

    def _unknown_of(self, condition: Any) -> int:
        if not isinstance(condition, Condition):
            raise TypeError(
                "pinns.Problem: `conditions` must be pinns conditions (Dirichlet, "
                f"Neumann, Robin, Periodic, Initial, Data), got {condition!r}"
            )
        name = condition.unknown
        if name is None and len(self.unknowns) == 1:
            return 0
        if name in self.parameters.functions:
            return self.parameters.number(name)
        if name not in self.unknowns:
            raise ValueError(
                f"{condition.owner}: `unknown` must be one of "
                f"({', '.join(self.unknowns)}), got {name!r}"
            )
        return self.unknowns.index(name)

    def _equation(self, index: int, value: Any, shape: tuple[int, ...]) -> Array:
        owner = f"pinns.Problem: equation {index} of the residual"
        array = value.values if isinstance(value, Field) else value
        dtype = getattr(array, "dtype", jnp.dtype(float))
        if not jnp.issubdtype(dtype, jnp.floating):
            dtype = jnp.float32
        array = broadcast(array, shape, dtype, owner)
        if array.shape != shape:
            raise ValueError(
                f"{owner} must depend on an unknown and have the points' shape "
                f"{shape}, got shape {array.shape}"
            )
        return array

    def _exact(self, exact) -> tuple[Callable[..., Array], ...] | None:
        if exact is None:
            return None
        if not isinstance(exact, Mapping):
            if len(self.unknowns) > 1:
                raise ValueError(
                    "pinns.Problem: `exact` must map each of the unknowns "
                    f"({', '.join(self.unknowns)}) to a function, got {exact!r}"
                )
            exact = {self.unknowns[0]: exact}
        if set(exact) != set(self.unknowns):
            raise ValueError(
                f"pinns.Problem: `exact` must name ({', '.join(self.unknowns)}), "
                f"got ({', '.join(exact)})"
            )
        return tuple(
            bind_coordinates(exact[name], self.box, f"pinns.Problem: `exact[{name!r}]`")
            for name in self.unknowns
        )

    def _check_parameters(self, used: set[int]) -> None:
        for name in self.parameters.names:
            if self.parameters.number(name) not in used:
                raise ValueError(
                    f"pinns.Problem: the parameter {name!r} must appear in the "
                    "residual, which does not use it; write it as an argument, "
                    f"residual({', '.join(self.unknowns)}, {name}, ...)"
                )

    def _check_hard(self, hard: Sequence[tuple[int, Any]]) -> None:
        for number, condition in hard:
            if number in self.parameters:
                raise ValueError(
                    f"{condition.owner}: `hard` conditions are for the unknowns "
                    f"({', '.join(self.unknowns)}), got one for the parameter "
                    f"{condition.unknown!r}"
                )

    def _check(self) -> None:
        """Traces every condition on abstract points, counts differing by axis.

        The faces of one condition run the same function; one stands for all. Two sets
        of counts find an array of fixed size that happens to fit one of them.
        """
        for term in {term.group: term for term in reversed(self.terms)}.values():
            for least in CHECKED_POINTS:
                self._trace(term, least)
        if self.exact is not None:
            points = [jax.ShapeDtypeStruct((4,), jnp.float32)] * self.box.dimension
            for function in self.exact:
                jax.eval_shape(function, *points)

    def _trace(self, term: Term, least: int) -> None:
        """Runs a term on abstract points, at least so many along every axis."""
        d = self.box.dimension
        sizes = tuple(
            {"interior": least + i % 3, "ends": 2}.get(s, 1)
            for i, s in enumerate(term.selectors)
        )
        shapes = [
            tuple(n if i == k else 1 for k in range(d)) for i, n in enumerate(sizes)
        ]
        used: list[Any] = []
        zeros = partial_function(_zeros, sizes, self.parameters.axes, used)
        try:
            jax.eval_shape(
                lambda *c: term.function(zeros, c),
                *(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes),
            )
        except UnfitArrayError as error:
            raise UnfitArrayError(f"{error}; in the term {term.name!r}") from error
        if not used:
            raise ValueError(
                f"pinns.Problem: {term.name!r} must depend on an unknown, got a "
                "function of the coordinates only"
            )
        if term is self.terms[0]:
            self._check_parameters({unknown for unknown, *_ in used})


def _zeros(shape: tuple[int, ...], partial, used: list, *leaf: Any) -> Array:
    used.append(leaf)
    axes = partial.get(leaf[0], range(len(shape)))
    own = tuple(n if k in axes else 1 for k, n in enumerate(shape))
    return jnp.zeros(own, jnp.float32)


def _residual_groups(equations: Any, unknowns: int) -> tuple[str, ...]:
    """Returns the names under which the equations' losses are reported."""
    owner = "pinns.Problem"
    if isinstance(equations, Sequence) and not isinstance(equations, str):
        names = tuple(equations)
        texts = all(isinstance(n, str) and n for n in names)
        if not names or not texts or len(set(names)) != len(names):
            raise ValueError(
                f"{owner}: `equations` must be a number or distinct names, got "
                f"{equations!r}"
            )
        return tuple(f"{RESIDUAL}[{name}]" for name in names)
    given = unknowns if equations is None else equations
    count = positive_integer(given, owner, "equations")
    if count == 1:
        return (RESIDUAL,)
    return tuple(f"{RESIDUAL}[{i}]" for i in range(count))


def _told_apart(box: Box, conditions: Sequence[Any]) -> list[Any]:
    """Returns the conditions, those without a name numbered where titles are equal."""
    taken: dict[str, int] = {}
    out = []
    for condition in conditions:
        if isinstance(condition, Condition) and not getattr(condition, "hard", False):
            title = condition.group(box)
            taken[title] = taken.get(title, 0) + 1
            if taken[title] > 1 and condition.name is None:  # type: ignore[attr-defined]
                name = f"{title} {taken[title]}"
                condition = replace(condition, name=name)  # type: ignore[type-var]
        out.append(condition)
    return out


def _unknown_names(unknowns: Sequence[str], box: Box) -> tuple[str, ...]:
    names = (unknowns,) if isinstance(unknowns, str) else tuple(unknowns)
    clash = [n for n in names if n in box.names]
    if not names or len(set(names)) != len(names) or clash:
        raise ValueError(
            "pinns.Problem: `unknowns` must be distinct names that are no axes "
            f"({', '.join(box.names)}), got {names!r}"
        )
    return names

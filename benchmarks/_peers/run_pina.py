"""PINA: `python -m benchmarks._peers.run_pina NAME SECONDS`."""

import importlib.metadata
import sys
import time
import warnings
from typing import ClassVar

import numpy as np

from benchmarks._peers.statement import (
    HELMHOLTZ,
    HIDDEN,
    LEARNING_RATE,
    STATEMENTS,
    report,
)


NAMES = ["a", "b", "c"]


def main(name: str, seconds: float) -> None:
    """Trains for so many seconds and reports."""
    warnings.simplefilter("ignore")
    import torch
    from pina import Condition, LabelTensor, Trainer
    from pina.domain import CartesianDomain
    from pina.equation import Equation
    from pina.model import FeedForward
    from pina.operator import laplacian
    from pina.optim import TorchOptimizer
    from pina.problem import SpatialProblem
    from pina.solver import PhysicsInformedSingleModelSolver

    stated = STATEMENTS[name]

    def labeled(values, names):
        return LabelTensor(torch.as_tensor(np.asarray(values, np.float32)), names)

    def exact(c):
        a, b, d = (c.extract([n]).tensor for n in NAMES)
        if name == "klein_gordon":
            return (b + d) * torch.cos(2 * a) + b * d * torch.sin(2 * a)
        p = np.pi
        return torch.sin(4 * p * a) * torch.sin(4 * p * b) * torch.sin(3 * p * d)

    def residual(c, u):
        def second(along):
            return laplacian(u, c, components=["u"], d=along).tensor

        value, e = u.extract(["u"]).tensor, exact(c)
        if name == "klein_gordon":
            return second(["a"]) - second(["b", "c"]) + value**2 - e**2 + 4 * e
        return second(NAMES) + value - HELMHOLTZ * e

    points, values = stated.boundary()

    class Stated(SpatialProblem):
        output_variables: ClassVar = ["u"]
        spatial_domain = CartesianDomain(
            dict(zip(NAMES, map(list, stated.intervals), strict=True))
        )
        conditions: ClassVar = {
            "inside": Condition(
                input=labeled(stated.interior(), NAMES), equation=Equation(residual)
            ),
            "boundary": Condition(
                input=labeled(points, NAMES), target=labeled(values, ["u"])
            ),
        }

    torch.manual_seed(0)
    began = time.perf_counter()
    network = FeedForward(3, 1, layers=list(HIDDEN), func=torch.nn.Tanh)
    solver = PhysicsInformedSingleModelSolver(
        Stated(), network, optimizer=TorchOptimizer(torch.optim.Adam, lr=LEARNING_RATE)
    )
    trainer = Trainer(
        solver,
        max_epochs=-1,
        max_time={"seconds": int(np.ceil(seconds))},
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        logger=False,
    )
    start = time.perf_counter()
    trainer.train()
    spent = time.perf_counter() - start

    def predict(grid):
        with torch.no_grad():
            return np.asarray(network(torch.as_tensor(grid)))

    report(
        relative_l2=stated.error(predict),
        iterations=int(trainer.global_step),
        seconds=spent,
        setup_seconds=start - began,
        version=importlib.metadata.version("pina-mathlab"),
    )


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))

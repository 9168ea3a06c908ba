"""What a federation does in a round: who trains where for how long, who sends whom."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jaxvision import _checks
from jaxvision.layers._checks import positive


OWNER = "jaxvision.federated.Protocol"
TOPOLOGIES = ("cwt", "rwt", "fedavg", "standalone", "joint")
REWINDS = ("previous", "random", "none")
WHEN = ("after_exchange", "after_training")
SHARE = 0.1


@dataclass(frozen=True)
class Protocol:
    """Rounds of a federation; the defaults are FedRewind on a ring.

    Attributes:
        topology: `"cwt"`: models go round a ring; `"rwt"`: along a random permutation
            without fixed points, drawn anew each round; `"fedavg"`: they are averaged,
            weighted by the rows of the nodes; `"standalone"`: they stay; `"joint"`:
            the same, for a single node with the data of all.
        rewind: where a model goes back to within a round: `"previous"`, the node that
            it was at in the round before; `"random"`, a node drawn anew each round;
            `"none"`. Averaged models have no previous node, models that stay have none
            either.
        epochs: of training in a round, E.
        rewind_share: of these epochs spent on the other node, lambda.
        evaluate_at: what state a round ends with: `"after_exchange"`, models have moved
            and node j holds the one it received; `"after_training"`, they have not yet.
        average_statistics: average running statistics of normalization too, beside the
            parameters; the authors' code does not.

    Raises:
        ValueError: a value out of range, or two that do not go together.

    Example:
        >>> Protocol().phases
        (8, 1, 1)
        >>> Protocol(rewind="none").phases
        (10, 0, 0)

    Source: Palazzo et al., FedRewind, ICPR 2024, equations 2 to 4. The lines of its
    algorithm 1 are in another order and use a model before it is there.
    """

    topology: str = "cwt"
    rewind: str = "previous"
    epochs: int = 10
    rewind_share: float = SHARE
    evaluate_at: str = "after_exchange"
    average_statistics: bool = True

    def __post_init__(self) -> None:
        _checks.one_of(
            OWNER,
            self,
            topology=TOPOLOGIES,
            rewind=REWINDS,
            evaluate_at=WHEN,
        )
        positive(OWNER, epochs=self.epochs)
        if self.topology in ("standalone", "joint") and self.rewind != "none":
            raise ValueError(
                f"{OWNER}: `rewind` must be 'none' with topology={self.topology!r}, "
                f"where models visit no other node, got {self.rewind!r}"
            )
        if self.topology == "fedavg" and self.rewind == "previous":
            raise ValueError(
                f"{OWNER}: `rewind` must be 'random' or 'none' with topology='fedavg': "
                "an averaged model has no previous node, and the paper's FedAvg with "
                "rewind draws one; got 'previous'"
            )
        if not self.average_statistics and self.topology != "fedavg":
            raise ValueError(
                f"{OWNER}: `average_statistics` must be left as it is with "
                f"topology={self.topology!r}, which averages nothing, got False"
            )
        if not 0 <= self.rewind_share < 0.5:
            raise ValueError(
                f"{OWNER}: `rewind_share` must be in [0, 0.5), got {self.rewind_share}"
            )
        if self.rewind == "none" and self.rewind_share not in (0, SHARE):
            raise ValueError(
                f"{OWNER}: `rewind_share` must be left as it is with rewind='none', "
                f"which has no use for it, got {self.rewind_share}"
            )
        first, back, _ = self.phases
        if first < 1:
            raise ValueError(
                f"{OWNER}: `epochs` must leave one before the rewind, got {self.epochs}"
                f", of which {back} are to rewind and {back} to close with"
            )

    @property
    def phases(self) -> tuple[int, int, int]:
        """Epochs at the own node, at the other one, and at the own node again.

        `(E - 2 r, r, r)` with `r = ceil(lambda E)`; they always add up to E.
        """
        if self.rewind == "none":
            return self.epochs, 0, 0
        # A share such as 0.7 / 7 is a rounding error above the epoch that is meant.
        back = math.ceil(self.rewind_share * self.epochs - 1e-9)
        return self.epochs - 2 * back, back, back

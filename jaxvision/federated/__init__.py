"""Federations: nodes with data of their own, models that travel between them."""

from jaxvision.federated.protocol import Protocol as Protocol
from jaxvision.federated.routing import average as average
from jaxvision.federated.routing import derangement as derangement
from jaxvision.federated.routing import inverse as inverse
from jaxvision.federated.routing import ring as ring
from jaxvision.federated.routing import send as send
from jaxvision.federated.simulation import accuracy_matrix as accuracy_matrix
from jaxvision.federated.simulation import federated_task as federated_task
from jaxvision.federated.training import Learner as Learner
from jaxvision.federated.training import train_node as train_node
from jaxvision.federated.training import train_nodes as train_nodes


__all__ = [
    "Protocol", "federated_task", "accuracy_matrix",
    "Learner", "train_node", "train_nodes",
    "ring", "derangement", "inverse", "send", "average",
]  # fmt: skip

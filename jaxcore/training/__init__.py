"""One loop for every task: on one device, many devices, many processes.

A `Task` is a few pure functions; `fit` runs it, saves it, logs it, and ends it without
loss. Inside a step, `value_and_grad` and its companions make the numbers independent of
the number of devices.
"""

from jaxcore.training.checkpoint import Checkpoint as Checkpoint
from jaxcore.training.checkpoint import CheckpointError as CheckpointError
from jaxcore.training.compare import read_log as read_log
from jaxcore.training.compare import runs as runs
from jaxcore.training.data import ArrayBatches as ArrayBatches
from jaxcore.training.data import Batches as Batches
from jaxcore.training.data import FunctionBatches as FunctionBatches
from jaxcore.training.ema import Ema as Ema
from jaxcore.training.gradients import value_and_grad as value_and_grad
from jaxcore.training.initial import initial_state as initial_state
from jaxcore.training.logging import Log as Log
from jaxcore.training.loop import fit as fit
from jaxcore.training.parallel import axis_name as axis_name
from jaxcore.training.parallel import batch_moments as batch_moments
from jaxcore.training.parallel import device_key as device_key
from jaxcore.training.parallel import masked_mean as masked_mean
from jaxcore.training.parallel import mean_over_devices as mean_over_devices
from jaxcore.training.parallel import row_keys as row_keys
from jaxcore.training.parallel import shared_key as shared_key
from jaxcore.training.parallel import split_over_devices as split_over_devices
from jaxcore.training.task import Interrupted as Interrupted
from jaxcore.training.task import NonFiniteError as NonFiniteError
from jaxcore.training.task import Progress as Progress
from jaxcore.training.task import Result as Result
from jaxcore.training.task import StorageError as StorageError
from jaxcore.training.task import Task as Task


__all__ = [
    "Task", "fit", "Result", "Progress", "initial_state",
    "value_and_grad", "mean_over_devices", "masked_mean", "batch_moments",
    "row_keys", "shared_key", "device_key", "axis_name", "split_over_devices",
    "Batches", "ArrayBatches", "FunctionBatches",
    "Ema", "Checkpoint", "Log", "runs", "read_log",
    "Interrupted", "NonFiniteError", "StorageError", "CheckpointError",
]  # fmt: skip

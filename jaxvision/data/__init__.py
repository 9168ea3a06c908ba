"""Images from folders and files of the user, synthetic ones, and augmentation."""

from jaxvision.data.augment import affine as affine
from jaxvision.data.augment import distort as distort
from jaxvision.data.augment import flip as flip
from jaxvision.data.augment import normalize as normalize
from jaxvision.data.augment import resized_crop as resized_crop
from jaxvision.data.augment import shift_crop as shift_crop
from jaxvision.data.augment import standardize as standardize
from jaxvision.data.celeba import read_celeba as read_celeba
from jaxvision.data.classes import balance_classes as balance_classes
from jaxvision.data.files import read_cifar as read_cifar
from jaxvision.data.files import read_idx as read_idx
from jaxvision.data.files import read_images as read_images
from jaxvision.data.files import read_mnist as read_mnist
from jaxvision.data.files import read_npz as read_npz
from jaxvision.data.files import splits_of as splits_of
from jaxvision.data.folders import DataError as DataError
from jaxvision.data.folders import read_image_folder as read_image_folder
from jaxvision.data.folders import read_segmentation_folder as read_segmentation_folder
from jaxvision.data.intensity import blur as blur
from jaxvision.data.intensity import brightness as brightness
from jaxvision.data.intensity import contrast as contrast
from jaxvision.data.intensity import gamma as gamma
from jaxvision.data.intensity import low_resolution as low_resolution
from jaxvision.data.intensity import noise as noise
from jaxvision.data.partition import partition_dirichlet as partition_dirichlet
from jaxvision.data.partition import partition_iid as partition_iid
from jaxvision.data.partition import split_local as split_local
from jaxvision.data.partition import stack_nodes as stack_nodes
from jaxvision.data.partition import task_schedule as task_schedule
from jaxvision.data.splits import stratified_split as stratified_split
from jaxvision.data.synthetic import synthetic_gaussians as synthetic_gaussians
from jaxvision.data.synthetic import synthetic_rings as synthetic_rings
from jaxvision.data.synthetic_fruit import synthetic_fruit as synthetic_fruit


__all__ = [
    "read_images", "read_image_folder", "read_segmentation_folder",
    "read_idx", "read_mnist", "read_cifar", "read_celeba", "read_npz",
    "splits_of", "DataError",
    "synthetic_rings", "synthetic_gaussians", "synthetic_fruit",
    "stratified_split", "balance_classes",
    "standardize", "normalize", "flip", "shift_crop", "resized_crop",
    "affine", "distort",
    "partition_dirichlet", "partition_iid", "split_local", "stack_nodes",
    "task_schedule",
    "brightness", "contrast", "gamma", "noise", "blur", "low_resolution",
]  # fmt: skip

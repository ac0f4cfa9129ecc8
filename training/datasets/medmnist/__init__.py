"""MedMNIST: the published sets, their download, and reading their files."""

from training.datasets.medmnist.archive import is_published, read_medmnist
from training.datasets.medmnist.download import download_medmnist
from training.datasets.medmnist.published import MD5

__all__ = ["MD5", "download_medmnist", "is_published", "read_medmnist"]

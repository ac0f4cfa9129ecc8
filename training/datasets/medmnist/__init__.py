"""MedMNIST: what is published, how it is fetched, and how its files are read."""

from training.datasets.medmnist.archive import is_published, read_medmnist
from training.datasets.medmnist.download import download_medmnist
from training.datasets.medmnist.published import MD5

__all__ = ["MD5", "download_medmnist", "is_published", "read_medmnist"]

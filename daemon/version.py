"""The installed version."""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("ptycholive")
except PackageNotFoundError:
    VERSION = "0"

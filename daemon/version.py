"""The version of what is installed."""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("ptycholive")
except PackageNotFoundError:
    VERSION = "0"

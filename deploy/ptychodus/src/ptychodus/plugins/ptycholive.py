"""Found by ptychodus among its plug-ins: adds Ptycholive's reconstructors and loads the products of its daemon."""

from pathlib import Path

from ptychodus.api.plugins import PluginRegistry
from ptychodus.api.workflow import FileBasedWorkflow, WorkflowAPI
from ptycholive_ptychodus.library import add_to_ptychodus


class PtycholiveProducts(FileBasedWorkflow):
    """Loads each product that a daemon writes into its output directory, when its scan has ended."""

    @property
    def is_watch_recursive(self) -> bool:
        """Each scan has a folder of its own."""
        return True

    def get_watch_file_pattern(self) -> str:
        """Return the name of final products; those of running scans have a number in it."""
        return "product.h5"

    def execute(self, api: WorkflowAPI, file_path: Path) -> None:
        """Load a product."""
        api.load_product(file_path)


def register_plugins(registry: PluginRegistry) -> None:
    """Register what this distribution brings; ptychodus calls it at start."""
    registry.file_based_workflows.register_plugin(
        PtycholiveProducts(), simple_name="Ptycholive", display_name="Ptycholive products"
    )
    add_to_ptychodus()

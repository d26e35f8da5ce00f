"""The library of reconstructors, and how it gets into ptychodus.

ptychodus 1.7 finds file formats and workflows by plug-in, but names its reconstructor libraries in the constructor of its
core. So the plug-in puts a processing core with one library more in the place where that constructor looks for it.
"""

import inspect
import logging
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from ptychodus.api.reconstruct import Reconstructor, ReconstructorLibrary
from ptychodus.api.settings import SettingsRegistry

from ptycholive_ptychodus.batch import BatchReconstructor
from ptycholive_ptychodus.live import LiveReconstructor
from ptycholive_ptychodus.settings import PtycholiveSettings

logger = logging.getLogger("ptycholive")
CORE = "ptychodus.model.core"
PARAMETERS = ["task_manager", "settings_registry", "product_api", "algorithm_libraries"]


class PtycholiveLibrary(ReconstructorLibrary):
    """Lift, CNN and Live."""

    def __init__(self, registry: SettingsRegistry) -> None:
        super().__init__("ptycholive")
        settings = PtycholiveSettings(registry)
        self._reconstructors: list[Reconstructor] = [
            BatchReconstructor("Lift", "shipped", settings),
            BatchReconstructor("CNN", "", settings),
            LiveReconstructor(settings),
        ]

    @property
    def name(self) -> str:
        """The name before the reconstructors' in lists and settings."""
        return "Ptycholive"

    def __iter__(self) -> Iterator[Reconstructor]:
        return iter(self._reconstructors)


def add_to_ptychodus() -> bool:
    """Add the library to every core that is made from now on; whether that was possible."""
    core = sys.modules.get(CORE)
    usual = getattr(core, "ProcessingCore", None)
    if usual is None:
        return False  # plug-ins are loaded without a core: there is nothing to reconstruct with
    if hasattr(usual, "has_ptycholive"):
        return True
    if list(inspect.signature(usual).parameters) != PARAMETERS:
        logger.warning("this version of ptychodus takes no further reconstructors; update ptycholive-ptychodus")
        return False

    class ProcessingCore(usual):  # type: ignore[misc, valid-type]
        has_ptycholive = True

        def __init__(
            self,
            task_manager: Any,
            settings_registry: SettingsRegistry,
            product_api: Any,
            algorithm_libraries: Sequence[ReconstructorLibrary],
        ) -> None:
            libraries = [*algorithm_libraries, PtycholiveLibrary(settings_registry)]
            super().__init__(task_manager, settings_registry, product_api, libraries)

    core.ProcessingCore = ProcessingCore  # type: ignore[union-attr]
    return True

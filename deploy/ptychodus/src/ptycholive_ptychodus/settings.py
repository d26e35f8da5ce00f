"""What a user can set, in ptychodus' settings file under ``[Ptycholive]``."""

import os

from ptychodus.api.observer import Observable, Observer
from ptychodus.api.settings import SettingsRegistry

COMMAND_VARIABLE = "PTYCHOLIVE_COMMAND"


class PtycholiveSettings(Observable, Observer):
    """Settings of all reconstructors."""

    def __init__(self, registry: SettingsRegistry) -> None:
        super().__init__()
        self._group = registry.create_group("Ptycholive")
        self._group.add_observer(self)
        text, whole = self._group.create_string_parameter, self._group.create_integer_parameter
        self.command = text("command", os.environ.get(COMMAND_VARIABLE, "ptycholive"))
        self.looks = whole("looks", 2, minimum=1, maximum=4)
        self.sweeps = whole("sweeps", 10, minimum=0)
        self.epochs = whole("epochs", 50, minimum=1)
        self.training_settings = text("training_settings", "")
        self.url = text("url", "http://127.0.0.1:8080")
        self.scan = text("scan", "")
        self.token_file = text("token_file", "")
        self.period_s = self._group.create_real_parameter("period_s", 1.0, minimum=0.05)
        self.timeout_s = self._group.create_real_parameter("timeout_s", 60.0, minimum=1.0)

    def _update(self, observable: Observable) -> None:
        if observable is self._group:
            self.notify_observers()

"""The beam monitor's values of the frames of one scan, as the engine asked for them: the join forgets those of finished scans."""

from __future__ import annotations

from collections.abc import Callable


class MonitorLights:
    """Values by frame index; without ``light_of`` there are none."""

    def __init__(self, scan_id: str, light_of: Callable[[str, int], float | None] | None) -> None:
        self._scan_id = scan_id
        self._light_of = light_of
        self._known: dict[int, float | None] = {}

    def get(self, index: int) -> float | None:
        """Return the value of a frame; None if the monitor has none."""
        if self._light_of is None:
            return None
        if index not in self._known:
            self._known[index] = self._light_of(self._scan_id, index)
        return self._known[index]

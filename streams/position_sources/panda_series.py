"""Converts the messages of MAX IV's PandA relay to the form of :mod:`streams.position_sources.panda`.

Every message has a ``message_id``, one more than the last. ``message_type`` is ``series-start``; ``data``, with
``frame_number``, the number of the first sample, and a list of samples for each channel under its name; or ``series-end``.
"""

from __future__ import annotations

__all__ = ["SeriesForm"]

_KINDS = {"series-start": "start", "data": "data", "series-end": "stop"}


class SeriesForm:
    """Converts the messages of one stream; messages with ``msg_type`` have the other form already."""

    def __init__(self) -> None:
        self._start_id: int | None = None

    def __call__(self, message: dict[str, object]) -> dict[str, object]:
        """Return the message in the other form; a message of unknown type is returned unchanged."""
        kind = message.get("message_type")
        if "msg_type" in message or not isinstance(kind, str) or kind not in _KINDS:
            return message
        number = message.get("message_id")
        if kind == "series-start":
            self._start_id = number if type(number) is int else None
        if kind == "data":
            first = message.get("frame_number")
            columns = {key: value for key, value in message.items() if isinstance(value, list)}
            datasets = {key: {"data": value, "starting_sample_number": first} for key, value in columns.items()}
            return {"msg_type": "data", "frame_number": number, "datasets": datasets}
        return {"msg_type": _KINDS[kind], "emitted_frames": self._sent(number) if kind == "series-end" else None}

    def _sent(self, end_id: object) -> int | None:
        """Return the number of data messages of a series; ``None`` if its start was lost."""
        start_id, self._start_id = self._start_id, None
        if start_id is None or type(end_id) is not int or end_id <= start_id:
            return None
        return end_id - start_id - 1

"""The shape of every JSON and msgpack map that the daemon sends: :mod:`ptycholive_client.messages`, described for OpenAPI."""

from typing_extensions import is_typeddict

import ptycholive_client.messages
from daemon.messages.account import verdict_fields
from ptycholive_client.messages import *  # noqa: F403 - the same names
from ptycholive_client.messages import __all__ as _shapes

__all__ = [*_shapes, "verdict_fields"]

for _name in _shapes:
    if is_typeddict(_shape := getattr(ptycholive_client.messages, _name)):
        _shape.__pydantic_config__ = {"use_attribute_docstrings": True}

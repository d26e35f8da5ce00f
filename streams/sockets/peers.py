"""The state of a socket's connections: :mod:`ptycholive_client.peers`, which viewers use too."""

from ptycholive_client.peers import EVENTS, Peers, drain, has_input

__all__ = ["EVENTS", "Peers", "drain", "has_input"]

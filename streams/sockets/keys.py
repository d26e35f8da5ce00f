"""CURVE keys of senders and receivers: :mod:`ptycholive_client.keys`, which viewers use too."""

from ptycholive_client.keys import AllowList, CurveKeys, KeyFiles, make_keys, read_keys

__all__ = ["AllowList", "CurveKeys", "KeyFiles", "make_keys", "read_keys"]

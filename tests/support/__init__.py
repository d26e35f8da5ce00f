"""What tests share: rigs, scenes, senders, browsers, environments."""

from pathlib import Path

SUPPORT = Path(__file__).parent

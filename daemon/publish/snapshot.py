"""A picture (``LayerCanvas``) and a change of it (``LayerUpdate``): :mod:`ptycholive_client.pictures`, which viewers use too."""

from ptycholive_client.messages import LayerName
from ptycholive_client.pictures import LayerUpdate, Region, apply_update, copied, regrow
from ptycholive_client.pictures import Picture as LayerCanvas

__all__ = ["LayerCanvas", "LayerName", "LayerUpdate", "Region", "apply_update", "copied", "regrow"]

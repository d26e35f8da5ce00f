"""Several looks at a neighbourhood: each further look starts from the patches stitched so far."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ptychopinn.model.network import predict_look, stitched_start
from ptychopinn.training.overlap_loss import Neighbourhood


def predict_last_look(network: nn.Module, seen: Neighbourhood, looks: int, projections: int) -> Tensor:
    """Return the patches ``(G, M, N, N)`` complex64 of the last of ``looks`` looks.

    Only the last look has gradients: the earlier ones provide its start, so a step costs little more with more looks.
    """
    start: Tensor | None = None
    support: Tensor | None = None
    with torch.no_grad():
        for _ in range(looks - 1):
            patches = predict_look(network, seen.optics, seen.amplitude, start, support, projections=projections)
            start, support = stitched_start(patches, seen.overlap, seen.optics)
    return predict_look(network, seen.optics, seen.amplitude, start, support, projections=projections)

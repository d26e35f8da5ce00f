"""Reassembly of a picture from the patches and positions of any model."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ptychopinn.errors import GeometryError
from ptychopinn.mosaic.mosaic import Mosaic
from ptychopinn.workflow.inference import Reconstruction


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A stitched object.

    Parameters
    ----------
    object : (H, W) complex64
        0 where there is no patch.
    weight : (H, W) float32
        1 = one frame at the probe's brightest pixel.
    origin_px
        Position [y, x] of pixel (0, 0) in the object's frame.
    frames
        Number of stitched frames.
    rfactors
        R-factor after each look; empty if patterns were not compared.
    refused
        Reasons of refused frames, by their number in the scan.
    window_px
        Width of the border that :meth:`cropped` removes.
    """

    object: NDArray[np.complex64]
    weight: NDArray[np.float32]
    origin_px: tuple[int, int]
    frames: int
    rfactors: tuple[float, ...] = ()
    refused: dict[int, str] = field(default_factory=dict)
    window_px: int = 0

    @classmethod
    def of(
        cls, mosaic: Mosaic, frames: int, rfactors: tuple[float, ...] = (), refused: dict[int, str] | None = None
    ) -> Picture:
        """Return the current picture of a mosaic."""
        value, weight = (plane.cpu().numpy() for plane in mosaic.read())
        return cls(
            object=value,
            weight=weight,
            origin_px=mosaic.origin_px,
            frames=frames,
            rfactors=rfactors,
            refused=refused or {},
        )

    @classmethod
    def of_reconstruction(cls, found: Reconstruction, frames: int) -> Picture:
        """Return the picture of a whole scan of ``frames`` frames."""
        return cls.of(found.mosaic, frames - len(found.refused), tuple(found.rfactors), found.refused)

    def cropped(self, window_px: int | None = None) -> Picture:
        """Return the picture without a border; None: of :attr:`window_px`, the engine's ``InferenceConfig.window``.

        Raises
        ------
        GeometryError
            If nothing is left.
        """
        height, width = self.object.shape
        window_px = self.window_px if window_px is None else window_px
        if window_px < 0 or 2 * window_px >= min(height, width):
            raise GeometryError(
                f"a border of {window_px} px leaves nothing of {height} x {width} px; set a smaller window"
            )
        kept = slice(window_px, height - window_px), slice(window_px, width - window_px)
        y, x = self.origin_px
        return replace(
            self, object=self.object[kept], weight=self.weight[kept], origin_px=(y + window_px, x + window_px)
        )


def patch_weight(probe: Tensor, weighting: str = "probe", trim_px: int | None = None) -> Tensor:
    """Return the weight ``(N, N)`` float32 of a patch's pixels.

    Parameters
    ----------
    probe : (modes, N, N) complex64
    weighting
        ``probe``: its intensity, modes summed; ``uniform``: 1.
    trim_px
        Side of the square around pixel N/2 that is used; None: the whole patch.
    """
    weight = probe.abs().square().sum(0)
    if weighting == "uniform":
        weight = torch.ones_like(weight)
    if trim_px is not None:
        side = weight.shape[-1]
        if not 1 <= trim_px <= side:
            raise GeometryError(f"the middle of {trim_px} px is not within patches of {side} px; give 1 to {side}")
        first = side // 2 - trim_px // 2
        kept = torch.zeros_like(weight)
        kept[first : first + trim_px, first : first + trim_px] = 1.0
        weight = weight * kept
    if not bool((weight > 0).any()):
        raise GeometryError("the probe is zero where patches are stitched; give another probe or a larger middle")
    return weight


def stitch(patches: ArrayLike, positions_px: ArrayLike, weight: ArrayLike | None = None) -> Picture:
    """Return the picture of patches.

    Parameters
    ----------
    patches : (n, N, N) complex
        Or groups ``(g, C, N, N)`` with positions ``(g, C, 2)``.
    positions_px : (n, 2)
        [y, x]; patch pixel N/2 is at the position.
    weight : (N, N), optional
        Weight of the pixels of a patch (:func:`patch_weight`); None: 1.

    Raises
    ------
    GeometryError
        If shapes do not fit together, or no patch can be laid.
    """
    laid = torch.as_tensor(np.asarray(patches, dtype=np.complex64))
    places = np.asarray(positions_px, dtype=np.float64)
    if laid.ndim == 4:
        laid, places = laid.flatten(0, 1), places.reshape(-1, places.shape[-1])
    if laid.ndim != 3 or laid.shape[1] != laid.shape[2] or places.shape != (len(laid), 2):
        raise GeometryError(
            f"patches {tuple(laid.shape)} and positions {places.shape} do not fit together; give (n, N, N) and (n, 2)"
        )
    even = torch.ones(laid.shape[1:]) if weight is None else torch.as_tensor(np.asarray(weight, dtype=np.float32))
    mosaic = Mosaic(even)
    refused: dict[int, str] = {**mosaic.add(range(len(laid)), laid, places)}
    if len(refused) == len(laid):
        reasons = ", ".join(sorted(set(refused.values()))) or "there is none"
        raise GeometryError(f"none of the {len(laid)} patches can be stitched ({reasons}); check patches and positions")
    return Picture.of(mosaic, len(laid) - len(refused), refused=refused)

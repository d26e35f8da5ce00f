"""Sections on the reconstruction: model, mosaic, diagnosis, fine-tuning, refinement."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from daemon.config.base import Count, Positive, Section


class ModelOptions(Section):
    """The network layer."""

    bundle: str = Field("shipped", description="Model: a name, a file, shipped, or none (the lift without a network).")
    device: str = Field("auto", description="Device: auto, cpu, cuda or cuda:N.")
    threads: Annotated[int, Field(ge=0)] = Field(0, description="CPU threads of the engine; 0: all cores but one.")
    batch_frames: Count = Field(32, description="Largest number of frames in a batch.")
    batch_timeout_s: Positive = Field(
        0.05,
        description="Longest time that an idle engine waits for the next frame before it checks for other work, s.",
    )
    gridsize: Literal[1, 2] = Field(1, description="Number of frames in a group is gridsize squared.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="Number type of the lift's network; auto selects bfloat16 on a GPU that supports it."
    )
    projections: Annotated[int, Field(ge=1, le=16)] = Field(
        2, description="Number of projections of the lift without a network; a bundle defines its own."
    )


class MosaicOptions(Section):
    """The stitched object."""

    weighting: Literal["probe"] = Field("probe", description="Weight of the patches: the probe's intensity.")
    max_side_px: Count = Field(16384, description="Largest side of the mosaic, px; frames outside it are refused.")
    keep_patch_bytes: Annotated[int, Field(ge=0)] = Field(
        256 << 20, description="Memory for patches of all open scans that later looks can replace, bytes."
    )
    box_m: tuple[float, float, float, float] | None = Field(
        None,
        description="[top, left, bottom, right] of the positions, m: pictures have this size from the first frame on. "
        "Frames outside it still enlarge them.",
    )

    @model_validator(mode="after")
    def _has_a_box_with_an_area(self) -> MosaicOptions:
        if self.box_m is not None and not (self.box_m[0] < self.box_m[2] and self.box_m[1] < self.box_m[3]):
            raise ValueError(f"box_m = {list(self.box_m)} has no area; give [top, left, bottom, right], top < bottom")
        return self


class Diagnosis(Section):
    """Test whether patterns, positions and probe of a scan fit together."""

    enabled: bool = Field(True, description="Test the first frames of each scan and report misfits with numbers.")
    auto_fix: bool = Field(False, description="Also correct misfits, in the scan and in later ones.")
    frames: Annotated[int, Field(ge=16, le=1000)] = Field(50, description="Number of frames for the first test.")


class Finetune(Section):
    """Background fine-tuning."""

    enabled: bool = Field(True, description="Fine-tune the model on the frames of running scans in a separate process.")
    buffer_frames: Annotated[int, Field(ge=64)] = Field(2000, description="Number of frames kept for training.")
    device_share: Annotated[float, Field(gt=0, le=1)] = Field(
        0.5, description="Largest share of the device time; on a CPU, training runs at the lowest priority."
    )
    promote_if: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.002, description="Promote a candidate if its R-factor on held-out frames is lower by this relative amount."
    )
    rate: Positive = Field(3e-4, description="Initial learning rate; halved after each discarded candidate.")


class Refine(Section):
    """The refined layer."""

    enabled: bool = Field(True, description="Compute the refined layer during the scan.")
    buffer_bytes: Count = Field(
        512 << 20,
        description="Memory for patterns of the refined layers of all open scans, bytes; the oldest are dropped first.",
    )
    update_probe: bool = Field(True, description="Refine the probe too.")
    modes: Annotated[int, Field(ge=1, le=16)] | Literal["auto"] | None = Field(
        None,
        description="Number of modes of the refined probe; new ones are found from the frames. auto: as in the probe file, and "
        "up to 6 where more lower the misfit of frames held out. Default: as in the probe file.",
    )
    beam_drift: Literal["off", "auto"] = Field(
        "off",
        description="auto: let the refined probe change slowly during the scan, where that lowers the misfit of frames held out.",
    )
    frame_light: bool | Literal["monitor"] = Field(
        False,
        description="Factor for the beam's intensity in each frame: true: found from the frames; monitor: measured, by "
        "[positions] monitor_channel; false: constant.",
    )
    exposure_share: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0,
        description="For fly scans: share of the time from frame to frame that is exposed while the stage moves; the blur is "
        "then computed. 0: the stage stands.",
    )
    subpixel: bool = Field(False, description="Use subpixel positions; otherwise positions are rounded to pixels.")
    position_bound_px: Annotated[float, Field(ge=0, le=16)] = Field(
        0.0, description="Largest position correction, px; 0 disables it, other values imply subpixel."
    )
    correct_positions: Literal["off", "auto", "on"] = Field(
        "auto",
        description="Find the true positions from the frames: never, where a test of the first frames says that they are "
        "wrong (by [diagnosis] enabled), or always.",
    )
    finish_s: Annotated[float, Field(ge=0)] = Field(
        1.5, description="Longest time for refinement between the end of a scan and its product, s."
    )
    improve_s: Annotated[float, Field(ge=0)] = Field(
        10.0, description="Longest time for further refinement after that, s; a better product then replaces the first."
    )
    engine: Literal["own", "pty-chi"] = Field(
        "own", description="pty-chi: also reconstruct each finished scan with LSQML of pty-chi."
    )
    engine_python: Path | None = Field(None, description="Python executable of the environment with pty-chi.")
    engine_epochs: Count = Field(100, description="Number of epochs of pty-chi.")

    @model_validator(mode="after")
    def _corrects_positions_with_one_probe(self) -> Refine:
        for key, is_set in (("beam_drift", self.beam_drift != "off"), ("exposure_share", self.exposure_share > 0)):
            if is_set and self.position_bound_px > 0:
                raise ValueError(
                    f"{key} and position_bound_px > 0 cannot be used together: the small corrections assume one probe "
                    "for all frames; set one of them to its default (correct_positions may stay on)"
                )
        return self

    @model_validator(mode="after")
    def _has_a_python_for_the_engine(self) -> Refine:
        if self.engine != "own" and self.engine_python is None:
            raise ValueError(
                f'engine = "{self.engine}" requires engine_python, the Python of the environment with pty-chi'
            )
        return self

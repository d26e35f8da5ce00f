"""A cnn, its inputs and its losses, as PtychoPINN's own numbers were made with."""

from __future__ import annotations

import torch
from torch import Tensor

from ptychopinn.model import cnn_scaling as scaling
from ptychopinn.model.cnn import TrainableCnn
from ptychopinn.model.cnn_options import CnnOptions, PhysicsOptions
from ptychopinn.training.losses import LossSettings
from tests.support.cnn_fill import filled
from tests.support.cnn_scenes import PHYSICS, scales, scene


def setting(case: str) -> tuple[TrainableCnn, dict[str, Tensor], Tensor, Tensor, LossSettings]:
    options, physics, loss, modes = PHYSICS[case]
    net = TrainableCnn(CnnOptions(**{"width_factor": 1, **options}), PhysicsOptions(**physics)).eval()
    net.load_state_dict({**filled(net.state_dict()), **scales(net.physics.datasets)})
    probe, amplitude, offsets = scene(net.options.members, modes)
    mask = scaling.soft_probe_mask(64) if net.physics.has_probe_mask else None
    normalised, q = scaling.normalise_probe(probe, 4.0, mask)
    group = {
        "images": amplitude,
        "coords_relative": offsets,
        "experiment_id": torch.tensor([0, net.physics.datasets - 1]),
    }
    if net.physics.regime == "counts":
        found = scaling.CountStatistics.of(amplitude.square())
        group["rms_input_scale"] = torch.full((2, 1, 1, 1), found.rms_input_scale)
        group["mean_measured_intensity"] = torch.full((2, 1, 1, 1), found.mean_measured_intensity)
    else:
        rms, factor = scaling.amplitude_factors(amplitude)
        group |= {"rms_scaling_constant": rms.expand(2, 1, 1, 1), "physics_scaling_constant": factor.expand(2, 1, 1, 1)}
    return net, group, normalised[None, None], torch.full((2, 1, 1, 1), q), LossSettings(**loss)

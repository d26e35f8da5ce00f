"""Make ``cnn_family_golden.json``: what PtychoPINN's own code gives, run from a checkout of it.

``PYTHONPATH=CHECKOUT python -m tests.data.make_cnn_family_golden`` in an environment that has PtychoPINN's requirements; commit
712c23f3bb65 was used. Nothing of it is kept but the numbers.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path
from unittest.mock import MagicMock

HERE = Path(__file__).parent
for absent in ("mlflow", "mlflow.pytorch", "mlflow.tracking"):
    sys.modules[absent] = MagicMock()

import ptycho_torch.helper as upstream_helper  # noqa: E402
import torch  # noqa: E402
from ptycho_torch.config_params import DataConfig, InferenceConfig, ModelConfig, TrainingConfig  # noqa: E402
from ptycho_torch.model import PtychoPINN_Lightning  # noqa: E402
from ptycho_torch.probe_mask import make_soft_probe_mask_torch  # noqa: E402
from ptycho_torch.scaling_contract import derive_ci_experiment_statistics  # noqa: E402
from tensordict import TensorDict  # noqa: E402

from tests.support.cnn_fill import filled, patterns, sampled  # noqa: E402
from tests.support.cnn_scenes import NETWORKS, PHYSICS, digest, scales, scene, upstream_configs  # noqa: E402

SAMPLES = 16
REGIMES = {
    "amplitude": ("rms_scaling_constant", "physics_scaling_constant"),
    "counts": ("rms_input_scale", "mean_measured_intensity"),
}


def rounded(values: torch.Tensor) -> list[list[float]]:
    return [[round(a, 8), round(b, 8)] for a, b in sampled(values)[:SAMPLES]]


def build(network: dict, physics: dict, loss: dict) -> torch.nn.Module:
    model, data = upstream_configs(network, physics, loss)
    training = {"torch_loss_mode": "mae", "nll": False} if loss.get("loss_function") == "MAE" else {}
    with contextlib.redirect_stdout(io.StringIO()):
        made = PtychoPINN_Lightning(
            ModelConfig(**model), DataConfig(**data), TrainingConfig(**training), InferenceConfig()
        ).eval()
    made.load_state_dict(filled(made.state_dict()))
    return made


def network_numbers(network: dict) -> dict:
    made = build(network, {}, {})
    members, size = network.get("members", 1), network.get("size_px", 64)
    positions, factor = torch.zeros(2, members, 1, 2), torch.full((2, 1, 1, 1), 0.7)
    patches = made.forward_predict(patterns(size, members), positions, None, factor)
    return {
        "names": digest(n.removeprefix("model.") for n in made.state_dict()),
        "parameters": sum(p.numel() for p in made.parameters()),
        "values": rounded(patches),
    }


def physics_numbers(network: dict, physics: dict, loss: dict, modes: int) -> dict:
    made = build(network, physics, loss)
    datasets = physics.get("datasets", 1)
    made.load_state_dict({f"model.{k}": v for k, v in scales(datasets).items()}, strict=False)
    members = network.get("members", 1)
    probe, amplitude, offsets = scene(members, modes)
    normalised, q = upstream_helper.normalize_probe_like_tf(
        probe.numpy(), 4.0, probe_mask=physics.get("has_probe_mask", False)
    )
    illumination = torch.from_numpy(normalised)[None, None].expand(2, members, modes, 64, 64)
    fields = {
        "images": amplitude,
        "coords_relative": -offsets.flip(-1),
        "experiment_id": torch.tensor([0, datasets - 1]),
        "rms_scaling_constant": upstream_helper.get_rms_scaling_factor(amplitude, made.data_config).expand(2, 1, 1, 1),
        "physics_scaling_constant": upstream_helper.get_physics_scaling_factor(amplitude, made.data_config).expand(
            2, 1, 1, 1
        ),
    }
    if physics.get("regime") == "counts":
        counts = amplitude.square()
        found = derive_ci_experiment_statistics(counts, 64)
        for name in ("rms_input_scale", "mean_measured_intensity"):
            fields[name] = torch.as_tensor(getattr(found, name)).float().reshape(1, 1, 1, 1).expand(2, 1, 1, 1)
        fields |= {"images": counts, "measured_intensity": counts}
    probe_scaling = torch.full((2, 1, 1, 1), float(q))
    value = made.compute_loss((TensorDict(fields, batch_size=[2]), illumination, probe_scaling))
    value.backward()
    gradient = {n.removeprefix("model."): p.grad for n, p in made.named_parameters()}
    numbers = {
        "loss": float(value.detach()),
        "q": float(q),
        "gradient": rounded_gradient(gradient["autoencoder.encoder.blocks.2.conv2.weight"]),
        "factors": [float(fields[name].flatten()[0]) for name in REGIMES[physics.get("regime", "amplitude")]],
    }
    if physics.get("regime") != "counts":
        factor = fields["rms_scaling_constant"]
        with torch.no_grad():
            pattern = made.model(
                amplitude, fields["coords_relative"], illumination, factor, factor, fields["experiment_id"]
            )[0]
        numbers["pattern"] = rounded(pattern)
    return numbers


def rounded_gradient(gradient: torch.Tensor) -> list[float]:
    return [float(f"{v:.7g}") for v in gradient.flatten()[:: gradient.numel() // SAMPLES][:SAMPLES]]


def main() -> None:
    torch.set_num_threads(1)
    with torch.no_grad():
        networks = {name: network_numbers(options) for name, options in NETWORKS.items()}
    physics = {name: physics_numbers(*options) for name, options in PHYSICS.items()}
    mask = make_soft_probe_mask_torch(64)[::5, ::7]
    golden = {"networks": networks, "physics": physics, "mask": mask.tolist()}
    (HERE / "cnn_family_golden.json").write_text(json.dumps(golden))


if __name__ == "__main__":
    main()

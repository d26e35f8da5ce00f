"""Make ``cnn_golden.json``: what PtychoPINN's own network gives, run from a checkout of it, for ``test_cnn.py``.

``PYTHONPATH=CHECKOUT python -m tests.data.make_cnn_golden`` in an environment that has PtychoPINN's requirements; commit
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

import torch  # noqa: E402
from ptycho_torch.config_params import DataConfig, InferenceConfig, ModelConfig, TrainingConfig  # noqa: E402
from ptycho_torch.model import PtychoPINN_Lightning  # noqa: E402

from tests.support.cnn_fill import CASES, filled, patterns, sampled  # noqa: E402


def upstream(case: dict) -> torch.nn.Module:
    """Return upstream's model of a form."""
    size, members = case["size_px"], case["members"]
    side = 2 if members == 4 else 1
    data = {"N": size, "C": members, "grid_size": (side, side)}
    model = {
        "C_model": members,
        "C_forward": members,
        "object_big": members > 1,
        "n_filters_scale": case.get("width_factor", 1),
    }
    training = {}
    model["batch_norm"] = case.get("has_batch_norm", False)
    model["probe_big"] = case.get("has_border", True)
    model["cbam_encoder"] = case.get("has_attention", True)
    if case.get("output") == "cartesian":
        model |= {"cnn_output_mode": "real_imag"}
    with contextlib.redirect_stdout(io.StringIO()):
        return PtychoPINN_Lightning(
            ModelConfig(**model), DataConfig(**data), TrainingConfig(**training), InferenceConfig()
        ).eval()


def main() -> None:
    golden = {}
    for name, case in CASES.items():
        model = upstream(case)
        model.load_state_dict(filled(model.state_dict()))
        images = patterns(case["size_px"], case["members"])
        with torch.no_grad():
            patches = model.forward_predict(
                images, torch.zeros(2, case["members"], 1, 2), None, torch.full((2, 1, 1, 1), 0.7)
            )
        names = sorted(n.removeprefix("model.") for n in model.state_dict() if "autoencoder" in n)
        golden[name] = {"names": names, "values": sampled(patches)}
    (HERE / "cnn_golden.json").write_text(json.dumps(golden))


if __name__ == "__main__":
    main()

"""Settings of a training by name, measured in ``deploy/docs/reference/cnn.md``; a configuration overrides them."""

from __future__ import annotations

from ptychopinn.config.section import Sections

PRESETS: dict[str, Sections] = {
    "neighbourhoods": {
        "data_config": {"grid_size": [1, 1]},
        "model_config": {"object_big": False, "n_filters_scale": 1},
        "training_config": {
            "overlap_frames": 6,
            "batch_size": 1,
            "epochs": 4,
            "learning_rate": 5e-4,
            "scheduler": "WarmupCosine",
            "lr_min_ratio": 0.02,
            "gradient_clip_val": 1.0,
        },
    },
    "ptychopinn": {},
    "ptychopinn-ci": {
        "data_config": {"scale_contract_version": "ci_intensity_v2", "measurement_domain": "count_intensity"},
        "model_config": {
            "physics_forward_mode": "rectangular_scaled",
            "cnn_output_mode": "real_imag",
            "loss_function": "Poisson",
            "rect_s1s2_init": "data",
        },
    },
}
"""``neighbourhoods``: a frame and its five neighbours must agree on the object; ``ptychopinn``: PtychoPINN's own defaults;
``ptychopinn-ci``: its profile of absolute scale (the count regime)."""

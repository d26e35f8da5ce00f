"""Make a model bundle of a training folder.

``python deploy/training/make_bundle.py runs/lift ptychopinn/model/bundles/lift.zip``.

Beside the weights go the settings, the length of the training and the newest held-out scores of its log.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from ptychopinn.model.bundle import Bundle, write_bundle


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a model bundle of a training folder.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("output", type=Path)
    options = parser.parse_args()
    found = torch.load(options.folder / "network.pt", weights_only=True, map_location="cpu")
    log = [json.loads(line) for line in (options.folder / "log.jsonl").read_text().splitlines()]
    scores = [line for line in log if "heldout" in line]
    training = found["training"]
    bundle = Bundle(
        name="lift",
        architecture="lift-correction",
        options=found["architecture"],
        weights=found["weights"],
        configs={"training": training["settings"]},
        provenance={
            "data": "simulated scans alone (ptychopinn.simulate); no measured data",
            "command": "python deploy/training/train_lift.py",
            "steps": training["steps"],
            "patches": training["patches"],
            "minutes": training["minutes"],
            "heldout": scores[-1]["heldout"] if scores else {},
        },
    )
    options.output.parent.mkdir(parents=True, exist_ok=True)
    digest = write_bundle(options.output, bundle)
    print(f"{options.output}: {options.output.stat().st_size} bytes, weights {digest[:16]}")


if __name__ == "__main__":
    main()

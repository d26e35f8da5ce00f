"""Run by the environment that has ptychodus and our plug-in: does what a user of ptychodus does, prints JSON.

``ptychodus_plugin_side.py list``; ``... models MODEL FOLDER``; ``... train FOLDER``;
``... stream PATTERNS.npz URL``: prints two endpoints, waits for a line, then streams and follows.
"""

import json
import logging
import sys
import threading
from pathlib import Path

import numpy as np
from ptychodus.api.diffraction import SimpleDiffractionArray
from ptychodus.api.io import load_diffraction_data, load_product
from ptychodus.api.reconstruct import prepare_reconstruct_input
from ptychodus.model import ModelCore


def named(core, name):
    libraries = core.processing_core.algorithm_parameter._libraries
    (library,) = [one for one in libraries if one.name == "Ptycholive"]
    return next(r for r in library if r.name == name)


def inputs(folder):
    return prepare_reconstruct_input(
        load_diffraction_data(folder / "diffraction.h5"), load_product(folder / "product.h5")
    )


def say(**facts):
    print(json.dumps(facts), flush=True)


def list_all(core):
    workflows = [plugin.simple_name for plugin in core.plugin_registry.file_based_workflows]
    say(reconstructors=list(core.processing_core.algorithm_parameter.available_reconstructors()), workflows=workflows)


def models(core, model, folder):
    lift, cnn = named(core, "Lift"), named(core, "CNN")
    before = [lift.is_model_loaded(), cnn.is_model_loaded()]
    refusals = []
    for action in (
        lambda: next(cnn.reconstruct(inputs(folder))),
        lambda: cnn.load_model_from_file(folder / "none.zip"),
        lambda: next(cnn.train(folder / "empty", folder / "out")),
    ):
        try:
            action()
        except (RuntimeError, FileNotFoundError) as fault:
            refusals.append(str(fault))
    cnn.load_model_from_file(model)
    target = folder / f"saved{cnn.get_model_file_extension()}"
    cnn.save_model(target)
    product = next(cnn.reconstruct(inputs(folder))).product
    lift.export_training_data(folder / "training.npz", inputs(folder))
    say(
        before=before,
        after=cnn.is_model_loaded(),
        refusals=refusals,
        saved=target.stat().st_size,
        object_shape=list(product.object_.get_array().shape),
        positions=len(product.probe_positions),
    )


def train(core, folder):
    core.settings_registry.open_settings(folder / "settings.ini")
    cnn = named(core, "CNN")
    cnn.export_training_data(folder / "data" / "one.npz", inputs(folder))
    outputs = list(cnn.train(folder / "data", folder / "trained"))
    product = next(cnn.reconstruct(inputs(folder))).product
    finite = bool(np.isfinite(product.object_.get_array()).all())
    losses = [[loss.value for loss in outputs[-1].training_loss], [loss.value for loss in outputs[-1].validation_loss]]
    say(model=[path.name for path in (folder / "trained").iterdir()], finite=finite, losses=losses)


def stream(core, patterns, product):
    from ptycholive_ptychodus.tap import StreamTap

    with np.load(patterns) as archive:
        frames, positions_m = archive["frames"], archive["positions_m"]
    seen = []
    context = type("Context", (), {name: lambda self, *what: seen.append(what) for name in METHODS})()
    tap = StreamTap(context, "tapped", "tcp://127.0.0.1:*", "tcp://127.0.0.1:*")
    say(endpoints=tap.endpoints)
    url = sys.stdin.readline().strip()
    settings = core.settings_registry["Ptycholive"].parameters()
    settings["url"].set_value(url)
    settings["period_s"].set_value(0.05)
    from ptychodus.api.reconstruct import ReconstructInput

    live, given = named(core, "Live"), ReconstructInput(frames, None, load_product(product))
    followed = []
    follower = threading.Thread(target=lambda: followed.extend(live.reconstruct(given)))
    follower.start()
    tap.start()
    half = len(frames) // 2
    for part in (np.arange(half), np.arange(half, len(frames))):
        tap.append_array(SimpleDiffractionArray("part", part, frames[part]))
        tap.append_positions_x(positions_m[part, 1].tolist(), part.tolist())
        tap.append_positions_y(positions_m[part[::-1], 0].tolist(), part[::-1].tolist())
    waiting = tap.get_queue_size()
    tap.stop()
    follower.join()
    last = followed[-1]
    say(
        waiting=waiting,
        handed_on=len(seen),
        frames=last.progress,
        shape=list(last.product.object_.get_array().shape),
        center_m=[last.product.object_.get_center().y_m, last.product.object_.get_center().x_m],
    )


METHODS = ("start", "append_array", "append_positions_x", "append_positions_y", "stop")


def main():
    what, *paths = sys.argv[1:]
    core = ModelCore(log_level=logging.ERROR)
    {"list": list_all, "models": models, "train": train, "stream": stream}[what](core, *map(Path, paths))


if __name__ == "__main__":
    main()

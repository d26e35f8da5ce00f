"""The process that runs pty-chi for a given time: ``PYTHON ptychi_timed_side.py IN.npz OUT.npz``; for ``bench real``.

It returns the object at several times. The clock runs from the first epoch on, so loading the libraries does not count.
"""

# mypy: ignore-errors
from __future__ import annotations

import json
import sys
import time

from parent import end_with_parent  # beside this file

if __name__ == "__main__":
    end_with_parent()  # first: what follows takes seconds

import numpy as np  # noqa: E402
import torch  # noqa: E402
from ptychi_side import PtychographyTask, api, canvas_of, misfit_of, options_of  # noqa: E402  beside this file

METHODS = {"lsqml": api.LSQMLOptions, "rpie": api.RPIEOptions}
CLOCKS = {"wall": time.monotonic, "cpu": time.process_time}
BATCH = {"rpie": 1}
"""Frames of an update, where not as for LSQML: rPIE goes frame by frame (with 64 at once it diverged on the measured star)."""
FIRST_S, RATIO = 1.0, 1.6
"""Time of the first picture kept, and ratio of the times of two."""


def main(given, made):
    """Reconstruct; options: method, seconds, clock, threads, correct_positions."""
    with np.load(given, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    options = json.loads(str(arrays["options"]))
    torch.set_num_threads(options["threads"])
    corner, shape = canvas_of(arrays)
    settings = options_of(arrays, {"epochs": 1}, corner, shape, METHODS[options["method"]]())
    settings.reconstructor_options.batch_size = BATCH.get(options["method"], settings.reconstructor_options.batch_size)
    if options["correct_positions"]:
        settings.probe_position_options.optimizable = True
        settings.probe_position_options.optimizer = api.Optimizers.ADAM
        settings.probe_position_options.step_size = 1.0
    with PtychographyTask(settings) as task:
        cpu_begun = time.process_time()
        pictures, seconds, epochs = _run(task, options["seconds"], CLOCKS[options["clock"]])
        cpu_s = time.process_time() - cpu_begun
        places = np.asarray(task.get_data_to_cpu("probe_positions", as_numpy=True))
        misfit, total = misfit_of(task, arrays["amplitude"])
    np.savez(
        made,
        objects=np.stack(pictures).astype(np.complex64),
        seconds=np.array(seconds),
        epochs=epochs,
        origin_px=corner,
        positions_px=places,
        rfactor=misfit / total,
        cpu_s=cpu_s,
    )


def _run(task, budget_s, now):
    """Return the pictures kept, their times, and the number of epochs."""
    pictures, seconds, epochs, spent_s, next_s = [], [], 0, 0.0, FIRST_S
    while spent_s < budget_s or not pictures:
        begun = now()
        task.run(1)
        spent_s += now() - begun
        epochs += 1
        if spent_s >= min(next_s, budget_s):
            pictures.append(task.get_data_to_cpu("object", as_numpy=True)[0])
            seconds.append(spent_s)
            next_s = max(spent_s, next_s) * RATIO
    return pictures, seconds, epochs


if __name__ == "__main__":
    main(*sys.argv[1:])

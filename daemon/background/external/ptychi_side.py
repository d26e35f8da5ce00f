"""The process that runs pty-chi's LSQML: ``PYTHON daemon/background/external/ptychi_side.py IN.npz OUT.npz``.

PYTHON belongs to a separate environment, since pty-chi needs another torch; so this file imports only the file beside
it.
Its patches begin at ``position + origin - (N - 1) / 2``, ours at ``position - N / 2``, hence the half pixel below; its
transforms have no factor, ours 1 / N, hence the N.
"""

# mypy: ignore-errors
from __future__ import annotations

import json
import os
import sys
import time
import types

from parent import end_with_parent  # beside this file

if __name__ == "__main__":
    end_with_parent()  # first: what follows takes seconds

import numpy as np  # noqa: E402
import torch  # noqa: E402

try:
    import torchvision
except (
    ImportError,
    RuntimeError,
):  # there is none for every torch; pty-chi takes one class of it, for what is not used here
    torchvision = types.ModuleType("torchvision")
    sys.modules["torchvision"] = torchvision
    sys.modules["torchvision.transforms"] = types.ModuleType("torchvision.transforms")
    sys.modules["torchvision.transforms"].GaussianBlur = None

from ptychi import api  # noqa: E402
from ptychi.api.task import PtychographyTask  # noqa: E402

NICE = 10
MARGIN_PX = 4
BATCH = 64


def main(given, made):
    """Reconstruct; IN.npz holds amplitude (-1 = no data), positions_px, probe and the options epochs and threads."""
    os.nice(NICE)
    with np.load(given, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    options = json.loads(str(arrays["options"]))
    torch.set_num_threads(options["threads"])
    amplitude = arrays["amplitude"]
    size = amplitude.shape[-1]
    corner, shape = canvas_of(arrays)
    begun = time.monotonic()
    with PtychographyTask(options_of(arrays, options, corner, shape, api.LSQMLOptions())) as task:
        task.run()
        picture = task.get_data_to_cpu("object", as_numpy=True)[0]
        probe = task.get_data_to_cpu("probe", as_numpy=True)[0]
        misfit, total = misfit_of(task, amplitude)
    np.savez(
        made,
        object=picture.astype(np.complex64),
        origin_px=corner,
        probe=(probe * size).astype(np.complex64),
        rfactor=misfit / total,
        seconds=time.monotonic() - begun,
    )


def canvas_of(arrays):
    """Return the first pixel and the shape of the object's canvas."""
    half, positions = arrays["amplitude"].shape[-1] // 2, arrays["positions_px"]
    corner = np.floor(positions.min(axis=0)).astype(int) - half - MARGIN_PX
    return corner, np.ceil(positions.max(axis=0)).astype(int) - corner + half + MARGIN_PX


def options_of(arrays, options, corner, shape, task):
    """Fill in the options of a method of pty-chi."""
    amplitude, probe = arrays["amplitude"], arrays["probe"]
    task.data_options.data = np.where(amplitude < 0, 0, np.square(amplitude)).astype(np.float32)
    task.data_options.valid_pixel_mask = (amplitude >= 0).all(axis=0)
    task.object_options.initial_guess = torch.ones(1, *shape.tolist(), dtype=torch.complex64)
    task.object_options.determine_position_origin_coords_by = api.ObjectPosOriginCoordsMethods.SPECIFIED
    task.object_options.position_origin_coords = (-corner - 0.5).tolist()
    task.probe_options.initial_guess = torch.from_numpy(probe / amplitude.shape[-1])[None]
    task.probe_position_options.position_y_px = arrays["positions_px"][:, 0]
    task.probe_position_options.position_x_px = arrays["positions_px"][:, 1]
    task.reconstructor_options.num_epochs = options["epochs"]
    task.reconstructor_options.batch_size = BATCH
    task.reconstructor_options.random_seed = 0
    is_on_gpu = torch.cuda.is_available()
    task.reconstructor_options.default_device = api.Devices.GPU if is_on_gpu else api.Devices.CPU
    return task


def misfit_of(task, amplitude):
    """Return numerator and denominator of the R-factor, frames at their own places between pixels."""
    reconstructor = task.reconstructor
    misfit = total = 0.0
    with torch.no_grad():
        for begin in range(0, len(amplitude), BATCH):
            indexes = torch.arange(begin, min(begin + BATCH, len(amplitude)))
            predicted = reconstructor.forward_model(indexes).sqrt().cpu().numpy()
            measured = np.fft.ifftshift(amplitude[begin : begin + BATCH], axes=(-2, -1))
            valid = measured >= 0
            misfit += float(np.abs(predicted - measured)[valid].sum())
            total += float(measured[valid].sum())
    return misfit, total


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Fine-tuning on a scan whose frames get worse: what it promotes is never worse on good frames than the shipped model.

Frames lose photons, their positions and patterns drift, the shutter closes, pixels saturate. The judge has the scan's good
frames. ``PTYCHOLIVE_DRIFT_S`` is how long (20 s).
"""

import math
import os
import time
from itertools import cycle

import numpy as np
import pytest
import torch

from daemon.files import read_probe
from ptychopinn.detector.geometry import to_amplitude
from ptychopinn.model.bundle import build_network, find_bundle, read_bundle
from ptychopinn.training.finetune import FineTuner
from ptychopinn.training.replay_buffer import ReplayBuffer, ReplayFrame
from ptychopinn.training.tuner import FinetuneOptions
from tests.support.daemon_tools import PROBE, real_scan

DURATION_S = float(os.environ.get("PTYCHOLIVE_DRIFT_S", "20"))
COMPARE_STEPS, FRAMES_A_STEP = 10, 8
GOOD_SHARE = 0.15  # of the time; then it begins to get worse


def worse(counts, position_px, how_bad, random):
    """Return a frame as it comes when things have gone so wrong (0 to 1); NaN and darkness come by chance."""
    fate = random.random()
    if how_bad > 0 and fate < 0.1:
        return np.zeros(counts.shape, dtype=np.float32), position_px  # shutter closed
    if how_bad > 0 and fate < 0.12:
        return np.full(counts.shape, np.nan, dtype=np.float32), position_px
    dimmed = random.poisson(counts * 10 ** (-2 * how_bad)) if how_bad > 0 else counts
    drifted = np.roll(dimmed, round(3 * how_bad), axis=1)
    amplitude = to_amplitude(drifted.astype(np.float32), saturation=np.quantile(drifted, 1 - 0.02 * how_bad))
    y, x = position_px
    return amplitude, (y + 6 * how_bad, x - 4 * how_bad)


@pytest.mark.timeout(DURATION_S + 200)
def test_frames_that_get_worse_never_make_the_active_model_worse_than_the_shipped_one():
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    scan, probe = real_scan(), torch.from_numpy(read_probe(PROBE).probe)
    network = build_network(read_bundle(find_bundle("shipped")), find_bundle("shipped"))
    buffer, good = ReplayBuffer(512), ReplayBuffer(2000)
    amplitude = to_amplitude(scan.counts)
    for index, place in enumerate(scan.positions_px.tolist()):
        good.add(("star", index), ReplayFrame(amplitude[index], tuple(place)))
    options = FinetuneOptions(heldout_frames=16)
    tuner, judge = FineTuner(network, probe, buffer, options), FineTuner(network, probe, good, options)
    shipped = judge.score(judge.active, good.held_out)
    promoted, refused, begun = [], [], time.monotonic()
    for number, index in enumerate(cycle(range(len(scan.counts)))):
        share = min(1.0, (time.monotonic() - begun) / DURATION_S)
        how_bad = max(0.0, (share - GOOD_SHARE) / (1 - GOOD_SHARE))
        pattern, place = worse(scan.counts[index], scan.positions_px[index].tolist(), how_bad, random)
        buffer.add((f"star-{number // len(scan.counts)}", index), ReplayFrame(pattern, tuple(place)))
        if len(buffer) < 100 or number % FRAMES_A_STEP:
            continue
        tuner.step()
        if number // FRAMES_A_STEP % COMPARE_STEPS == 0:
            verdict, *_ = tuner.compare()
            refused.append(verdict)
            if verdict == "promoted":
                promoted.append((round(how_bad, 3), judge.score(tuner.active, good.held_out).rfactor))
        if share == 1.0:
            break
    print(f"shipped {shipped.rfactor:.4f}; promoted {promoted}; {len(refused)} comparisons; {buffer.refused} refused")
    assert len(refused) > 2
    assert buffer.refused > 0
    assert all(math.isfinite(rfactor) and rfactor <= shipped.rfactor for _, rfactor in promoted)

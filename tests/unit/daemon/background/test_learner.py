"""The two ends of the fine-tuning process: neither waits for the other."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading

import numpy as np

from daemon.background.learning.child import ChildOptions, _Inbox
from daemon.background.learning.learner import Learner
from daemon.metrics import Metrics
from ptychopinn.model.bundle import Bundle
from ptychopinn.model.network import CorrectionNet
from ptychopinn.training.tuner import FinetuneOptions

LARGE = bytes(8 << 20)  # more than a pipe holds
SIZE_PX = 32


def test_two_ends_that_both_write_do_not_wait_for_each_other() -> None:
    ours, theirs = multiprocessing.Pipe()
    inboxes = [_Inbox(ours), _Inbox(theirs)]
    writers = [threading.Thread(target=end.send, args=(("frames", LARGE),), daemon=True) for end in (ours, theirs)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [inbox.take(None) for inbox in inboxes] == [("frames", LARGE)] * 2
    assert inboxes[0].take(0.0) is None


def test_a_stuck_process_does_not_hold_the_end() -> None:
    network = CorrectionNet(widths=[8, 16], depths=[1, 1])
    options = ChildOptions(
        device="cpu",
        device_share=1.0,
        buffer_frames=64,
        finetune=FinetuneOptions(),
        model=Bundle("small", "lift-correction", {"widths": [8, 16], "depths": [1, 1]}, {}),
        weights={name: value.numpy() for name, value in network.state_dict().items()},
        probe=np.ones((1, SIZE_PX, SIZE_PX), dtype=np.complex64),
    )
    learner = Learner(options, Metrics(), lambda weights, about: None)
    learner.start()
    frame = np.ones((SIZE_PX, SIZE_PX), dtype=np.float32)
    for index in range(200):
        learner.offer("star", index, frame, (float(index), 0.0))
    while not (started := multiprocessing.active_children()):
        learner._thread.join(0.05)
    process = next(child for child in started if child.name == "finetune")
    os.kill(process.pid, signal.SIGSTOP)
    learner.label("star", 0, np.zeros((1024, 1024), dtype=np.complex64))  # the thread waits in the pipe
    learner.stop()
    assert not process.is_alive()

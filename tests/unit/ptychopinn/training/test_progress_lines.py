"""Progress of a training in a log."""

from __future__ import annotations

import pytest

from ptychopinn.training import watch
from ptychopinn.training.watch import Plan, ProgressLines


def test_a_log_shows_that_a_training_runs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(watch.time, "monotonic", lambda: now[0])
    lines = ProgressLines("fine-tuning", is_shown=True)
    lines.begin(Plan(epochs=2, batches=3, epoch=0, batch=1))
    for now[0] in (1.0, 40.0):
        lines.batch()
    lines.epoch({"train_loss": 0.25, "learning_rate": 1.0})
    assert capsys.readouterr().err.splitlines() == [
        "fine-tuning: 2 epochs of 3 steps, 1 done",
        "fine-tuning: 3 of 6 steps, 0.7 min",
        "fine-tuning: epoch 1 of 2, train_loss 0.25",
    ]
    silent = ProgressLines(is_shown=False)
    silent.begin(Plan(1, 1))
    silent.batch()
    assert capsys.readouterr().err == ""

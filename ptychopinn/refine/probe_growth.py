"""Additions to the probe: one more mode, or a change in time. Each is tried, and used only if held-out frames fit better.

Trials (:mod:`ptychopinn.refine.probe_trial`) leave object and probe alone, so a scan whose probe stays as it is is refined to the
bit as without them.
"""

from __future__ import annotations

import torch

from ptychopinn.refine.frame_blocks import Block
from ptychopinn.refine.moving_probe import MovingProbe
from ptychopinn.refine.probe_modes import with_mode_count
from ptychopinn.refine.probe_trial import MOST_FRAMES, ProbeTrial
from ptychopinn.refine.scan_time import ORDERS, ScanTime

MOST_MODES = 6
"""Modes at most: the time of a pass grows with their number, and beams have few that matter."""
TRIAL_SHARE = 0.1
"""Share of the light that a mode is tried with: one that begins fainter takes a hundred passes to grow."""
WAIT_PASSES = 10
"""Passes between the probe's first step, or the last change, and the next trial: object and probe settle meanwhile."""
GROWN = 1.5
"""Factor in the number of frames after which the probe may be tried again that was not better."""


class ProbeGrowth:
    """Makes the probe of the passes richer; ``modes`` and ``drift`` say which trials are made."""

    def __init__(self, probe: MovingProbe, *, modes: bool, drift: bool) -> None:
        self._probe = probe
        self._kinds = [kind for kind, is_on in (("modes", modes), ("drift", drift)) if is_on]
        self._due = self._kinds[:]
        self._wait = WAIT_PASSES
        self._frames = 0
        self._trial: ProbeTrial | None = None
        self.gains: list[tuple[str, float, float]] = []
        """Trials so far: kind, mean gain of the frames held out, and its standard error."""

    def end_pass(self, block: Block) -> None:
        """Count a pass of a block."""
        self._cover(block)
        if len(block.frames) >= GROWN * self._frames:
            self._due, self._frames = self._kinds[:], len(block.frames)
        if self._probe.follows(block):
            self._wait -= 1

    def step(self, block: Block, most: int) -> int:
        """Go on with a trial between two passes over a block; return the frames worked on, 0 where there is nothing to do."""
        if self._trial is None or self._trial.block is not block:
            self._trial = self._next(block)
        if self._trial is None:
            return 0
        count = self._trial.step(most)
        if self._trial.is_over:
            self._decide(self._trial)
            self._trial = None
        return count

    def _next(self, block: Block) -> ProbeTrial | None:
        """Return the trial that is due; None where there is none."""
        self._due = [kind for kind in self._due if self._can_grow(kind)]
        if not self._due or self._wait > 0 or not self._probe.follows(block):
            return None
        rich = self._with_one_more() if self._due[0] == "modes" else self._drifting(block)
        frames = sorted(block.frames, key=lambda frame: frame.index)
        return ProbeTrial(block, frames[:: -(-len(frames) // MOST_FRAMES)], self._probe.fork(), rich)

    def _can_grow(self, kind: str) -> bool:
        known = self._probe.known
        return known.modes < MOST_MODES if kind == "modes" else known.time is None

    def _with_one_more(self) -> MovingProbe:
        """Return the probe with one more mode, which does not change in time at first."""
        fields, modes = self._probe.known.fields, self._probe.known.modes
        mean = with_mode_count(fields[:modes], modes + 1, TRIAL_SHARE)
        rest = [torch.cat([part, torch.zeros_like(part[:1])]) for part in torch.split(fields[modes:], modes)]
        return self._probe.fork(torch.cat([mean, *rest]), modes + 1, self._probe.known.time)

    def _drifting(self, block: Block) -> MovingProbe:
        """Return the probe with changes in time, which are zero at first."""
        known = self._probe.known
        indexes = [frame.index for frame in block.frames]
        empty = torch.zeros_like(known.mean).repeat(ORDERS - 1, 1, 1)
        return self._probe.fork(torch.cat([known.mean, empty]), known.modes, ScanTime(min(indexes), max(indexes)))

    def _decide(self, trial: ProbeTrial) -> None:
        """Use the rich probe, and try the same again later; or leave that until there are more frames."""
        kind = self._due[0]
        self.gains.append((kind, *trial.gain))
        if trial.is_rich_better:
            found = trial.rich.known
            self._probe.use(found.fields, found.modes, found.time)
            self._wait = WAIT_PASSES
        else:
            self._due = self._due[1:]

    def _cover(self, block: Block) -> None:
        """Let the time reach over all frames of a block."""
        known = self._probe.known
        first, last = (f([frame.index for frame in block.frames]) for f in (min, max))
        if known.time is None or known.time.covers(first, last):
            return
        wider = known.time.wider(first, last)
        change = torch.from_numpy(known.time.change_to(wider)).to(known.fields)
        fields = torch.einsum(
            "kj,jmyx->kmyx", change, known.fields.view(-1, known.modes, *known.mean.shape[1:])
        ).flatten(0, 1)
        self._probe.use(fields, known.modes, wider)

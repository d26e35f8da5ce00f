r"""Diagnosis: whether patterns, positions and probe fit together, tested on the first frames of a scan.

Each hypothesis is tried on some frames that overlap: a few passes of :class:`ptychopinn.refine.refined_layer.Refiner` from an
empty object, and the R-factor of the picture that all of them share. One pattern alone could not tell: it fits its own patch
in many ways. To be quick, patterns and probe are cut to their inner part, which is the same experiment at a coarser pixel.

What cannot be told apart, since the object is free, and what is done about it:

* a conjugate probe and patterns turned by 180 degrees: |F(P* O*)|(q) = |F(P O)|(-q). Of the two the one counts in whose
  picture the phase falls where the sample absorbs, as it does for X-rays in matter; where neither shows, both are named.
* patterns, positions and probe all turned alike: only the picture turns. So with a probe that is round, turned patterns
  look as positions turned the other way; where R differs by less than TIE, both are named.
* patterns that are off centre: all it gives is a phase ramp over the object, so the mean pattern is compared with the
  probe's own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from ptychopinn.detector.beam_centre import best_match
from ptychopinn.diagnosis import order_test
from ptychopinn.diagnosis.absorption import absorption_sign
from ptychopinn.diagnosis.correction import TURNS, Correction, turn_matrix
from ptychopinn.diagnosis.figures import noise_rfactor
from ptychopinn.diagnosis.fit_sentences import fall_words, is_turned, sentences
from ptychopinn.physics.diffraction import expected_counts, propagate
from ptychopinn.refine.refined_layer import Refiner
from ptychopinn.refine.retrieve import retrieve

FRAMES, LEAST_FRAMES, NEAR = 50, 16, 1.2
LEAST_SIDE_PX, MOST_SIDE_PX, KEPT_COUNTS = 64, 128, 0.9
PASSES, PROBE_SWEEPS, TURN_SWEEPS = 8, 8, 12
EARLY_PASSES, HOPELESS = 3, 1.15
"""A hypothesis whose R is so many times the best one's after so many passes is not tried to the end: one of 64 wins."""
TURN_FALL, SCALE_FALL, PROBE_FALL, LEAST_FALL, PROBE_LEAST_FALL = 0.8, 0.97, 0.7, 0.95, 0.8
TIE, MOST_TIED = 1.04, 3
SCALE_STEP, MOST_SCALE_STEPS, LEAST_SCALE = 0.05, 3, 0.03
LEAST_SHIFT_PX = 2
COUNTS_RANGE = (1 / 3, 3.0)
LEAST_SIGN = 0.15
WORTH_SAYING = 0.99


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found; ``sentence`` is None where all fits.

    ``rfactor`` is that of the data as they are and ``corrected_rfactor`` with ``correction``; where the probe is poor
    and nothing else was found, the latter is that of a probe retrieved from the same frames. ``is_telling`` is false where the
    sample does not show above the photon noise, so that a misfit would not show either.
    """

    sentence: str | None
    correction: Correction
    rfactor: float
    corrected_rfactor: float
    is_probe_poor: bool
    frames: int
    seconds: float
    is_telling: bool = True


def diagnose(
    amplitude: Tensor,
    positions_px: NDArray[np.float64],
    probe: Tensor,
    rest: Callable[[], None] = lambda: None,
    *,
    is_own_probe: bool = False,
    is_quick: bool = False,
) -> Diagnosis | None:
    """Return what is wrong with the first frames of a scan; None where too few of them overlap to tell.

    Parameters
    ----------
    amplitude : (n, N, N) float32
        sqrt(counts), zero frequency in the middle, -1 = no data. At most FRAMES that lie close together are used, and
        none without a count.
    positions_px : (n, 2) float64
    probe : (modes, N, N) complex64
    rest
        Called every few milliseconds of work: it may wait while others need the machine.
    is_own_probe
        Whether the probe was retrieved from these very patterns, so that it is turned as they are.
    is_quick
        Whether to try nothing else where all fits at first sight: a tenth of the time.
    """
    begun = time.monotonic()
    lit = lit_frames(amplitude)
    amplitude, positions_px = amplitude[lit.tolist()], positions_px[lit]
    chosen = choose_frames(positions_px, probe)
    if len(chosen) < LEAST_FRAMES:
        return None
    amplitude, positions_px = amplitude[chosen.tolist()].cpu(), positions_px[chosen]
    search = _Search(amplitude, positions_px, probe.cpu(), rest)
    found = search.at_once() if is_quick else None
    found = found or search.run(is_own_probe)
    return replace(found, seconds=time.monotonic() - begun)


def lit_frames(amplitude: Tensor) -> NDArray[np.int64]:
    """Return the indexes of frames that hold a count; amplitudes ``(n, N, N)``, -1 = no data."""
    return np.flatnonzero((amplitude > 0).flatten(1).any(1).cpu().numpy())


def choose_frames(positions_px: NDArray[np.float64], probe: Tensor, most: int = FRAMES) -> NDArray[np.int64]:
    """Return the indexes of frames that overlap others well: those nearest to the one with most close neighbours."""
    if len(positions_px) < 2:
        return np.zeros(0, dtype=np.int64)
    radius = NEAR * lit_radius_px(probe)
    tree = cKDTree(positions_px)
    crowd = np.asarray(tree.query_ball_point(positions_px, radius, return_length=True))
    nearest = np.asarray(tree.query(positions_px[int(np.argmax(crowd))], k=min(most, len(positions_px)))[1], np.int64)
    return np.sort(nearest[crowd[nearest] > 1])


def relative_turn(
    amplitude: Tensor, positions_px: NDArray[np.float64], guess: Tensor, rest: Callable[[], None] = lambda: None
) -> str:
    """Return how positions are to be turned so that a probe can be retrieved, "identity" where that is not clear.

    ``guess`` ``(modes, N, N)`` need not be good; its energy is that of a frame. Only what patterns and positions are to each
    other is told: a probe that is retrieved from turned patterns is turned likewise.
    """
    chosen = choose_frames(positions_px, guess)
    if len(chosen) < LEAST_FRAMES:
        return "identity"
    probe, inner, factor = inner_part(guess, amplitude[chosen.tolist()])
    places = positions_px[chosen] * factor
    rfactors: dict[str, float] = {}
    for turn in TURNS:
        turned_px = places @ turn_matrix(turn).T
        found = retrieve(inner, turned_px, probe, sweeps=TURN_SWEEPS, on_sweep=lambda _sweep, _rfactor: rest())
        rfactors[turn] = found.rfactors[-1]
    best = min(rfactors, key=rfactors.__getitem__)
    noise = noise_rfactor(inner)
    is_clear = rfactors[best] - noise < TURN_FALL * (rfactors["identity"] - noise)
    return best if is_clear and rfactors[best] < LEAST_FALL * rfactors["identity"] else "identity"


def lit_radius_px(probe: Tensor) -> float:
    """Return the radius of the disc around pixel N/2 that holds 90 % of a probe's energy."""
    intensity = probe.abs().square().sum(0).double()
    axis = torch.arange(probe.shape[-1], device=probe.device) - probe.shape[-1] // 2
    radius, order = torch.hypot(axis[:, None].double(), axis[None, :].double()).flatten().sort()
    inside = intensity.flatten()[order].cumsum(0) < 0.9 * intensity.sum()
    return float(radius[min(int(inside.sum()), len(radius) - 1)])


def scaled_to_counts(probe: Tensor, amplitude: Tensor) -> Tensor:
    """Return a probe whose energy is the brightest frame's counts."""
    scaled: Tensor = probe * _counts_ratio(amplitude, probe) ** 0.5
    return scaled


def overlap_rfactor(
    probe: Tensor,
    amplitude: Tensor,
    positions_px: NDArray[np.float64],
    rest: Callable[[], None] = lambda: None,
    is_hopeless: Callable[[float], bool] = lambda _rfactor: False,
) -> tuple[float, Refiner]:
    """Return the R-factor of the picture that frames share after some passes from an empty object, and the picture.

    ``is_hopeless(rfactor)`` is asked after EARLY_PASSES; the passes end there if it is.
    """
    refiner = Refiner(probe)
    for index, (pattern, where) in enumerate(zip(amplitude, positions_px.tolist(), strict=True)):
        refiner.add(index, pattern, (where[0], where[1]))
    done = 0
    while done < PASSES * len(amplitude) and (count := refiner.step()):
        done += count
        rest()
        if done == EARLY_PASSES * len(amplitude) and is_hopeless(refiner.rfactor or float("inf")):
            break
    return (float("inf") if refiner.rfactor is None else refiner.rfactor), refiner


def inner_part(probe: Tensor, amplitude: Tensor) -> tuple[Tensor, Tensor, float]:
    """Return probe and patterns cut to the inner pixels that hold most of the counts, and the factor on positions."""
    size = probe.shape[-1]
    mean = amplitude.clamp_min(0).square().mean(0)
    for side in range(min(size, LEAST_SIDE_PX), min(size, MOST_SIDE_PX) + 1, 16):
        window = slice(size // 2 - side // 2, size // 2 - side // 2 + side)
        if float(mean[window, window].sum()) >= KEPT_COUNTS * float(mean.sum()):
            break
    far = propagate(torch.fft.ifftshift(probe, dim=(-2, -1)))[..., window, window]
    near = torch.fft.ifft2(torch.fft.ifftshift(far, dim=(-2, -1)), norm="ortho")
    return torch.fft.fftshift(near, dim=(-2, -1)), amplitude[:, window, window].contiguous(), side / size


class _Search:
    """The hypotheses, tried on one set of frames."""

    def __init__(
        self, amplitude: Tensor, positions_px: NDArray[np.float64], probe: Tensor, rest: Callable[[], None]
    ) -> None:
        ratio = _counts_ratio(amplitude, probe)
        is_as_bright = COUNTS_RANGE[0] <= ratio <= COUNTS_RANGE[1]
        self._whole, self._whole_probe = amplitude, probe
        self._start = self._centred(Correction(counts_ratio=1.0 if is_as_bright else ratio))
        self._probe, inner, factor = inner_part(probe, amplitude)
        self._amplitude = inner.numpy()
        self._positions_px = positions_px * factor
        self._noise = noise_rfactor(inner)
        self._tried: dict[Correction, tuple[float, Refiner]] = {}
        self._rest = rest
        self._early_rfactor = float("inf")

    def at_once(self) -> Diagnosis | None:
        """Return that nothing is wrong where positions as told explain nearly all that shows in the frames."""
        share = self._explained(self._start) if self._start.is_nothing else None
        if share is None or share <= order_test.FITS_EXPLAINED:
            return None
        rfactor = self._rfactor(self._start)
        return Diagnosis(None, self._start, rfactor, rfactor, False, frames=len(self._amplitude), seconds=0.0)

    def run(self, is_own_probe: bool) -> Diagnosis:
        """Return the diagnosis, its time not yet filled in."""
        best, others = self._turns(self._start)
        own = self._probe_rfactor(best)
        if self._is_probe_poor(best, own):
            best, others = self._pairs(best, others)
            own = self._probe_rfactor(best)
        is_poor = self._is_probe_poor(best, own)
        if not is_poor:
            best = self._scaled(best)
        elif not is_turned(best):
            best = replace(best, pattern_shift_px=(0, 0))
        words = sentences(best, others)
        if is_own_probe and best.position_turn != "identity":
            words.append("or the patterns are turned the other way, since the probe was retrieved from them")
        if is_poor:
            words.append(
                "the probe does not fit these patterns: R falls "
                f"{fall_words(self._rfactor(best), own)} where it is retrieved from them as well"
            )
        if not words and (share := self._explained(best)) is not None and share < order_test.LEAST_EXPLAINED:
            words.append(order_test.SENTENCE)
        before, after = self._rfactor(Correction()), self._rfactor(best)
        is_better = not best.is_nothing and not (is_poor and not is_turned(best)) and after < WORTH_SAYING * before
        fall = f": R falls {fall_words(before, after)} when that is set right" if is_better else ""
        sentence = "; ".join(words) + fall if words else None
        return Diagnosis(
            sentence=sentence,
            correction=best,
            rfactor=before,
            corrected_rfactor=own if is_poor else after,
            is_probe_poor=is_poor,
            frames=len(self._amplitude),
            seconds=0.0,
            is_telling=order_test.sample_shows(torch.from_numpy(self._amplitude)),
        )

    def _centred(self, correction: Correction) -> Correction:
        """Return a correction with the shift that its patterns still need.

        One pixel is left where they are not turned: it is nobody's fault, and the picture does not suffer.
        """
        plain = replace(correction, pattern_shift_px=(0, 0))
        amplitude = torch.from_numpy(plain.patterns(self._whole.numpy()))
        shift = _shift(amplitude, torch.from_numpy(plain.probe(self._whole_probe.numpy())))
        if max(abs(s) for s in shift) < (LEAST_SHIFT_PX if plain.pattern_turn == "identity" else 1):
            return plain
        back = -np.rint(turn_matrix(plain.pattern_turn).T @ np.array(shift)).astype(int)
        return replace(plain, pattern_shift_px=(int(back[0]), int(back[1])))

    def _turns(self, start: Correction) -> tuple[Correction, list[Correction]]:
        """Return the best single turn, or pair of one of the patterns and one of the positions, and its equals."""
        turns = [name for name in TURNS if name != "identity"]
        tried = [start, *(self._centred(replace(start, pattern_turn=name)) for name in turns)]
        tried += [replace(start, position_turn=name) for name in turns]
        best = min(tried, key=self._raced)
        equals = [other for other in tried if other != best and self._rfactor(other) < TIE * self._rfactor(best)]
        if len(equals) > MOST_TIED or not self._is_turn_better(best, start):
            return start, []
        others = [name for name in TURNS if name != best.position_turn]
        further = min((replace(best, position_turn=name) for name in others), key=self._raced)
        best = further if self._is_turn_better(further, best) else best
        return self._told_from_conjugate(best, equals)

    def _pairs(self, best: Correction, others: list[Correction]) -> tuple[Correction, list[Correction]]:
        """Return the best pair of turns of all, where it is better than what has been found."""
        start = self._start
        centred = [self._centred(replace(start, pattern_turn=name)) for name in TURNS]
        pairs = [replace(one, position_turn=name) for one in centred for name in TURNS]
        pair = min(pairs, key=self._raced)
        return self._told_from_conjugate(pair, []) if self._is_turn_better(pair, best) else (best, others)

    def _told_from_conjugate(self, best: Correction, equals: list[Correction]) -> tuple[Correction, list[Correction]]:
        """Take the conjugate probe for patterns turned by 180 degrees where the picture's absorption says so."""
        if best.pattern_turn != "rot180":
            return best, equals
        conjugate = self._centred(replace(best, pattern_turn="identity", is_conjugate=True))
        sign = absorption_sign(self._try(best)[1])
        if sign < -LEAST_SIGN:
            return conjugate, equals
        return best, equals if sign > LEAST_SIGN else [*equals, conjugate]

    def _scaled(self, best: Correction) -> Correction:
        """Return a correction with the scale of positions at the bottom of R, where that is far enough from 1."""
        rfactors = {step: self._scale_rfactor(best, step) for step in (-1, 0, 1)}
        for _ in range(MOST_SCALE_STEPS - 1):
            lowest = min(rfactors, key=rfactors.__getitem__)
            if lowest not in (min(rfactors), max(rfactors)):
                break
            beyond = lowest + (1 if lowest > 0 else -1)
            rfactors[beyond] = self._scale_rfactor(best, beyond)
        lowest = min(rfactors, key=rfactors.__getitem__)
        if lowest in (min(rfactors), max(rfactors)):
            return best
        below, here, above = (rfactors[lowest + k] for k in (-1, 0, 1))
        scale = 1 + SCALE_STEP * (lowest + (below - above) / 2 / max(below - 2 * here + above, 1e-12))
        scaled = replace(best, position_scale=round(scale, 4))
        fell = self._is_below(self._rfactor(scaled), rfactors[0], SCALE_FALL)
        return scaled if abs(scale - 1) >= LEAST_SCALE and fell else best

    def _scale_rfactor(self, best: Correction, step: int) -> float:
        return self._rfactor(replace(best, position_scale=1 + SCALE_STEP * step))

    def _probe_rfactor(self, correction: Correction) -> float:
        """Return R of the same frames with a probe retrieved from them."""
        amplitude = torch.from_numpy(correction.patterns(self._amplitude))
        probe = torch.from_numpy(correction.probe(self._probe.numpy()))
        positions_px = correction.positions(self._positions_px)
        found = retrieve(amplitude, positions_px, probe, sweeps=PROBE_SWEEPS, on_sweep=lambda _sweep, _r: self._rest())
        return found.rfactors[-1]

    def _explained(self, correction: Correction) -> float | None:
        """Return the share of the misfit that positions explain; None where the sample does not show in the frames."""
        amplitude = torch.from_numpy(correction.patterns(self._amplitude))
        if not order_test.sample_shows(amplitude):
            return None
        probe = torch.from_numpy(correction.probe(self._probe.numpy()))
        order = np.random.default_rng(0).permutation(len(amplitude))
        mixed, _ = overlap_rfactor(probe, amplitude, correction.positions(self._positions_px)[order], self._rest)
        return order_test.explained(self._rfactor(correction), mixed, self._noise)

    def _is_turn_better(self, one: Correction, other: Correction) -> bool:
        return self._is_below(self._rfactor(one), self._rfactor(other), TURN_FALL)

    def _is_below(self, one: float, other: float, share: float) -> bool:
        """Whether R is below a share of another, noise taken off both, and by more than chance would give."""
        return one - self._noise < share * (other - self._noise) and one < max(share, LEAST_FALL) * other

    def _is_probe_poor(self, correction: Correction, own: float) -> bool:
        before = self._rfactor(correction)
        return self._is_below(own, before, PROBE_FALL) and own < PROBE_LEAST_FALL * before

    def _rfactor(self, correction: Correction) -> float:
        return self._try(correction)[0]

    def _raced(self, correction: Correction) -> float:
        """Return R of a hypothesis that competes with others: it is given up early where it has no chance."""
        return self._try(correction, self._is_hopeless)[0]

    def _is_hopeless(self, rfactor: float) -> bool:
        self._early_rfactor = min(self._early_rfactor, rfactor)
        return rfactor > HOPELESS * self._early_rfactor

    def _try(
        self, correction: Correction, is_hopeless: Callable[[float], bool] = lambda _rfactor: False
    ) -> tuple[float, Refiner]:
        if correction not in self._tried:
            self._tried[correction] = overlap_rfactor(
                torch.from_numpy(correction.probe(self._probe.numpy())),
                torch.from_numpy(correction.patterns(self._amplitude)),
                correction.positions(self._positions_px),
                self._rest,
                is_hopeless,
            )
        return self._tried[correction]


def _counts_ratio(amplitude: Tensor, probe: Tensor) -> float:
    """Return the counts of the brightest frame over those of the probe on the same pixels."""
    valid = amplitude >= 0
    expected = expected_counts(probe, torch.ones(probe.shape[-2:], dtype=torch.complex64))
    shares = torch.where(valid, amplitude.square(), 0.0).sum((1, 2)) / torch.where(valid, expected, 0.0).sum((1, 2))
    return float(shares.max())


def _shift(amplitude: Tensor, probe: Tensor) -> tuple[int, int]:
    """Return where the mean pattern lies relative to the probe's own, whole pixels (rows, columns)."""
    valid = (amplitude >= 0).all(0)
    mean = torch.where(valid, amplitude.clamp_min(0).mean(0), 0.0)
    expected = expected_counts(probe, torch.ones(probe.shape[-2:], dtype=torch.complex64)).sqrt()
    _, (row, column) = best_match(mean.numpy(), valid.numpy(), expected.numpy())
    return row - mean.shape[0] // 2, column - mean.shape[1] // 2

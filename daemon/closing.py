"""Writes the products of scans and closes scans: product, record, journal, news for viewers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daemon.config import Config
from daemon.engine.resolution import CRITERION, Resolution
from daemon.engine.result import ScanResult, product_rfactor
from daemon.files import LiveGroup, Product
from daemon.intake.registry import ScanRegistry
from daemon.intake.scan import Scan
from daemon.messages import ScanState, verdict_fields
from daemon.metrics import Metrics
from daemon.optics.run_check import run_notes
from daemon.publish.hub import UpdateHub
from daemon.results.records import now_text
from daemon.results.writer import ProductWriter
from daemon.status.sentences import verdict_sentence
from daemon.version import VERSION
from ptychopinn.diagnosis.correction import Correction
from ptychopinn.diagnosis.plausibility import SUMMARY_BEGINNINGS, as_plain, summary

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Closing:
    """One scan that is being closed: how it went, when its last frame was done, how its frames were corrected."""

    scan: Scan
    result: ScanResult
    state: ScanState
    ended: str
    correction: Correction


class ScanCloser:
    """Takes results of the engine, in its thread; the writer's thread writes the product and then closes the scan.

    Parameters
    ----------
    correction
        Gives the correction of frames that is in use.
    is_stopping
        Whether the daemon is being stopped.
    on_product
        Gets each scan whose product is written for good.
    """

    def __init__(
        self,
        config: Config,
        scans: ScanRegistry,
        writer: ProductWriter,
        hub: UpdateHub,
        metrics: Metrics,
        *,
        correction: Callable[[], Correction],
        is_stopping: Callable[[], bool],
        on_product: Callable[[Scan, Path, Correction], None] | None = None,
    ) -> None:
        self._config = config
        self._configuration = config.model_dump_json(indent=1)
        self._scans = scans
        self._writer = writer
        self._hub = hub
        self._metrics = metrics
        self._correction = correction
        self._is_stopping = is_stopping
        self._on_product = on_product

    def checkpoint(self, result: ScanResult) -> None:
        """Write a checkpoint of a scan that goes on."""
        scan = self._scan(result)
        self._writer.checkpoint(self._scans.records.folder(scan.id), lambda: self._product(scan, result, None))

    def leave(self, result: ScanResult, waiting: int) -> None:
        """Leave a scan whose frames are not all done to the next start."""
        self.checkpoint(result)
        log.warning("scan %s: %d frames wait in the journal; the next start goes on with them", result.scan_id, waiting)

    def finish(self, result: ScanResult) -> None:
        """Write the product of a scan whose pictures are final, then close the scan."""
        scan = self._scan(result)
        state = self._scans.finish(scan, is_stopping=self._is_stopping())
        closing = Closing(scan, result, state, now_text(), self._correction())
        if not result.indexes.size:
            self._close(closing, None)
            return
        self._writer.finish(
            self._scans.records.folder(scan.id),
            lambda: self._product(scan, result, closing.ended),
            lambda path: self._close(closing, path),
            lambda path: self._take_late(closing, path),
        )

    def improve(self, result: ScanResult) -> None:
        """Write the product of a closed scan again: its picture has improved."""
        scan = self._scan(result)
        product, ended = scan.record.product, scan.record.ended
        if product is None or not Path(product).exists() or self._is_stopping():
            return

        def on_written(path: Path | None) -> None:
            if path is not None:
                kept = tuple(note for note in scan.record.notes if not note.startswith(SUMMARY_BEGINNINGS))
                found = scan.change(
                    **_figures(result, self._pixel_size_m(scan, result)), notes=(*kept, *_doubtful(result))
                )
                log.info("scan %s: improved after its end, R %.4f", scan.id, found.rfactor)

        self._writer.finish(self._scans.records.folder(scan.id), lambda: self._product(scan, result, ended), on_written)

    def _close(self, closing: Closing, path: Path | None) -> None:
        scan, result = closing.scan, closing.result
        verdict = verdict_fields(self._scans.verdict(scan.id))
        findings, run = self._scans.findings(scan)
        energy_eV = self._scans.optics_of(scan.id).photon_energy_eV
        self._scans.close(
            scan,
            state=closing.state,
            ended=closing.ended,
            **_figures(result, self._pixel_size_m(scan, result)),
            product=None if path is None else str(path),
            verdict=verdict,
            notes=(
                *scan.record.notes,
                *findings,
                *run_notes(run, self._config.metadata, energy_eV),
                *_left_out(result),
                *_doubtful(result),
            ),
            run=run,
        )
        if path is not None or not result.indexes.size:
            self._put_away(closing, path)
        self._metrics.count_scan(closing.state, verdict)
        self._tell(closing)
        log.info("scan %s %s: %s", scan.id, closing.state, verdict_sentence(verdict))

    def _take_late(self, closing: Closing, path: Path) -> None:
        """Enter a product that the disk took only later."""
        closing.scan.change(product=str(path))
        self._put_away(closing, path)
        self._tell(closing)

    def _put_away(self, closing: Closing, path: Path | None) -> None:
        is_safe = self._scans.put_away(closing.scan)
        if is_safe and path is not None and self._on_product is not None:
            self._on_product(closing.scan, path, closing.correction)

    def _tell(self, closing: Closing) -> None:
        record = closing.scan.record
        if record.verdict is None:
            return
        self._hub.publish_scan(
            {
                "scan_id": record.id,
                "state": "ended",
                "verdict": record.verdict,
                "result": record.state,
                "product": record.product,
                "rfactors": closing.result.rfactors,
                "notes": list(record.notes),
                "assessment": record.assessment,
            }
        )

    def _scan(self, result: ScanResult) -> Scan:
        scan = self._scans.get(result.scan_id)
        if scan is None:
            raise KeyError(result.scan_id)
        return scan

    def _pixel_size_m(self, scan: Scan, result: ScanResult) -> float:
        """Return the object pixel; without one no frame gets here."""
        return (self._scans.optics_of(scan.id).object_pixel_size_m or 1.0) * result.pixel_ratio

    def _product(self, scan: Scan, result: ScanResult, ended: str | None) -> Product:
        """Return the product of a result: the refined object where there is one, else the network's mosaic."""
        optics = self._scans.optics_of(scan.id)
        pixel_size_m = self._pixel_size_m(scan, result)
        is_refined = result.refined is not None and result.refined_origin_px is not None
        corrections_m = None if result.offsets_px is None else result.offsets_px * pixel_size_m
        return Product(
            name=scan.id,
            comments=f"Ptycholive {VERSION}, {'refined' if is_refined else 'network'} layer",
            indexes=result.indexes,
            positions_m=result.positions_px * pixel_size_m + (0.0 if corrections_m is None else corrections_m),
            probe=result.probe,
            pixel_size_m=pixel_size_m,
            photon_energy_eV=optics.photon_energy_eV,
            detector_distance_m=optics.detector_distance_m,
            object=result.refined if result.refined is not None else result.network,
            object_origin_px=result.refined_origin_px or result.network_origin_px,
            live=replace(
                _live_group(result, corrections_m),
                **_resolution(result.resolution, pixel_size_m),
                measured_position_m=None if corrections_m is None else result.positions_px * pixel_size_m,
                verdict=scan.record.verdict or verdict_fields(self._scans.verdict(scan.id)),
                configuration=self._configuration,
                started=scan.record.started,
                ended=ended or "",
                masked_pixels=scan.record.masked_pixels,
            ),
        )


def _live_group(result: ScanResult, corrections_m: NDArray[np.float64] | None) -> LiveGroup:
    """Return the part of the group ``live`` that the result gives."""
    return LiveGroup(
        network=result.network,
        network_weight=result.network_weight,
        network_origin_px=result.network_origin_px,
        refined_weight=result.refined_weight,
        position_corrections_m=corrections_m,
        rfactors=result.rfactors,
        certainty={} if result.certainty is None else result.certainty._asdict(),
        model_name=result.model.name,
        model_sha256=result.model.sha256,
        model_generation=result.model.generation,
        doubts=summary(result.doubts) or "",
    )


def _resolution(found: Resolution | None, pixel_size_m: float) -> dict[str, Any]:
    """Return the resolution for the group ``live``; nothing where there is none."""
    if found is None:
        return {}
    curve = np.column_stack([found.frequency / pixel_size_m, found.correlation])
    return {"frc_nm": found.frc_nm(pixel_size_m), "frc": curve, "frc_criterion": CRITERION}


def _figures(result: ScanResult, pixel_size_m: float) -> dict[str, Any]:
    """Return the fields of a scan's record about its picture: its quality, and the generation of the model that made it."""
    return {
        "rfactor": product_rfactor(result.rfactors),
        "rfactor_network": result.rfactors.get("network"),
        "expected_correlation": None if result.certainty is None else result.certainty.expected_correlation,
        "position_error_px": result.position_error_px,
        "frc_nm": None if result.resolution is None else result.resolution.frc_nm(pixel_size_m),
        "frc": None if result.resolution is None else result.resolution.fields(pixel_size_m),
        "doubts": tuple(as_plain(result.doubts)),
        "model_generation": result.model.generation,
    }


def _left_out(result: ScanResult) -> list[str]:
    """Return one sentence on frames that the refined layer does not use, if there are any."""
    if not result.left_out:
        return []
    some = ", ".join(map(str, result.left_out[:3])) + (", ..." if len(result.left_out) > 3 else "")
    count = len(result.left_out)
    return [
        f"the refined layer leaves out {count} frame{'s' * (count > 1)} ({some}) far brighter than the others, or not finite"
    ]


def _doubtful(result: ScanResult) -> list[str]:
    """Return one line about doubts, if there are any."""
    line = summary(result.doubts)
    return [] if line is None else [line]

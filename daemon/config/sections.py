"""The whole configuration."""

from __future__ import annotations

from pydantic import model_validator

from daemon.config.base import Section
from daemon.config.cluster import ClusterOptions
from daemon.config.input import Detector, Frames, Metadata, Positions
from daemon.config.optics import Optics
from daemon.config.output import Http, Limits, Log, Notify, Output, Publish
from daemon.config.processing import Diagnosis, Finetune, ModelOptions, MosaicOptions, Refine


class Config(Section):
    """The whole configuration."""

    frames: Frames
    detector: Detector
    positions: Positions = Positions()
    metadata: Metadata = Metadata()
    optics: Optics
    model: ModelOptions = ModelOptions()
    mosaic: MosaicOptions = MosaicOptions()
    diagnosis: Diagnosis = Diagnosis()
    finetune: Finetune = Finetune()
    refine: Refine = Refine()
    publish: Publish = Publish()
    http: Http = Http()
    log: Log = Log()
    notify: Notify = Notify()
    output: Output = Output()
    limits: Limits = Limits()
    cluster: ClusterOptions = ClusterOptions()

    @model_validator(mode="after")
    def _fits_a_cluster(self) -> Config:
        if self.cluster.is_on and self.output.journal == "off":
            raise ValueError(
                "[cluster] workers requires a journal, from which the frames of a lost worker are read again; "
                'remove journal = "off" from [output]'
            )
        if self.cluster.is_on and self.model.gridsize > 1:
            raise ValueError("[cluster] workers requires [model] gridsize = 1: a group may lie in two regions")
        return self

    @model_validator(mode="after")
    def _has_the_monitor(self) -> Config:
        if self.refine.frame_light != "monitor":
            return self
        if self.positions.source != "bluesky" or self.positions.monitor_channel is None:
            raise ValueError(
                '[refine] frame_light = "monitor" requires [positions] source = "bluesky" and monitor_channel, the data key '
                "of the beam monitor"
            )
        if self.cluster.is_on:
            raise ValueError('[refine] frame_light = "monitor" cannot be used with [cluster] workers; use true')
        return self

    @property
    def finds_positions(self) -> bool:
        """Whether true positions are looked for: always, or where a test of the first frames says that they are wrong."""
        mode = self.refine.correct_positions
        return self.refine.enabled and (mode == "on" or (mode == "auto" and self.diagnosis.enabled))

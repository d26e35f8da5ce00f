"""The configuration: one typed tree of sections, read from a TOML file."""

from daemon.config.base import Encrypted, Section, is_loopback
from daemon.config.cluster import ClusterOptions
from daemon.config.input import Detector, Frames, Metadata, Orientation, Positions
from daemon.config.loading import load_config
from daemon.config.optics import PROBE_SOURCES, KbMirrors, Optics, Pinhole, ZonePlate
from daemon.config.output import Http, Limits, Log, Notify, Output, Publish, SinkOptions
from daemon.config.processing import Diagnosis, Finetune, ModelOptions, MosaicOptions, Refine
from daemon.config.sections import Config

__all__ = [
    "PROBE_SOURCES",
    "ClusterOptions",
    "Config",
    "Detector",
    "Diagnosis",
    "Encrypted",
    "Finetune",
    "Frames",
    "Http",
    "KbMirrors",
    "Limits",
    "Log",
    "Metadata",
    "ModelOptions",
    "MosaicOptions",
    "Notify",
    "Optics",
    "Orientation",
    "Output",
    "Pinhole",
    "Positions",
    "Publish",
    "Refine",
    "Section",
    "SinkOptions",
    "ZonePlate",
    "is_loopback",
    "load_config",
]

"""Simulated scans: probes, objects, scan patterns and detector, deterministic from a seed."""

from ptychopinn.simulate.factory import (
    Recipe,
    SimulatedScan,
    TextureBank,
    draw_neighbourhood,
    draw_recipe,
    simulate_scan,
)
from ptychopinn.simulate.objects import TEXTURES, make_object, make_texture
from ptychopinn.simulate.patterns import TRACKS, scan_positions
from ptychopinn.simulate.probes import PROBES, footprint_px, make_probe

__all__ = [
    "PROBES",
    "TEXTURES",
    "TRACKS",
    "Recipe",
    "SimulatedScan",
    "TextureBank",
    "draw_neighbourhood",
    "draw_recipe",
    "footprint_px",
    "make_object",
    "make_probe",
    "make_texture",
    "scan_positions",
    "simulate_scan",
]

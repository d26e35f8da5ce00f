"""Scan, probe and product files: reads the formats of other programs and writes products that they can read."""

from daemon.files.doubts import Doubt, Severity
from daemon.files.live_group import LiveGroup
from daemon.files.probe_file import ProbeFile, read_probe
from daemon.files.product import Product, read_product, write_product
from daemon.files.scan import ScanFile
from daemon.files.scan_file import read_scan
from daemon.files.several_scans import SeveralScansError, scans_of

__all__ = [
    "Doubt",
    "LiveGroup",
    "ProbeFile",
    "Product",
    "ScanFile",
    "Severity",
    "SeveralScansError",
    "read_probe",
    "read_product",
    "read_scan",
    "scans_of",
    "write_product",
]

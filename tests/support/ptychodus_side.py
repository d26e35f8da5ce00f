"""Run by the environment that has ptychodus and nothing of ours: reads our files, writes its own, prints JSON.

``ptychodus_side.py PRODUCT SCAN DIRECTORY``: loads both with ptychodus' own code and writes into DIRECTORY
``product.h5``, ``product.cxi``, ``diffraction.h5`` and ``training.npz`` of the same content.
"""

import json
import sys
from pathlib import Path

import h5py
import numpy as np
from ptychodus.api.assemble import AssembledDiffractionData
from ptychodus.api.interpolate import BarycentricArrayInterpolator
from ptychodus.api.io import load_product, save_diffraction_data, save_product, save_ptychopinn_training_data
from ptychodus.api.reconstruct import prepare_reconstruct_input
from ptychodus.plugins.cxi_file import CXIDiffractionFileReader, CXIProductFileIO


def product_facts(product):
    geometry = product.object_.get_geometry()
    pixels = [geometry.map_coordinates_probe_to_object(point) for point in product.probe_positions]
    picture = np.abs(product.object_.get_array())
    feature = pixels[0]
    patch = BarycentricArrayInterpolator(picture[0]).get_patch(feature.x_px, feature.y_px, 8, 8)
    rows, columns = np.mgrid[:8, :8]
    return {
        "name": product.metadata.name,
        "comments": product.metadata.comments,
        "energy_eV": product.metadata.photon_energy_eV,
        "distance_m": product.metadata.detector_distance_m,
        "photons": product.metadata.probe_photon_count,
        "object_pixel_m": [geometry.pixel_height_m, geometry.pixel_width_m],
        "probe_pixel_m": [product.probes.get_pixel_geometry().height_m, product.probes.get_pixel_geometry().width_m],
        "positions_m": [[point.y_m, point.x_m] for point in product.probe_positions],
        "positions_px": [[point.y_px, point.x_px] for point in pixels],
        "indexes": [int(point.index) for point in product.probe_positions],
        "object_shape": list(product.object_.get_array().shape),
        "probe_shape": list(product.probes.get_array().shape),
        "brightest": [int(v) for v in np.unravel_index(picture.argmax(), picture.shape)[1:]],
        "feature_in_patch": [float((patch * rows).sum() / patch.sum()), float((patch * columns).sum() / patch.sum())],
        "losses": len(product.losses),
    }


def scan_facts(path):
    dataset = CXIDiffractionFileReader().read(path)
    metadata = dataset.get_metadata()
    patterns = dataset[0].get_patterns()
    with h5py.File(path) as file:
        positions = CXIProductFileIO()._read_positions(file)
    return {
        "energy_eV": metadata.photon_energy_eV,
        "distance_m": metadata.detector_distance_m,
        "pixel_m": [metadata.detector_pixel_geometry.height_m, metadata.detector_pixel_geometry.width_m],
        "shape": list(patterns.shape),
        "dtype": str(patterns.dtype),
        "sums": patterns.sum(axis=(1, 2)).tolist(),
        "positions_m": [[point.y_m, point.x_m] for point in positions],
        "bad_pixels": int(dataset.get_bad_pixels().sum()),
    }


def write_own(product, scan, directory):
    save_product(directory / "product.h5", product)
    CXIProductFileIO().write(directory / "product.cxi", product)
    dataset = CXIDiffractionFileReader().read(scan)
    patterns = dataset[0].get_patterns()
    pixel = dataset.get_metadata().detector_pixel_geometry
    data = AssembledDiffractionData(np.arange(len(patterns)), patterns, pixel, dataset.get_bad_pixels())
    save_diffraction_data(directory / "diffraction.h5", data)
    save_ptychopinn_training_data(directory / "training.npz", prepare_reconstruct_input(data, product))


def main():
    product_path, scan_path, directory = map(Path, sys.argv[1:])
    product = load_product(product_path)
    write_own(product, scan_path, directory)
    json.dump({"product": product_facts(product), "scan": scan_facts(scan_path)}, sys.stdout)


if __name__ == "__main__":
    main()

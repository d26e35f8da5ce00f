"""What ptychodus hands to a reconstructor, as a file that Ptycholive reads; and its product back."""

from pathlib import Path

import numpy
from ptychodus.api.io import load_product
from ptychodus.api.product import Product
from ptychodus.api.reconstruct import ReconstructInput


def write_scan(path: Path, parameters: ReconstructInput) -> None:
    """Write patterns, positions and probe as a training file: photons, positions in metres and in object pixels."""
    product = parameters.product
    geometry = product.object_.get_geometry()
    points = product.probe_positions
    numbers = {
        "object_pixel_size_m": product.object_.get_pixel_geometry().width_m,
        "photon_energy_eV": product.metadata.photon_energy_eV,
        "detector_distance_m": product.metadata.detector_distance_m,
    }
    mask = parameters.bad_pixels
    with path.open("wb") as stream:
        numpy.savez(
            stream,
            diff3d=parameters.diffraction_patterns,
            bad_pixels=numpy.zeros(parameters.diffraction_patterns.shape[1:], bool) if mask is None else mask,
            frame_index=points.get_indexes(),
            position_m=numpy.stack([points.get_coordinates_y_m(), points.get_coordinates_x_m()], axis=1),
            xcoords=geometry.map_probe_positions_to_object_x_px(points),
            ycoords=geometry.map_probe_positions_to_object_y_px(points),
            scan_index=numpy.zeros(len(points), numpy.int64),
            probeGuess=product.probes.get_probe_no_opr().get_array(),
            objectGuess=product.object_.get_layer(0),
            **{name: value for name, value in numbers.items() if value > 0},
        )


def with_result(product: Product, path: Path) -> Product:
    """Return ``product`` with the object of a product file; what else it holds stays."""
    found = load_product(path)
    return Product(
        metadata=product.metadata,
        probe_positions=product.probe_positions,
        probes=product.probes,
        object_=found.object_,
        losses=found.losses,
    )

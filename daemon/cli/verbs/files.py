"""Declares the verbs on data files: refine, simulate, predict, validate, convert."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from daemon.cli.verbs.options import AsJson, OnCluster, ScanNumber, WorkflowPath, WorkflowSettings
from daemon.errors import ConfigError


def refine(
    data: Annotated[list[Path], typer.Argument(help="Scans with positions: CXI, NPZ, PTYD.")],
    output: Annotated[Path, typer.Option(help="Product file to write. For several scans: a directory.")],
    probe: Annotated[
        Path | None, typer.Option(help="File with the initial probe. Default: the probe in the data file.")
    ] = None,
    sweeps: Annotated[int, typer.Option(min=1, help="Number of sweeps over all frames.")] = 40,
    full_sweeps: Annotated[
        int, typer.Option(min=0, help="Number of first sweeps with the full step; then the step decreases.")
    ] = 12,
    decay: Annotated[float, typer.Option(min=0.1, max=1, help="Factor for the step in each later sweep.")] = 0.9,
    keep_probe: Annotated[bool, typer.Option("--keep-probe", help="Refine only the object.")] = False,
    seed: Annotated[int, typer.Option(help="Seed for the order of the frames.")] = 0,
    pixel_size: Annotated[
        float | None, typer.Option(help="Side of an object pixel, m, if the file does not give it.")
    ] = None,
    probe_output: Annotated[Path | None, typer.Option(help="NPZ file for the refined probe.")] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="Use only the first N frames.")] = None,
    correct_positions: Annotated[
        bool, typer.Option("--correct-positions", help="Find the true positions from the frames first.")
    ] = False,
    position_bound: Annotated[
        float | None,
        typer.Option(min=0, help="Largest position error to look for, px; implies --correct-positions."),
    ] = None,
    scan: ScanNumber = None,
    on: OnCluster = None,
    no_resolution: Annotated[
        bool, typer.Option("--no-resolution", help="Do not measure the resolution on two halves of the frames.")
    ] = False,
    no_diagnosis: Annotated[
        bool, typer.Option("--no-diagnosis", help="Do not test whether patterns, positions and probe fit together.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Reconstruct object and probe of data files iteratively.

    Writes a product for each.
    """
    from daemon.cli.refine import RefineOptions, run_refine

    options = RefineOptions(
        probe=probe,
        sweeps=sweeps,
        full_sweeps=full_sweeps,
        decay=decay,
        update_probe=not keep_probe,
        seed=seed,
        pixel_size_m=pixel_size,
        probe_output=probe_output,
        frames=frames,
        correct_positions=correct_positions,
        position_bound_px=position_bound,
        scan=scan,
        measure_resolution=not no_resolution,
        diagnose=not no_diagnosis,
    )
    if on is not None:
        from daemon.cli.cluster_verbs import refine_on

        refine_on(on, data, output, options, as_json)
    else:
        run_refine(data, output, options, as_json)


def simulate(
    output: Annotated[Path, typer.Argument(help="NPZ file to write.")],
    size: Annotated[int, typer.Option(min=16, max=1024, help="Side of the patterns, px.")] = 128,
    probe: Annotated[
        str, typer.Option(help="Kind of probe: zone_plate, pinhole, mirrors, gaussian, aberrated or diffuser.")
    ] = ("zone_plate"),
    probe_file: Annotated[Path | None, typer.Option(help="File with a probe; replaces --probe.")] = None,
    modes: Annotated[int, typer.Option(min=1, max=8, help="Number of incoherent modes of the probe.")] = 1,
    footprint: Annotated[
        float, typer.Option(min=0.05, max=0.9, help="Diameter of the probe divided by the side of the patterns.")
    ] = 0.4,
    texture: Annotated[
        str,
        typer.Option(
            "--object", help="Kind of object: shapes, bars, lines, stars, glyphs, noise, cells, leaves or maze."
        ),
    ] = "shapes",
    phase: Annotated[float, typer.Option(help="Phase of the thickest part of the object, rad.")] = 0.5,
    absorption: Annotated[float, typer.Option(min=0, help="-log of the smallest amplitude of the object.")] = 0.1,
    counts: Annotated[float, typer.Option(min=1, help="Photons in a frame without a sample.")] = 1e5,
    track: Annotated[str, typer.Option(help="Scan path: raster, snake, spiral or jitter.")] = "raster",
    overlap: Annotated[
        float, typer.Option(min=0, max=0.95, help="Overlap of neighbouring frames: 1 - step / footprint.")
    ] = 0.7,
    frames: Annotated[int, typer.Option(min=1, help="Number of frames per scan.")] = 100,
    jitter: Annotated[
        float,
        typer.Option(min=0, help="Random displacement of the positions, px rms; the recorded positions include it."),
    ] = 0.0,
    count: Annotated[
        int, typer.Option(min=1, help="Number of scans. Several get numbered files and consecutive seeds.")
    ] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed; the same seed gives the same scan.")] = 0,
    config: Annotated[
        Path | None,
        typer.Option(
            help="Workflow configuration. Its datagen_config, N, nphotons and seed then replace all other options, "
            "and OUTPUT is a directory."
        ),
    ] = None,
    on: OnCluster = None,
    as_json: AsJson = False,
) -> None:
    """Simulate scans and save them with the true object and probe."""
    from daemon.cli.simulate import run_datagen, run_simulate
    from ptychopinn.simulate import Recipe

    if config is not None:
        if on is not None:
            raise ConfigError(
                "--on and --config cannot be used together; give the options of the scans, or leave out --on"
            )
        run_datagen(output, config, as_json)
        return
    recipe = Recipe(
        size_px=size,
        probe_kind=probe,
        modes=modes,
        footprint_ratio=footprint,
        texture=texture,
        phase_rad=phase,
        absorption=absorption,
        counts=counts,
        track=track,
        overlap_ratio=overlap,
        frames=frames,
        jitter_px=jitter,
        seed=seed,
    )
    if on is not None:
        from daemon.cli.cluster_verbs import simulate_on

        simulate_on(on, output, recipe, probe_file, count=count, as_json=as_json)
    else:
        run_simulate(output, recipe, probe_file, count, as_json)


def predict(
    data: Annotated[
        list[Path], typer.Argument(help="Scans with positions: CXI, NPZ, PTYD, patterns file of a product.")
    ],
    output: Annotated[
        Path,
        typer.Option(help="Product to write; with the ending .npz only the picture. For several scans: a directory."),
    ],
    bundle: Annotated[
        str, typer.Option(help="Model: a name, a file, shipped, or none (the lift without a network).")
    ] = "shipped",
    probe: Annotated[
        Path | None, typer.Option(help="File with the probe. Default: the probe in each data file.")
    ] = None,
    device: Annotated[str, typer.Option(help="Device: auto, cpu, cuda or cuda:N.")] = "auto",
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        typer.Option(help="Number type of the network; auto: bfloat16 on a GPU that supports it, otherwise float32."),
    ] = "auto",
    looks: Annotated[
        int, typer.Option(min=1, max=4, help="Predictions per frame; later ones start from the stitched neighbours.")
    ] = 2,
    sweeps: Annotated[int, typer.Option(min=0, help="Number of refinement sweeps after the prediction.")] = 0,
    pixel_size: Annotated[
        float | None, typer.Option(help="Side of an object pixel, m, for files that do not give it.")
    ] = None,
    plot: Annotated[
        Literal["png", "svg"] | None, typer.Option(help="Write a plot of this type beside each product.")
    ] = None,
    correct_positions: Annotated[
        bool, typer.Option("--correct-positions", help="Find the true positions from the frames first.")
    ] = False,
    position_bound: Annotated[
        float | None,
        typer.Option(min=0, help="Largest position error to look for, px; implies --correct-positions."),
    ] = None,
    scan: Annotated[
        int | None, typer.Option(min=0, help="Number of the scan in files with several, from 0. Default: each.")
    ] = None,
    no_resolution: Annotated[
        bool, typer.Option("--no-resolution", help="Do not measure the resolution on two halves of the frames.")
    ] = False,
    no_diagnosis: Annotated[
        bool, typer.Option("--no-diagnosis", help="Do not test whether patterns, positions and probe fit together.")
    ] = False,
    config: WorkflowPath = None,
    settings: WorkflowSettings = None,
    on: OnCluster = None,
    gpus_per_scan: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="With --on: GPUs for one scan; 0.25 runs four on one GPU. Default: 1 if the cluster has any, else 0.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Reconstruct data files with a model and write products, one for each scan.

    The section inference of a configuration sets middle_trim, patch_weighting, batch_size, experiment_number and model_path.
    """
    from daemon.cli.predict import run_predict
    from daemon.cli.prediction import PredictOptions
    from daemon.cli.workflow_config import workflow_of

    options = PredictOptions(
        bundle=bundle,
        probe=probe,
        device=device,
        dtype=dtype,
        looks=looks,
        sweeps=sweeps,
        pixel_size_m=pixel_size,
        plot=plot,
        correct_positions=correct_positions,
        position_bound_px=position_bound,
        scan=scan,
        measure_resolution=not no_resolution,
        diagnose=not no_diagnosis,
        inference=workflow_of(config, None).update(settings or ()).inference_config if config or settings else None,
    )
    if on is not None:
        from daemon.cli.cluster_verbs import predict_on

        predict_on(on, data, output, options, gpus_per_scan=gpus_per_scan, as_json=as_json)
    elif gpus_per_scan is not None:
        raise ConfigError("--gpus-per-scan applies to a cluster; give --on too, or leave it out")
    else:
        run_predict(data, output, options, as_json)


def validate(
    data: Annotated[list[Path], typer.Argument(help="Scan and product files.")],
    as_json: AsJson = False,
) -> None:
    """Check data files, each of several scans in a file; list every violation of the data contract."""
    from daemon.cli.validate import run_validate

    run_validate(data, as_json)


def convert(
    data: Annotated[Path, typer.Argument(help="Scan, product or ptypy result.")],
    output: Annotated[Path, typer.Argument(help="File to write; its extension selects the format.")],
    kind: Annotated[
        str | None,
        typer.Option(
            "--to",
            help="Format of the output: npz-ptychopinn, npz-diffraction, npz-diff3d, cxi, ptyd, nexus, patterns, product, ptyr. "
            "Default: by extension.",
        ),
    ] = None,
    probe: Annotated[
        Path | None, typer.Option(help="File with a probe that replaces the one in the data file.")
    ] = None,
    pixel_size: Annotated[
        float | None, typer.Option(help="Side of an object pixel, m, if the file does not give it.")
    ] = None,
    measurement_domain: Annotated[
        str | None,
        typer.Option(
            help="Content of an NPZ file's patterns, if it does not state it: count_intensity or normalized_amplitude."
        ),
    ] = None,
    scan: ScanNumber = None,
    as_json: AsJson = False,
) -> None:
    """Convert data files and products to other formats.

    Formats: NPZ (three dialects), CXI, ptypy, NeXus and Ptychodus.
    """
    from daemon.cli.convert import run_convert

    run_convert(
        data,
        output,
        kind,
        probe=probe,
        pixel_size_m=pixel_size,
        domain=measurement_domain,
        scan=scan,
        as_json=as_json,
    )

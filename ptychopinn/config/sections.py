"""The five configurations of the workflow, under PtychoPINN's field names and with its defaults.

Fields of PtychoPINN that this program does not have are missing (:mod:`ptychopinn.config.left_out`). Three defaults differ:
``device`` is ``auto``, ``beamstop_diameter`` 0, ``experiment_number`` none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from ptychopinn.config.section import Section

Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Smoothness = Literal["Total_Variation", "Mean_Deviation"]
Range = Annotated[tuple[Share, Share], Field(strict=False)]
Sides = Annotated[tuple[Count, Count], Field(strict=False)]


def _text(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


FileName = Annotated[str, BeforeValidator(_text), Field(min_length=1)]


@dataclass(frozen=True, kw_only=True)
class DataConfig(Section):
    """Content, grouping and scaling of the frames."""

    nphotons: Annotated[
        Positive, Field(description="Mean photons of a frame; amplitudes without a scale are brought to it.")
    ] = 1e5
    scale_contract_version: Annotated[
        Literal["ci_intensity_v2", "legacy_v1"],
        Field(description="Units: those of the count regime, or of the amplitude regime."),
    ] = "ci_intensity_v2"
    measurement_domain: Annotated[
        Literal["count_intensity", "normalized_amplitude"],
        Field(description="Content of the frames; normalized_amplitude also tells a file without this key."),
    ] = "count_intensity"
    N: Annotated[int, Field(ge=16, le=1024, multiple_of=2, description="Side of pattern and patch, px.")] = 64
    K: Annotated[Count, Field(description="Number of nearest neighbours from which a group is drawn.")] = 6
    K_quadrant: Annotated[Count, Field(description="Number of nearest neighbours considered for 4_quadrant.")] = 30
    n_subsample: Annotated[Count, Field(description="Number of groups drawn around each position.")] = 7
    subsample_seed: Annotated[Natural | None, Field(description="Seed of the draw; none: the training's seed.")] = None
    grid_size: Annotated[Sides, Field(description="Members of a group, rows and columns.")] = (2, 2)
    neighbor_function: Annotated[
        Literal["Nearest", "Min_dist", "4_quadrant"], Field(description="How neighbours are chosen.")
    ] = "Nearest"
    min_neighbor_distance: Annotated[NotNegative, Field(description="Smallest distance of neighbours, px.")] = 0.0
    max_neighbor_distance: Annotated[NotNegative, Field(description="Greatest distance of neighbours, px.")] = 3.0
    scan_pattern: Annotated[
        Literal["Isotropic", "Rectangular"], Field(description="Shape of the scan's grid, for 4_quadrant.")
    ] = "Isotropic"
    normalize: Annotated[
        Literal["Group", "Batch", "None"], Field(description="Frames over which the network's input is normalised.")
    ] = "Batch"
    probe_scale: Annotated[Positive, Field(description="Inverse of the mean modulus of the normalised probe.")] = 4.0
    probe_normalize: Annotated[bool, Field(description="Normalise the probe.")] = True
    data_scaling: Annotated[Literal["Parseval", "Max"], Field(description="Scaling of the frames.")] = "Parseval"
    phase_subtraction: Annotated[bool, Field(description="Subtract the mean phase of the labels (supervised).")] = True
    x_bounds: Annotated[Range, Field(description="Part of the scan's width that is kept.")] = (0.1, 0.9)
    y_bounds: Annotated[Range, Field(description="Part of the scan's height that is kept.")] = (0.1, 0.9)

    @property
    def C(self) -> int:  # noqa: N802
        """Frames of a group."""
        return self.grid_size[0] * self.grid_size[1]


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Section):
    """The network, its physics and its loss."""

    mode: Annotated[Literal["Unsupervised", "Supervised"], Field(description="Training signal of the network.")] = (
        "Unsupervised"
    )
    architecture: Annotated[Literal["cnn", "lift", "fno"], Field(description="Model family.")] = "cnn"
    fno_modes: Annotated[Count, Field(le=64, description="Frequencies along each axis in a layer of the fno.")] = 12
    fno_width: Annotated[Count, Field(ge=8, le=256, description="Channels of the fno.")] = 32
    fno_blocks: Annotated[Count, Field(le=32, description="Layers of the fno.")] = 4
    cnn_output_mode: Annotated[Literal["amp_phase", "real_imag"], Field(description="Output of the decoders.")] = (
        "amp_phase"
    )
    use_shared_decoder: Annotated[bool, Field(description="One decoder for both parts.")] = False
    intensity_scale_trainable: Annotated[
        bool, Field(description="Multiply predicted amplitudes by a trained scale.")
    ] = False
    intensity_scale: Annotated[Positive, Field(description="Initial value of that scale.")] = 10000.0
    num_datasets: Annotated[Count, Field(description="Number of experiments with separate trained scales.")] = 1
    n_filters_scale: Annotated[Count, Field(le=64, description="Factor of all channel counts.")] = 2
    amp_activation: Annotated[
        Literal["silu", "SiLU", "sigmoid", "swish", "softplus", "relu"],
        Field(description="Activation of the amplitude."),
    ] = "silu"
    batch_norm: Annotated[bool, Field(description="Batch normalisation.")] = False
    probe_mask: Annotated[bool | None, Field(description="Multiply the probe by a soft disk.")] = False
    probe_mask_sigma: Annotated[NotNegative, Field(description="Softness of the disk's edge, px.")] = 1.0
    eca_encoder: Annotated[bool, Field(description="Store weights of ECA in the encoder, which are not used.")] = False
    cbam_encoder: Annotated[bool, Field(description="CBAM after each encoder block.")] = True
    cbam_bottleneck: Annotated[bool, Field(description="CBAM after the encoder.")] = False
    cbam_decoder: Annotated[bool, Field(description="Store weights of CBAM in the decoders, which are not used.")] = (
        False
    )
    eca_decoder: Annotated[bool, Field(description="Store weights of ECA in the decoders, which are not used.")] = False
    spatial_decoder: Annotated[
        bool, Field(description="Store weights of spatial attention in the decoders, which are not used.")
    ] = False
    decoder_spatial_kernel: Annotated[Count, Field(le=63, description="Kernel of that spatial attention, px.")] = 7
    object_big: Annotated[bool, Field(description="Merge the patches of a group and cut them out again.")] = True
    probe_big: Annotated[bool, Field(description="Predict the patch outside its central half too.")] = True
    training_patch_weighting: Annotated[
        Literal["central_mask", "probe", "uniform"], Field(description="Weight for merging patches.")
    ] = "central_mask"
    physics_forward_mode: Annotated[
        Literal["amplitude", "rectangular_scaled"], Field(description="Amplitude regime, or count regime.")
    ] = "amplitude"
    rect_s1s2_trainable: Annotated[bool, Field(description="Train the two scales of the count regime.")] = True
    rect_s1s2_init: Annotated[Literal["ones", "data"], Field(description="Initial values of these two scales.")] = (
        "ones"
    )
    amplitude_physics_gain: Annotated[Positive, Field(description="Factor of the predicted amplitude.")] = 1.0
    loss_function: Annotated[Literal["MAE", "Poisson"], Field(description="Loss of the patterns.")] = "Poisson"
    amp_loss: Annotated[Smoothness | None, Field(description="Smoothness loss of the amplitude.")] = None
    phase_loss: Annotated[Smoothness | None, Field(description="Smoothness loss of the phase.")] = None
    amp_loss_coeff: Annotated[NotNegative, Field(description="Its weight.")] = 1.0
    phase_loss_coeff: Annotated[NotNegative, Field(description="Its weight.")] = 1.0


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(Section):
    """How the network is trained."""

    training_directories: Annotated[
        list[FileName], Field(description="Directories with training files, if no files are given.")
    ] = field(default_factory=list)
    train_data_file: Annotated[FileName | None, Field(description="Training file, if no file is given.")] = None
    test_data_file: Annotated[
        FileName | None, Field(description="Scan for the validation, in place of held-out groups.")
    ] = None
    output_dir: Annotated[FileName, Field(description="Directory of checkpoints and logs.")] = "training_outputs"
    n_groups: Annotated[Count | None, Field(description="Greatest number of groups; none: all.")] = None
    validation_split: Annotated[float, Field(ge=0, lt=1, description="Share of groups held out.")] = 0.05
    seed: Annotated[Natural, Field(description="Seed of initial weights, split and order.")] = 42
    nll: Annotated[bool, Field(description="Use the loss of loss_function; false: MAE.")] = True
    device: Annotated[str, Field(min_length=1, description="auto, cpu, cuda or cuda:N.")] = "auto"
    strategy: Annotated[str | None, Field(description="Lightning's strategy for several devices.")] = "ddp"
    n_devices: Annotated[Count | Literal["auto"], Field(description="Number of devices, or of processes on a CPU.")] = 1
    framework: Annotated[Literal["Default", "Lightning"], Field(description="Plain loop, or Lightning.")] = "Lightning"
    orchestrator: Annotated[
        Literal["Mlflow", "Lightning"], Field(description="Mlflow: runs are tracked if a store is given.")
    ] = "Mlflow"
    learning_rate: Annotated[Positive, Field(description="Learning rate for a batch of batch_size on one device.")] = (
        1e-3
    )
    epochs: Annotated[Count, Field(description="Number of epochs, unless stages have their own.")] = 50
    batch_size: Annotated[Count, Field(description="Number of groups in a batch.")] = 16
    epochs_fine_tune: Annotated[Natural, Field(description="Number of further epochs with a frozen encoder.")] = 0
    fine_tune_gamma: Annotated[Positive, Field(description="Factor of the learning rate in fine-tuning.")] = 0.1
    stage_1_epochs: Annotated[Natural, Field(description="Number of epochs with the rms loss.")] = 0
    stage_2_epochs: Annotated[Natural, Field(description="Number of epochs that blend both losses.")] = 0
    stage_3_epochs: Annotated[Natural, Field(description="Number of epochs with the physics loss.")] = 0
    physics_weight_schedule: Annotated[
        Literal["linear", "cosine", "exponential"], Field(description="Shape of the blend.")
    ] = "cosine"
    stage_3_lr_factor: Annotated[Positive, Field(description="Factor of the learning rate in stage 3.")] = 0.1
    scheduler: Annotated[
        Literal["Default", "Exponential", "MultiStage", "Adaptive", "WarmupCosine", "ReduceLROnPlateau"],
        Field(description="Scheduler of the learning rate."),
    ] = "Default"
    lr_warmup_epochs: Annotated[Natural, Field(description="Number of epochs of linear rise (WarmupCosine).")] = 0
    lr_min_ratio: Annotated[Share, Field(description="Lowest factor of the learning rate (WarmupCosine).")] = 0.1
    plateau_factor: Annotated[float, Field(gt=0, lt=1, description="Factor of the learning rate on a plateau.")] = 0.5
    plateau_patience: Annotated[
        Natural, Field(description="Number of epochs without improvement that make a plateau.")
    ] = 2
    plateau_min_lr: Annotated[NotNegative, Field(description="Lowest learning rate on plateaus.")] = 5e-5
    plateau_threshold: Annotated[NotNegative, Field(description="Smallest improvement that counts.")] = 0.0
    early_stop_patience: Annotated[
        Count | None, Field(description="Epochs without improvement that end the training; none: never.")
    ] = None
    num_workers: Annotated[Natural, Field(description="Number of threads that read batches ahead; 0: none.")] = 4
    overlap_frames: Annotated[
        Natural,
        Field(
            description="Number of neighbouring frames trained together by their stitched patches; 0: groups (lift: 12)."
        ),
    ] = 0
    accum_steps: Annotated[Count, Field(description="Number of batches whose gradients make one step.")] = 1
    gradient_clip_val: Annotated[Positive | None, Field(description="Greatest gradient; none: no clipping.")] = None
    gradient_clip_algorithm: Annotated[
        Literal["norm", "value", "agc"],
        Field(description="Gradient clipping: by the norm, by the value, or adaptive (agc)."),
    ] = "norm"
    optimizer: Annotated[Literal["adam", "adamw", "sgd"], Field(description="Optimiser.")] = "adam"
    momentum: Annotated[Share, Field(description="Momentum of sgd.")] = 0.9
    weight_decay: Annotated[NotNegative, Field(description="Weight decay of the optimiser.")] = 0.0
    adam_beta1: Annotated[float, Field(ge=0, lt=1, description="Decay rate of the gradient's mean (adam, adamw).")] = (
        0.9
    )
    adam_beta2: Annotated[float, Field(ge=0, lt=1, description="Decay rate of its mean square (adam, adamw).")] = 0.999
    experiment_name: Annotated[str, Field(description="Experiment of the tracked run.")] = "Synthetic_Runs"
    notes: Annotated[str, Field(description="Notes of the tracked run.")] = ""
    model_name: Annotated[str, Field(min_length=1, description="Name of the model.")] = "PtychoPINNv2"

    @property
    def stated_data(self) -> list[str]:
        """Files and directories to train on, unless others are given."""
        return [*([] if self.train_data_file is None else [self.train_data_file]), *self.training_directories]


@dataclass(frozen=True, kw_only=True)
class InferenceConfig(Section):
    """How a trained model is used."""

    middle_trim: Annotated[Count, Field(description="Side of the middle of a patch that is stitched, px.")] = 32
    batch_size: Annotated[Count, Field(description="Greatest number of groups in a batch.")] = 1000
    experiment_number: Annotated[
        Natural | None, Field(description="Number of the scan in a file with several, from 0; none: each.")
    ] = None
    window: Annotated[
        Natural, Field(description="Width of the border that Picture.cropped removes, px; plots show the rest.")
    ] = 20
    patch_weighting: Annotated[Literal["uniform", "probe"], Field(description="Weight for stitching patches.")] = (
        "probe"
    )
    model_path: Annotated[FileName | None, Field(description="Bundle or checkpoint, if no model is given.")] = None
    test_data_file: Annotated[FileName | None, Field(description="Scan to predict, if no file is given.")] = None
    output_dir: Annotated[FileName, Field(description="Directory of results, for programs that read params.cfg.")] = (
        "inference_outputs"
    )


@dataclass(frozen=True, kw_only=True)
class DatagenConfig(Section):
    """How scans are simulated."""

    objects_per_probe: Annotated[Count, Field(description="Number of objects for each probe.")] = 4
    diff_per_object: Annotated[Count, Field(description="Number of patterns of each object.")] = 7000
    object_class: Annotated[str, Field(min_length=1, description="Kind of object.")] = "dead_leaves"
    image_size: Annotated[Sides, Field(description="Rows and columns of an object, px; the scan fits into it.")] = (
        250,
        250,
    )
    probe_paths: Annotated[list[FileName], Field(description="Files with probes; empty: simulated probes.")] = field(
        default_factory=list
    )
    beamstop_diameter: Annotated[Natural, Field(description="Diameter of the beam stop, px; 0: none.")] = 0

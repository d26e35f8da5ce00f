"""No setting is ignored: two values of each field give two results, or one of them is refused by its name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from ptychopinn.api import ConfigManager, Datagen, InferenceEngine, PtychoModel
from ptychopinn.config import legacy, params
from ptychopinn.config.left_out import ANY, LEFT_OUT
from ptychopinn.config.manager import SECTIONS
from ptychopinn.contract.training_export import TrainingScan, write_training_file
from ptychopinn.data import PtychoDataset, build_store
from ptychopinn.device import choose_device
from ptychopinn.errors import ConfigurationError, ReconstructionError
from ptychopinn.model.cnn import TrainableCnn
from ptychopinn.model.cnn_config import cnn_options, physics_options
from ptychopinn.training import Trainer, tracking
from ptychopinn.training.loss_stages import Stages, find_learning_rate
from ptychopinn.training.networks import make_task
from ptychopinn.training.optimise import ConfiguredCourse
from ptychopinn.training.task import BatchIndex
from ptychopinn.training.training_data import build_data, open_data, scan_sources
from tests.support.training_scenes import grid_experiment

Sections = dict[str, dict[str, Any]]
SMALL: Sections = {
    "data": {"x_bounds": (0, 1), "y_bounds": (0, 1), "n_subsample": 1},
    "model": {"n_filters_scale": 1},
    "training": {"device": "cpu", "framework": "Default"},
}
COUNTS = {"physics_forward_mode": "rectangular_scaled", "cnn_output_mode": "real_imag"}
QUADRANTS = {"neighbor_function": "4_quadrant", "max_neighbor_distance": 5.0, "n_subsample": 1}
FAR = {"neighbor_function": "Min_dist", "max_neighbor_distance": 5.0, "n_subsample": 1}
SUPERVISED = {"mode": "Supervised"}
FOUR_TIMES = {"training": {"stage_1_epochs": 1, "stage_2_epochs": 2, "stage_3_epochs": 1}}


@pytest.fixture(autouse=True)
def _own_dictionary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(params, "cfg", {})


def network(configs: ConfigManager, folder: Path) -> object:
    """Return shapes of the weights, the output, and the patterns of the forward model."""
    options, physics = (make(configs.data_config, configs.model_config) for make in (cnn_options, physics_options))
    with torch.random.fork_rng():
        torch.manual_seed(configs.training_config.seed)
        found = TrainableCnn(options, physics).eval()
        images = torch.rand(1, options.members, options.size_px, options.size_px)
        probe = torch.rand(1, options.members, 1, options.size_px, options.size_px, dtype=torch.complex64)
        offsets = torch.randn(1, options.members, 1, 2)
        with torch.no_grad():
            patches = found(images)
            seen: Any = 0.0
            if physics.regime == "amplitude":
                seen = found.forward_model.amplitude(
                    patches, offsets, probe, torch.ones(1, 1, 1, 1), torch.zeros(1).int()
                )
    shapes = {name: tuple(value.shape) for name, value in found.state_dict().items()}
    return shapes, patches.abs().sum().item(), float(torch.as_tensor(seen).sum())


def groups(configs: ConfigManager, folder: Path) -> object:
    """Return the groups of a data set, their scales and the probe."""
    build_store(folder / "store", [grid_experiment("g", 6)], configs.data_config, configs.training_config)
    mask = configs.model_config.probe_mask_sigma if configs.model_config.probe_mask else None
    data = PtychoDataset(folder / "store", "training", probe_mask_sigma_px=mask)
    group, probe, q = data[:]
    values = {str(name): group[name].double().sum().item() for name in group.keys()}  # noqa: SIM118
    return len(group), group["nn_indices"].tolist(), values, probe.abs().sum().item(), q.sum().item()


def losses(configs: ConfigManager, folder: Path) -> object:
    """Return the loss of the first epochs, of the validation, and the scales of the first batch."""
    build_store(folder / "store", [grid_experiment("g", 6)], configs.data_config, configs.training_config)
    data = PtychoDataset(folder / "store", "all")
    model = PtychoModel.new(configs)
    task = make_task(model, configs, data, is_new=True)
    task.prepare([data[:2]])
    task.network.use_acting_weights_only(has_trained_scales=configs.model_config.rect_s1s2_trainable)
    trained = [name for name, value in task.network.named_parameters() if value.requires_grad]
    with torch.no_grad():
        found = [float(task.loss(data[:2], BatchIndex(epoch, 0))["loss"]) for epoch in range(4)]
        return found, float(task.loss(data[:2], None)["loss"]), trained


def steps(configs: ConfigManager, folder: Path) -> object:
    """Return the weights of a small network after a few steps, and the rate of each epoch."""
    config = configs.training_config
    with torch.random.fork_rng():
        torch.manual_seed(0)
        small = nn.Conv2d(1, 3, 3)
    devices = config.n_devices if isinstance(config.n_devices, int) else 1
    course = ConfiguredCourse(config, find_learning_rate(config.learning_rate, devices, 16))
    optimiser = course.make_optimiser(small)
    scheduler = course.make_scheduler(optimiser)
    rates = []
    for loss in (5.0, 5.0, 5.0, 5.0, 4.8, 4.0, 4.0, 4.0, 4.0):
        rates.append(optimiser.param_groups[0]["lr"])
        for _ in range(course.accum_steps):
            (small(torch.ones(1, 1, 8, 8) * 3) - loss).square().sum().backward()
        course.clip_gradients(small.parameters())
        optimiser.step()
        optimiser.zero_grad()
        scheduler.step(*((loss,) if config.scheduler == "ReduceLROnPlateau" else ()))  # type: ignore[arg-type]
    facts = [course.epoch_facts(epoch) for epoch in range(8)]
    return rates, [w.sum().item() for w in small.parameters()], facts, course.patience, course.accum_steps


def schedule(configs: ConfigManager, folder: Path) -> object:
    """Return the plan of the trainer: epochs of training and fine-tuning, rates, batches, threads, folder, framework."""
    configs.update(training_config={"output_dir": configs.training_config.output_dir})
    trainer = Trainer(configs)
    config = trainer.configs.training_config
    return Stages.of(config).epochs(config.epochs), trainer.plan, params.cfg["output_prefix"]


def sources(configs: ConfigManager, folder: Path) -> object:
    """Return the files to train on, and the sizes of training and validation."""
    named = scan_sources([folder / name for name in configs.training_config.stated_data] or [grid_experiment("g", 6)])
    build_data(folder / "made", configs, [grid_experiment("g", 6)], Trainer(configs)._read, None)
    training, validation = open_data(folder / "made", configs)
    sizes = len(training), training[0].group["nn_indices"].shape, 0 if validation is None else len(validation)
    return [str(one)[-8:] for one in named], sizes


class _Store:
    """Records the calls of a tracking store; every result is the store again."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.info, self.run_id, self.experiment_id = self, "run", "experiment"

    def get_experiment_by_name(self, name: str) -> None:
        self.calls.append(name)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*values: Any, **named: Any) -> Any:
            self.calls.append(f"{name} {values} {named}")
            return self

        return call


def tracked(configs: ConfigManager, folder: Path) -> object:
    """Return the calls that open a tracked run; none, if it is not tracked."""
    store = _Store()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracking, "mlflow_client", lambda uri: store)
        if configs.training_config.orchestrator == "Mlflow":
            tracking.TrackedRun("file:x", configs, {})
    return [call for call in store.calls if "log_param" not in call]


def pictures(configs: ConfigManager, folder: Path) -> object:
    """Return the cropped picture of a file with several scans, the size of the batches, and the dictionary's folder."""
    engine = InferenceEngine(PtychoModel.new(ConfigManager.from_dict({**SMALL, "data": {"C": 1}})), configs)
    engine._batches[64] = 99
    _, picture = next(engine.predict_files(folder / name for name in ("two.npz",)))
    cut = picture.cropped()
    sizes = engine._batch(engine._model.for_probe(torch.ones(64, 64, dtype=torch.complex64)), 64)
    return (
        cut.object.shape,
        np.abs(cut.object).sum(),
        cut.weight.sum(),
        cut.origin_px,
        sizes,
        params.cfg["output_prefix"],
    )


def stated(configs: ConfigManager, folder: Path) -> object:
    """Return the error of an engine that takes model and scan from the configuration."""
    try:
        list(InferenceEngine(configs=configs).predict_files())
    except ReconstructionError as fault:
        return str(fault)
    return ""


def simulated(configs: ConfigManager, folder: Path) -> object:
    """Return the number of scans, and the first one."""
    made = Datagen(configs)
    scan = next(made.scans())
    return (
        len(made),
        tuple(scan.object.shape),
        len(scan.amplitude),
        scan.amplitude.sum().item(),
        scan.probe.abs().sum().item(),
    )


def device(configs: ConfigManager, folder: Path) -> object:
    """Return the device."""
    try:
        return choose_device(configs.training_config.device).type
    except (RuntimeError, ValueError) as fault:
        raise ConfigurationError(f"device: {fault}") from fault


FNO = {"architecture": "fno", "n_filters_scale": 2}


class Case(NamedTuple):
    """Two values of a field, how they are seen, and other settings that the field needs."""

    first: Any
    second: Any
    seen: Callable[[ConfigManager, Path], object]
    beside: Sections = {}


CASES: dict[str, dict[str, Case]] = {
    "data": {
        "nphotons": Case(1e3, 1e4, simulated),
        "scale_contract_version": Case("ci_intensity_v2", "legacy_v1", network, {"model": COUNTS}),
        "measurement_domain": Case("count_intensity", "normalized_amplitude", network, {"model": COUNTS}),
        "N": Case(64, 128, network),
        "K": Case(3, 12, groups),
        "K_quadrant": Case(4, 20, groups, {"data": QUADRANTS}),
        "n_subsample": Case(1, 2, groups),
        "subsample_seed": Case(1, 2, groups),
        "grid_size": Case((1, 1), (2, 2), network),
        "neighbor_function": Case("Nearest", "Min_dist", groups, {"data": {**FAR, "max_neighbor_distance": 2.5}}),
        "min_neighbor_distance": Case(0.0, 2.5, groups, {"data": FAR}),
        "max_neighbor_distance": Case(3.0, 5.0, groups, {"data": {**FAR, "K": 20}}),
        "scan_pattern": Case("Isotropic", "Rectangular", groups, {"data": {**QUADRANTS, "max_neighbor_distance": 2.5}}),
        "normalize": Case("Batch", "Group", groups),
        "probe_scale": Case(4.0, 2.0, groups),
        "probe_normalize": Case(True, False, groups),
        "data_scaling": Case("Parseval", "Max", groups),
        "phase_subtraction": Case(True, False, groups),
        "x_bounds": Case((0, 1), (0, 0.5), groups),
        "y_bounds": Case((0, 1), (0, 0.5), groups),
    },
    "model": {
        "mode": Case("Unsupervised", "Supervised", losses),
        "architecture": Case("cnn", "lift", lambda c, f: PtychoModel.new(c).bundle.architecture),
        "fno_modes": Case(12, 8, network, {"model": FNO}),
        "fno_width": Case(32, 16, network, {"model": FNO}),
        "fno_blocks": Case(4, 2, network, {"model": FNO}),
        "cnn_output_mode": Case("amp_phase", "real_imag", network),
        "use_shared_decoder": Case(False, True, network),
        "intensity_scale_trainable": Case(False, True, losses),
        "intensity_scale": Case(1e3, 1e4, losses, {"model": {"intensity_scale_trainable": True}}),
        "num_datasets": Case(1, 2, network),
        "n_filters_scale": Case(1, 2, network),
        "amp_activation": Case("silu", "sigmoid", network),
        "batch_norm": Case(False, True, network),
        "probe_mask": Case(False, True, groups),
        "probe_mask_sigma": Case(1.0, 3.0, network, {"model": {"probe_mask": True}}),
        "eca_encoder": Case(False, True, network, {"model": {"cbam_encoder": False}}),
        "cbam_encoder": Case(True, False, network),
        "cbam_bottleneck": Case(False, True, network),
        "cbam_decoder": Case(False, True, network),
        "eca_decoder": Case(False, True, network),
        "spatial_decoder": Case(False, True, network),
        "decoder_spatial_kernel": Case(7, 5, network, {"model": {"spatial_decoder": True}}),
        "object_big": Case(True, False, network),
        "probe_big": Case(True, False, network),
        "training_patch_weighting": Case("central_mask", "probe", network),
        "physics_forward_mode": Case(
            "amplitude", "rectangular_scaled", losses, {"model": {"cnn_output_mode": "real_imag"}}
        ),
        "rect_s1s2_trainable": Case(True, False, losses, {"model": COUNTS}),
        "rect_s1s2_init": Case("ones", "data", losses, {"model": COUNTS}),
        "amplitude_physics_gain": Case(1.0, 2.0, losses),
        "loss_function": Case("Poisson", "MAE", losses),
        "amp_loss": Case(None, "Total_Variation", losses),
        "phase_loss": Case(None, "Mean_Deviation", losses),
        "amp_loss_coeff": Case(1.0, 2.0, losses, {"model": {"amp_loss": "Total_Variation"}}),
        "phase_loss_coeff": Case(1.0, 2.0, losses, {"model": {"phase_loss": "Total_Variation"}}),
    },
    "training": {
        "training_directories": Case(["a"], ["b"], sources),
        "train_data_file": Case("a/1.npz", "b/2.npz", sources),
        "test_data_file": Case(None, "two.npz", sources),
        "output_dir": Case("a", "b", schedule),
        "n_groups": Case(None, 5, groups),
        "validation_split": Case(0.1, 0.5, groups),
        "seed": Case(1, 2, groups),
        "nll": Case(True, False, losses),
        "device": Case("cpu", "cuda:77", device),
        "strategy": Case("ddp", None, schedule, {"training": {"n_devices": 2, "framework": "Lightning"}}),
        "n_devices": Case(1, 2, steps),
        "framework": Case("Default", "Lightning", schedule),
        "orchestrator": Case("Mlflow", "Lightning", tracked),
        "learning_rate": Case(1e-3, 1e-2, steps),
        "epochs": Case(5, 6, schedule),
        "batch_size": Case(4, 8, schedule),
        "epochs_fine_tune": Case(0, 3, schedule),
        "fine_tune_gamma": Case(0.1, 0.2, schedule),
        "stage_1_epochs": Case(0, 2, steps, {"training": {"stage_3_epochs": 2}}),
        "stage_2_epochs": Case(0, 2, steps, {"training": {"stage_1_epochs": 2}}),
        "stage_3_epochs": Case(0, 2, schedule, {"training": {"stage_1_epochs": 2}}),
        "physics_weight_schedule": Case("linear", "cosine", steps, FOUR_TIMES),
        "stage_3_lr_factor": Case(0.1, 0.5, steps, {"training": {"scheduler": "MultiStage"}}),
        "scheduler": Case("Default", "Exponential", steps),
        "lr_warmup_epochs": Case(0, 2, steps, {"training": {"scheduler": "WarmupCosine"}}),
        "lr_min_ratio": Case(0.1, 0.3, steps, {"training": {"scheduler": "WarmupCosine"}}),
        "plateau_factor": Case(0.5, 0.2, steps, {"training": {"scheduler": "ReduceLROnPlateau"}}),
        "plateau_patience": Case(2, 0, steps, {"training": {"scheduler": "ReduceLROnPlateau"}}),
        "plateau_min_lr": Case(5e-5, 9e-4, steps, {"training": {"scheduler": "ReduceLROnPlateau"}}),
        "plateau_threshold": Case(
            0.0,
            0.5,
            steps,
            {"training": {"scheduler": "ReduceLROnPlateau", "plateau_patience": 0, "plateau_factor": 0.9}},
        ),
        "early_stop_patience": Case(None, 2, steps),
        "num_workers": Case(0, 2, schedule),
        "overlap_frames": Case(0, 4, sources, {"data": {"grid_size": (1, 1), "n_subsample": 7}}),
        "accum_steps": Case(1, 2, steps),
        "gradient_clip_val": Case(None, 0.1, steps, {"training": {"optimizer": "sgd"}}),
        "gradient_clip_algorithm": Case(
            "norm", "agc", steps, {"training": {"gradient_clip_val": 0.1, "optimizer": "sgd"}}
        ),
        "optimizer": Case("adam", "sgd", steps),
        "momentum": Case(0.9, 0.5, steps, {"training": {"optimizer": "sgd"}}),
        "weight_decay": Case(0.0, 0.5, steps),
        "adam_beta1": Case(0.9, 0.5, steps),
        "adam_beta2": Case(0.999, 0.5, steps),
        "experiment_name": Case("a", "b", tracked),
        "notes": Case("a", "b", tracked),
        "model_name": Case("a", "b", tracked),
    },
    "inference": {
        "middle_trim": Case(32, 16, pictures),
        "batch_size": Case(1000, 2, pictures),
        "experiment_number": Case(None, 1, pictures),
        "window": Case(20, 10, pictures),
        "patch_weighting": Case("probe", "uniform", pictures),
        "model_path": Case("a.zip", "b.zip", stated),
        "test_data_file": Case(None, "gone.npz", stated, {"inference": {"model_path": "m.zip"}}),
        "output_dir": Case("a", "b", pictures),
    },
    "datagen": {
        "objects_per_probe": Case(1, 2, simulated),
        "diff_per_object": Case(4, 5, simulated),
        "object_class": Case("maze", "shapes", simulated),
        "image_size": Case((80, 90), (100, 90), simulated),
        "probe_paths": Case([], ["two.npz"], simulated),
        "beamstop_diameter": Case(0, 8, simulated),
    },
}
WALK = [(section, name) for section, of in CASES.items() for name in of]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    scan = grid_experiment("g", 6)
    counts = np.square(np.maximum(scan.amplitude, 0)).astype(np.int32)
    probe = np.exp(-((np.mgrid[:64, :64] - 32) ** 2).sum(0) / 300)[None].astype(np.complex64) * 9
    two = TrainingScan(counts, scan.positions_px, probe, scan_index=np.repeat([0, 1], 18))
    for name in ("two.npz", "a/1.npz", "b/2.npz"):
        (folder / name).parent.mkdir(exist_ok=True)
        write_training_file(folder / name, two, "diff3d")
    PtychoModel.new(ConfigManager.from_dict({**SMALL, "data": {"C": 1}})).save(folder / "m.zip")
    return folder


def test_every_field_is_walked() -> None:
    for name, section in SECTIONS.items():
        assert {field.name for field in fields(section)} == set(CASES[name.removesuffix("_config")]), name


@pytest.mark.parametrize(("section", "name"), WALK)
def test_two_values_give_two_results_or_a_refusal_by_name(
    section: str, name: str, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files)
    case = CASES[section][name]
    base: Sections = {**SMALL, "datagen": {"object_class": "maze", "diff_per_object": 4, "objects_per_probe": 1}}
    found = []
    for value in (case.first, case.second):
        told = {key: {**base.get(key, {}), **case.beside.get(key, {})} for key in {*base, *case.beside, section}}
        told[section] = {**told.get(section, {}), name: value}
        (tmp_path / str(len(found))).mkdir()
        for given in (files / "a", files / "b"):
            (tmp_path / str(len(found)) / given.name).symlink_to(given)
        (tmp_path / str(len(found)) / "two.npz").symlink_to(files / "two.npz")
        try:
            found.append(case.seen(ConfigManager.from_dict(told), tmp_path / str(len(found))))
        except ReconstructionError as fault:
            assert name in str(fault)  # noqa: PT017
            found.append(str(fault))
    assert found[0] != found[1]


@pytest.mark.parametrize("name", [name for name, (default, _) in LEFT_OUT.items() if default is not ANY])
def test_fields_of_ptychopinn_alone_are_refused_unless_they_have_its_default(name: str) -> None:
    default, reason = LEFT_OUT[name]
    assert ConfigManager.from_dict({"model": {name: default}}) == ConfigManager()
    other = (not default) if isinstance(default, bool) else "other"
    with pytest.raises(ConfigurationError) as caught:
        ConfigManager.from_dict({"model": {name: other}})
    assert name in str(caught.value)
    assert reason in str(caught.value)


def test_the_older_loss_mode_selects_the_loss_as_in_ptychopinn() -> None:
    def loss(model: dict[str, Any], mode: str) -> str:
        return ConfigManager.from_dict(
            {"model": model, "training": {"torch_loss_mode": mode}}
        ).model_config.loss_function

    assert (loss({}, "mae"), loss({}, "poisson"), loss({"loss_function": "Poisson"}, "mae")) == (
        "MAE",
        "Poisson",
        "MAE",
    )
    with pytest.raises(ConfigurationError, match="torch_loss_mode is 'poisson' but loss_function is 'MAE'"):
        loss({"loss_function": "MAE"}, "poisson")
    with pytest.raises(ConfigurationError, match="torch_loss_mode is 'x'; set loss_function"):
        loss({}, "x")


@pytest.mark.parametrize(
    ("sections", "names"),
    [
        ({"model": {"loss_function": "MAE", "phase_loss": "Total_Variation"}}, ("loss_function", "phase_loss")),
        ({"training": {"stage_1_epochs": 2, "nll": False}}, ("stage_1_epochs", "nll")),
        ({"data": {"K": 9, "n_subsample": 2}}, ("K", "n_subsample")),
        ({"training": {"momentum": 0.5}}, ("momentum",)),
        ({"training": {"optimizer": "sgd", "adam_beta1": 0.5, "adam_beta2": 0.5}}, ("adam_beta1", "adam_beta2")),
    ],
)
@pytest.mark.parametrize("beside", ["overlap_frames", "lift"])
def test_settings_that_neighbourhoods_cannot_follow_are_refused(
    sections: Sections, names: tuple[str, ...], beside: str
) -> None:
    told = {"data": {"grid_size": (1, 1)}, **sections}
    section, name, value = ("model", "architecture", "lift") if beside == "lift" else ("training", beside, 6)
    told[section] = {**told.get(section, {}), name: value}
    with pytest.raises(ConfigurationError) as caught:
        ConfigManager.from_dict(told)
    for one in names:
        assert f".{one} is " in str(caught.value)


def test_a_missing_test_file_is_refused_before_anything_is_built(tmp_path: Path) -> None:
    configs = ConfigManager.from_dict({"training": {"output_dir": str(tmp_path / "o"), "test_data_file": "gone.npz"}})
    with pytest.raises(ReconstructionError, match=r"gone\.npz: there is no such file; correct test_data_file"):
        Trainer(configs).fit([grid_experiment("g", 6)])
    assert not (tmp_path / "o").exists()


def test_single_frames_give_one_model_by_file_setting_and_update(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[data]\ngrid_size = [1, 1]\n")
    by_file = ConfigManager.from_file(tmp_path / "c.toml")
    by_setting = ConfigManager.from_dict({}).update(["data.grid_size=[1, 1]"])
    by_update = ConfigManager().update(data_config={"grid_size": (1, 1)})
    assert by_file == by_setting == by_update
    assert by_update.model_config.object_big is False
    assert by_update.update(data_config={"grid_size": (2, 2)}) == ConfigManager()
    said = ConfigManager.from_dict({"model": {"object_big": True}}).update(data_config={"grid_size": (1, 1)})
    assert said.model_config.object_big is True  # stated, so it stays


def test_the_prefix_of_the_older_dictionary_is_the_folder_of_each_entry_point() -> None:
    configs = ConfigManager.from_dict({"training": {"output_dir": "t"}, "inference": {"output_dir": "i"}})
    legacy.update_params(configs)
    assert params.cfg["output_prefix"] == "t"
    legacy.update_params(configs, is_inference=True)
    assert params.cfg["output_prefix"] == "i"
    with pytest.raises(ConfigurationError, match="gaussian_smoothing_sigma is 2.0, which this program cannot follow"):
        legacy.read_legacy_dict({"gaussian_smoothing_sigma": 2.0})

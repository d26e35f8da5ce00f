"""The training as a LightningModule and a LightningDataModule, for a ``lightning.Trainer`` of one's own.

The configurations give network, data, loss, optimiser, learning rate, clipping, batches and seed. The Trainer gives epochs,
devices, accumulation and callbacks; where it is told the same as the configurations, the weights are those of
:class:`ptychopinn.training.Trainer`. Its checkpoints are those of PtychoPINN: ``PtychoModel.load`` reads them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ptychopinn.config.manager import ConfigManager
from ptychopinn.data.dataset import PtychoDataset
from ptychopinn.data.experiment import Experiment
from ptychopinn.data.loader import TensorDictLoader
from ptychopinn.data.training_file import read_training_file
from ptychopinn.errors import ConfigurationError
from ptychopinn.model.ptycho_model import PtychoModel
from ptychopinn.training.front import Data, make_loaders, prepare_network, training_identity
from ptychopinn.training.loop import Job
from ptychopinn.training.loss_stages import Stages
from ptychopinn.training.networks import make_task, trained_model
from ptychopinn.training.optimise import ConfiguredCourse
from ptychopinn.training.training_data import build_data, open_data, scan_sources
from ptychopinn.training.watch import Watchers

try:
    from lightning.pytorch import LightningDataModule

    from ptychopinn.training.lightning_loop import TrainedTask
except ImportError as fault:
    raise ConfigurationError("lightning is not installed; install ptycholive[lightning]") from fault


class PtychoDataModule(LightningDataModule):
    """The data set of a training and its loaders; it is built in ``TrainingConfig.output_dir``, once for all processes.

    Parameters
    ----------
    data
        Files, directories of files, or scans; none: those that the configuration names.
    read
        Function that reads a file; by default it reads training files (NPZ).
    """

    def __init__(
        self, configs: ConfigManager, data: Data = (), *, read: Callable[[Path], Experiment] | None = None
    ) -> None:
        super().__init__()
        self.configs = ConfigManager(*configs.to_tuple())
        self._folder = Path(self.configs.training_config.output_dir)
        nphotons, folder = self.configs.data_config.nphotons, self._folder
        self._read = read or (lambda path: read_training_file(path, nphotons, scratch=folder))
        self._data = data
        self.identity = ""
        """Describes data and settings; empty before :meth:`setup`."""
        self.training: PtychoDataset
        self.validation: PtychoDataset | None
        self.loaders: tuple[TensorDictLoader, TensorDictLoader | None]

    def setup(self, stage: str) -> None:
        """Build the data set, unless it exists, and open it."""
        del stage
        data = [self._data] if isinstance(self._data, (str, Path, Experiment)) else self._data
        sources = scan_sources(data or self.configs.training_config.stated_data)
        self.identity = build_data(self._folder, self.configs, sources, self._read, None)
        self.training, self.validation = open_data(self._folder, self.configs)
        self.loaders = make_loaders(self.configs.training_config, self.training, self.validation, "cpu")

    def train_dataloader(self) -> TensorDictLoader:
        """Return the loader of the groups to train on; its order depends on seed and epoch."""
        return self.loaders[0]

    def val_dataloader(self) -> TensorDictLoader | list[Any]:
        """Return the loader of the held-out groups."""
        return [] if self.loaders[1] is None else self.loaders[1]


class PtychoLightningModule(TrainedTask):
    """The network with its loss and optimiser; used with a :class:`PtychoDataModule`. The network exists after ``setup``.

    Parameters
    ----------
    start
        A trained model whose weights are all trained on; None: a new model.
    """

    def __init__(self, configs: ConfigManager, start: PtychoModel | None = None) -> None:
        super(TrainedTask, self).__init__()
        self.configs = ConfigManager(*configs.to_tuple())
        self._origin = start or PtychoModel.new(self.configs)
        self._is_new = start is None
        self._data: PtychoDataModule

    def setup(self, stage: str) -> None:
        """Make the task from the data set of the data module."""
        del stage
        data = getattr(self.trainer, "datamodule", None)
        if not isinstance(data, PtychoDataModule):
            raise ConfigurationError("the module has no data set; give fit a PtychoDataModule too: fit(module, data)")
        self._data = data
        training = replace(self.configs.training_config, epochs=self._epochs)
        stages = Stages.of(training)
        reach = 0.0 if data.validation is None else data.validation.farthest_px()
        task = make_task(self._origin, self.configs, data.training, is_new=self._is_new, stages=stages, reach_px=reach)
        prepare_network(task, self.configs)
        loader, held_out = data.loaders
        self.take(
            Job(
                task=task,
                training=loader,
                validation=held_out,
                course=ConfiguredCourse(training, training.learning_rate, stages),
                epochs=self._epochs,
                folder=Path(training.output_dir),
                watchers=Watchers(()),
                identity=training_identity(data.identity, self.configs, self._origin),
            ),
            {"hyper_parameters": self.configs.to_dict()},
        )
        task.prepare(loader)

    @property
    def _epochs(self) -> int:
        """Epochs of the Trainer, on which the learning rate of some schedulers depends; those configured if it has no end."""
        most = self.trainer.max_epochs
        return self.configs.training_config.epochs if most is None or most < 0 else most

    def trained_model(self) -> PtychoModel:
        """Return the model with the present weights."""
        facts = self._data.training.facts
        return trained_model(
            self._job.task.network,
            self._origin,
            self.configs,
            trained_on=[str(one["name"]) for one in facts],
            experiments=facts,
            is_fine_tuned=False,
            started_from=self._origin.bundle.sha256,
            metrics=dict(self.lines[-1]) if self.lines else {},
        )

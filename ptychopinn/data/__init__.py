"""The data module: scans to a memory-mapped data set of groups, and loaders over it."""

from ptychopinn.data.dataset import GroupBatch, PtychoDataset
from ptychopinn.data.experiment import Experiment
from ptychopinn.data.loader import GroupSampler, TensorDictLoader, WorkerRank, torch_loader
from ptychopinn.data.shared import own_rank, share_store
from ptychopinn.data.store import build_store
from ptychopinn.data.stream import StreamDataset
from ptychopinn.data.training_file import read_training_file, training_files

__all__ = [
    "GroupBatch",
    "Experiment",
    "GroupSampler",
    "PtychoDataset",
    "WorkerRank",
    "StreamDataset",
    "TensorDictLoader",
    "build_store",
    "own_rank",
    "read_training_file",
    "share_store",
    "torch_loader",
    "training_files",
]

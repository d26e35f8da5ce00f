"""Checkpoints of PtychoPINN: their state_dict, read without running code, becomes a :class:`Cnn`.

A Lightning checkpoint holds it under ``state_dict`` with names that begin with ``model.``; a bare one may lack both. The
form of the network is read off the shapes. What belongs to the physics (``forward_model.*``) is returned beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ptychopinn.errors import FileFormatError
from ptychopinn.model.cnn import LEVELS, Cnn, CnnOptions

FIRST = "autoencoder.encoder.blocks.0.conv1.weight"
UNSUPPORTED = ("decoder_shared", "eca", "attention_decoder")


def import_checkpoint(path: Path, output: str | None = None) -> tuple[Cnn, dict[str, Any]]:
    """Return the network of a checkpoint, ready for inference, and the scalars of its forward model.

    ``output`` (polar or cartesian) overrides what the checkpoint says of itself; one that says nothing is polar.

    Raises
    ------
    FileFormatError
        If the file is no such checkpoint, holds anything but tensors and plain data, or a form that is not known here.
    """
    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
    except FileNotFoundError:
        raise FileFormatError(f"{path}: there is no such file; give a checkpoint") from None
    except Exception as fault:  # whatever an unpickler meets
        cause = str(fault).splitlines()[0][:120]
        raise FileFormatError(
            f"{path}: is no checkpoint of tensors and plain data ({cause}); it is not loaded"
        ) from fault
    state, about = _state(content, path)
    options = _options(state, about, path, output)
    network = Cnn(options)
    weights = {name: value for name, value in state.items() if name.startswith("autoencoder.")}
    try:
        network.load_state_dict(weights)
    except RuntimeError as fault:
        cause = str(fault).splitlines()[-1].strip()[:160]
        raise FileFormatError(
            f"{path}: holds a network of another form ({cause}); only the default one loads"
        ) from fault
    network.eval()
    scalars = {name: value.tolist() for name, value in state.items() if name.startswith("forward_model.")}
    return network, scalars


def _state(content: Any, path: Path) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
    about: Mapping[str, Any] = {}
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        about = content.get("hyper_parameters") or {}
        content = content["state_dict"]
    if not isinstance(content, Mapping):
        raise FileFormatError(f"{path}: holds no state_dict; give a checkpoint of PtychoPINN")
    state = {str(name).removeprefix("model."): value for name, value in content.items() if isinstance(value, Tensor)}
    if FIRST not in state:
        raise FileFormatError(f"{path}: lacks {FIRST}; give a checkpoint of PtychoPINN's CNN")
    return state, about


def _options(state: Mapping[str, Tensor], about: Mapping[str, Any], path: Path, output: str | None) -> CnnOptions:
    levels = len({name.split(".")[3] for name in state if name.startswith("autoencoder.encoder.blocks.")})
    sizes = {count: size for size, count in LEVELS.items()}
    if levels not in sizes or any(word in name for name in state for word in UNSUPPORTED):
        raise FileFormatError(f"{path}: its network has a form that is not known here; only the default one loads")
    last = state["autoencoder.decoder_amp.amp.conv1.weight"]
    model = about.get("model_config") if isinstance(about.get("model_config"), Mapping) else {}
    says = "cartesian" if isinstance(model, Mapping) and model.get("cnn_output_mode") == "real_imag" else "polar"
    return CnnOptions(
        size_px=sizes[levels],
        members=int(last.shape[0]),
        width_factor=int(last.shape[0] + last.shape[1]) // 32,
        output="cartesian" if (output or says) == "cartesian" else "polar",
        has_attention=any(".attention." in name for name in state),
        has_batch_norm="autoencoder.encoder.blocks.0.bn1.weight" in state,
        has_border=bool(model.get("probe_big", True)) if isinstance(model, Mapping) else True,
        amplitude_activation="sigmoid"
        if isinstance(model, Mapping) and model.get("amp_activation") == "sigmoid"
        else "silu",
    )

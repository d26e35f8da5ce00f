"""What a bundle says of its network is followed: projections, input scale; both families are in the registry."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from ptychopinn.model import ARCHITECTURES, Lift
from ptychopinn.model.bundle import SHIPPED, Bundle, build_network, load_model, read_bundle, write_bundle
from ptychopinn.model.cnn import Cnn, CnnOptions
from ptychopinn.model.network import CorrectionNet


def test_both_families_are_built_by_name() -> None:
    assert set(ARCHITECTURES) == {"lift-correction", "cnn", "fno"}
    network = ARCHITECTURES["cnn"].build(size_px=64, width_factor=1).eval()
    bundle = Bundle("b", "cnn", network.architecture, network.state_dict(), configs={"model": {"mode": "Supervised"}})
    model = ARCHITECTURES["cnn"].for_probe(network, torch.ones(1, 64, 64, dtype=torch.complex64), bundle)
    assert (model.name, model.members, model.can_look_again, model.is_learned) == ("cnn", 1, False, True)
    assert model.predict({"images": torch.rand(2, 1, 64, 64)}).shape == (2, 1, 64, 64)  # type: ignore[arg-type]
    alone = Lift(torch.ones(1, 64, 64, dtype=torch.complex64))
    assert (alone.name, alone.members, alone.can_look_again, alone.is_learned) == ("lift", 1, True, False)


def test_projections_are_the_bundles(tmp_path: Path) -> None:
    assert read_bundle(SHIPPED).projections == 2
    network = CorrectionNet([8, 16], [1, 1])
    bundle = Bundle("b", "lift-correction", network.architecture, network.state_dict())
    assert bundle.projections == 2
    write_bundle(tmp_path / "b.zip", replace(bundle, configs={"training": {"projections": 3}}))
    probe = torch.polar(torch.rand(1, 32, 32), torch.rand(1, 32, 32)) * 10
    model, _ = load_model(tmp_path / "b.zip", probe)
    assert isinstance(model, Lift)
    images = torch.rand(2, 1, 32, 32) * 10
    found = model.predict({"images": images})  # type: ignore[arg-type]
    answers = {k: Lift(probe, network, k).predict({"images": images}) for k in (2, 3)}  # type: ignore[arg-type]
    torch.testing.assert_close(found, answers[3])
    assert not torch.allclose(found, answers[2])
    for nonsense in (0, 99, "many"):
        assert replace(bundle, configs={"training": {"projections": nonsense}}).projections == 2


def test_the_count_regime_takes_the_scale_of_its_training() -> None:
    network = Cnn(CnnOptions(output="cartesian", width_factor=1))
    bundle = Bundle("b", "cnn", network.architecture, network.state_dict(), scaling={"rms_input_scale": 0.25})
    found = build_network(bundle, Path("b"))
    assert isinstance(found, Cnn)
    assert found.input_scale_factor == 0.25
    polar = Cnn(CnnOptions(width_factor=1))
    other = build_network(replace(bundle, options=polar.architecture, weights=polar.state_dict()), Path("b"))
    assert isinstance(other, Cnn)
    assert other.input_scale_factor is None

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.plugins.precision import MixedPrecision, Precision

from emote.training.precision import AtomicCheckpointIO, ScaledFloat32Adapter, precision_plugin

CPU = torch.device("cpu")


class Code:
    """Something that only unpickling could bring back."""


def checkpoint() -> dict[str, Any]:
    return {
        "state_dict": {"a": torch.randn(3, 2), "b": torch.ones(2, dtype=torch.bfloat16)},
        "global_step": 7,
        "optimizer_states": [{"state": {0: {"step": torch.tensor(7.0)}}, "param_groups": [{"betas": (0.9, 0.999)}]}],
        "loss": 0.1,
    }


def test_a_checkpoint_is_loaded_as_it_was_saved(tmp_path: Path) -> None:
    io, path, saved = AtomicCheckpointIO("a-run-0123456789ab"), tmp_path / "checkpoints" / "000007.ckpt", checkpoint()
    io.save_checkpoint(saved, path)
    loaded = io.load_checkpoint(path)
    for name, value in saved["state_dict"].items():
        assert loaded["state_dict"][name].dtype is value.dtype
        assert torch.equal(loaded["state_dict"][name], value)
    assert loaded["optimizer_states"] == saved["optimizer_states"]
    assert (loaded["global_step"], loaded["loss"]) == (7, 0.1)
    assert [found.name for found in path.parent.iterdir()] == ["000007.ckpt"]


def test_a_save_that_fails_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    io, path = AtomicCheckpointIO("a-run-0123456789ab"), tmp_path / "a.ckpt"
    io.save_checkpoint({"global_step": 1}, path)
    with pytest.raises((AttributeError, pickle.PicklingError)):
        io.save_checkpoint({"large": torch.ones(1000), "function": lambda: None}, path)
    assert io.load_checkpoint(path)["global_step"] == 1
    assert [found.name for found in tmp_path.iterdir()] == ["a.ckpt"]


def test_code_in_a_checkpoint_is_never_run(tmp_path: Path) -> None:
    torch.save({"code": Code()}, tmp_path / "a.ckpt")
    for weights_only in (None, True, False):
        with pytest.raises(pickle.UnpicklingError):
            AtomicCheckpointIO("a-run-0123456789ab").load_checkpoint(tmp_path / "a.ckpt", weights_only=weights_only)


def test_half_precision_is_scaled_but_never_autocast() -> None:
    plugin = ScaledFloat32Adapter("cpu")
    for context in (plugin.forward_context, plugin.train_step_context, plugin.val_step_context):
        with context():
            assert not torch.is_autocast_enabled("cpu")
            assert torch.nn.Linear(2, 2)(torch.ones(1, 2)).dtype is torch.float32
    with MixedPrecision("16-mixed", "cpu").forward_context():
        assert torch.is_autocast_enabled("cpu")  # what Lightning's own does


def test_the_scale_of_the_gradients_is_part_of_the_checkpoint() -> None:
    plugin = ScaledFloat32Adapter("cpu")
    weight = torch.ones(1, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.1)
    plugin.scaler.scale((weight * torch.inf).sum()).backward()
    plugin.scaler.step(optimizer)  # too large: the step is left out and the scale halved
    plugin.scaler.update()
    assert weight.item() == 1
    state = plugin.state_dict()
    assert state["scale"] == 2.0**15
    other = ScaledFloat32Adapter("cpu")
    other.load_state_dict(state)
    assert other.scaler.get_scale() == 2.0**15


@pytest.mark.parametrize(("frozen", "scaled"), [(torch.float16, True), (torch.bfloat16, False), (torch.float32, False)])
def test_only_float16_needs_its_gradients_scaled(frozen: torch.dtype, scaled: bool) -> None:
    plugin = precision_plugin(frozen, CPU)
    assert isinstance(plugin, ScaledFloat32Adapter) is scaled
    assert scaled or type(plugin) is Precision

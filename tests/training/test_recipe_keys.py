"""Keys that change what a step lowers or what is delivered: noise offset, Huber loss, background weight, averaging."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file

from emote.config import OBJECTIVE, Config, problems
from emote.data.cache import build_figures
from emote.data.images import Layout, figure_of
from emote.data.item import Item, content_key
from emote.diffusion import objective
from emote.runs.identity import identity_keys
from tests.training.test_module import batch, build
from tests.training.test_run import adapters

Runner = Callable[..., Path]
MakeConfig = Callable[..., Config]
ADAPTER = "pytorch_lora_weights.safetensors"


@pytest.mark.parametrize(
    ("name", "off", "on"),
    [
        ("trainer.noise_offset", 0.0, 0.05),
        ("trainer.background_weight", 1.0, 0.3),
        ("trainer.ema_decay", None, 0.9),
        ("data.training_items", None, 5),
    ],
)
def test_a_key_that_is_off_is_no_part_of_a_run(make_config: MakeConfig, name: str, off: object, on: object) -> None:
    config = make_config("experiment=smoke", **{name: off})
    assert identity_keys(config) == identity_keys(make_config("experiment=smoke"))
    assert name in identity_keys(make_config("experiment=smoke", **{name: on}))


def test_a_noise_offset_shifts_each_channel_as_a_whole_and_follows_the_position() -> None:
    noise = objective.noise(0, 3, range(64), (4, 8, 8))
    shift = objective.offset_noise(noise, 0.1, 0, 3, range(64)) - noise
    assert torch.allclose(shift, shift[:, :, :1, :1].expand_as(shift), atol=1e-6)
    assert float(shift[:, :, 0, 0].std()) == pytest.approx(0.1, rel=0.2)
    half = objective.offset_noise(noise[5:7], 0.1, 0, 3, [5, 6]) - noise[5:7]
    assert torch.equal(half, shift[5:7])
    assert objective.offset_noise(noise, 0.0, 0, 3, range(64)) is noise


def test_huber_is_squared_error_of_small_errors_and_grows_evenly_beyond(make_config: MakeConfig) -> None:
    trainer = make_config("experiment=smoke", **{"trainer.options.huber.delta": 0.5}).trainer
    error = OBJECTIVE.make("huber", trainer.options)

    def drawn(size: float) -> objective.Drawn:
        noise = torch.zeros(2, 4, 8, 8)
        alphas = torch.full((1000,), 0.5)
        return objective.Drawn(
            noise, noise, torch.tensor([1, 2]), alphas, "epsilon", lambda noisy: torch.full_like(noisy, size)
        )

    assert error(drawn(0.25)).tolist() == pytest.approx([0.0625] * 2)
    assert error(drawn(2.0)).tolist() == pytest.approx([2 * 0.5 * (2.0 - 0.25)] * 2)
    for delta in ("0.1", "1000"):
        trainer.options.huber.delta = float(delta)
        mse, huber = OBJECTIVE.make("mse")(drawn(1.0)), OBJECTIVE.make("huber", trainer.options)(drawn(1.0))
        assert torch.allclose(mse, huber) is (delta == "1000")


def test_a_weighted_mean_is_over_what_counts() -> None:
    noise = torch.zeros(1, 2, 2, 2)
    weights = torch.tensor([[[1.0, 0.5], [0.0, 0.5]]])
    drawn = objective.Drawn(
        noise, noise, torch.tensor([0]), torch.ones(1), "epsilon", lambda noisy: noisy, weights_BHW=weights
    )
    error = torch.tensor([[[[1.0, 2.0], [9.0, 4.0]], [[3.0, 2.0], [9.0, 4.0]]]])
    assert drawn.mean(error).tolist() == pytest.approx([(1 * 2 + 0.5 * 2 + 0.5 * 4) / 2])


def test_the_figure_of_an_image_lies_where_the_layout_puts_it() -> None:
    image = Image.new("RGBA", (40, 20), (255, 255, 255, 0))
    ImageDraw.Draw(image).rectangle((20, 0, 39, 19), fill="black")
    figure = figure_of(image, Layout(64), False, 8)
    assert (figure[2:6, 4:] > 240).all() and (figure[2:6, :4] < 15).all()  # resizing makes soft edges
    assert (figure[:2] == 0).all() and (figure[6:] == 0).all()  # padding is background
    assert (figure_of(image, Layout(64, margin=0.0), False, 8) == 255).all()  # cropped to it
    opaque = Image.new("RGBA", (40, 20), "red")
    assert (figure_of(opaque, Layout(64), False, 8) == 255).all()  # no background is known


def test_figures_are_cached_and_mirrored_as_the_images_are(tmp_path: Path) -> None:
    image = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
    ImageDraw.Draw(image).rectangle((0, 0, 15, 31), fill="red")
    image.save(tmp_path / "half.png")
    data = (tmp_path / "half.png").read_bytes()
    reads: list[int] = []

    def read() -> bytes:
        reads.append(1)
        return data

    item = Item("half", "half", "half", read)
    for _ in range(2):
        figures = build_figures({content_key(data): item}, Layout(32), 4, tmp_path)
    figure = figures.get(content_key(data))
    assert np.array_equal(figure, [[1, 1, 0, 0]] * 4) and len(reads) == 1
    assert torch.equal(figures.get(content_key(data), mirrored=True), figure.flip(-1))
    assert figures.is_transparent(content_key(data))


def test_background_counts_less_in_a_step_and_an_image_without_any_as_before(
    tiny_sd: Path, make_config: MakeConfig
) -> None:
    weighted = build(tiny_sd, make_config("experiment=smoke", **{"trainer.background_weight": 0.25}))
    plain = build(tiny_sd, make_config("experiment=smoke"))
    whole = batch() | {"figure": torch.ones(4, 8, 8)}
    half = batch() | {"figure": torch.cat([torch.ones(4, 8, 4), torch.zeros(4, 8, 4)], dim=2)}
    expected = plain.training_step(batch(), 0)
    assert torch.allclose(weighted.training_step(whole, 0), expected, rtol=1e-6)
    assert not torch.allclose(weighted.training_step(half, 0), expected, rtol=1e-4)


def test_a_run_that_knows_no_background_is_told_so(
    tiny_run: Runner, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(12):
        Image.new("RGB", (32, 32), (20 * number, 90, 90)).save(tmp_path / f"disc {chr(97 + number)}.png")
    own = {"data": "folder", "data.path": tmp_path, "trainer.max_steps": 1, "data.held_out": 0.2}
    tiny_run(**own, **{"trainer.background_weight": 0.5})
    assert "trainer.background_weight=0.5 has no effect: none of the training images" in capsys.readouterr().out


def test_a_run_with_a_background_weight_learns_something_else(tiny_run: Runner) -> None:
    assert adapters(tiny_run()) != adapters(tiny_run(**{"trainer.background_weight": 0.2}))  # OpenMoji is transparent


def test_an_average_is_delivered_trained_beside_and_resumed_bit_for_bit(tiny_run: Runner, tmp_path: Path) -> None:
    plain, averaged = tiny_run(), tiny_run(**{"trainer.ema_decay": 0.9})
    losses = [(path / "metrics.csv").read_text().split()[-1].split(",")[1] for path in (plain, averaged)]
    assert losses[0] == losses[1]  # what is trained is the same
    ends, means = load_file(plain / ADAPTER), load_file(averaged / ADAPTER)
    ups = [name for name in ends if ".lora_B." in name]
    assert all(0 < float(means[name].norm()) < float(ends[name].norm()) for name in ups)  # B began at 0
    tiny_run(**{"trainer.ema_decay": 0.9, "trainer.max_steps": 3, "run.dir": tmp_path / "other"})
    assert adapters(tiny_run(**{"trainer.ema_decay": 0.9, "run.dir": tmp_path / "other"})) == adapters(averaged)


def test_the_average_is_that_of_the_weights_after_each_step(tiny_sd: Path, make_config: MakeConfig) -> None:
    from emote.training.optimizers._average import keep_average

    weight = torch.nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    keep_average(optimizer, 0.5)
    mean: torch.Tensor | None = None
    for step in range(1, 8):
        weight.grad = torch.tensor([1.0, -2.0, float(step)])
        optimizer.step()
        keep = min(0.5, (1 + step) / (10 + step))
        mean = weight.detach().clone() if mean is None else keep * mean + (1 - keep) * weight.detach()
    trained = weight.detach().clone()
    optimizer.eval()  # type: ignore[attr-defined]
    optimizer.eval()  # type: ignore[attr-defined]
    assert mean is not None and torch.allclose(weight, mean)
    optimizer.train()  # type: ignore[attr-defined]
    assert torch.equal(weight, trained)


def test_an_average_of_an_average_is_refused(make_config: MakeConfig) -> None:
    both = {"trainer.ema_decay": 0.9, "trainer.optimizer": "schedule_free"}
    assert any(
        "trainer.ema_decay needs an optimizer" in line for line in problems(make_config("experiment=smoke", **both))
    )


def test_fewer_training_images_leave_the_held_out_ones(tiny_run: Runner) -> None:
    whole, few = tiny_run(), tiny_run(**{"data.training_items": 5})
    first, second = ((path / "validation.csv").read_text().splitlines() for path in (whole, few))
    assert [line.rsplit(",", 1)[0] for line in first] == [line.rsplit(",", 1)[0] for line in second] and first != second
    assert '"training": 5' in (few / "summary.json").read_text()

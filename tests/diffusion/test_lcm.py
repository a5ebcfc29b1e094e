"""The latent-consistency objective: what a teacher's step is, and what the student is asked for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from emote.config import Config, problems
from emote.diffusion import objective
from emote.diffusion.objectives.lcm import Options, boundary, step_of, training_error
from emote.diffusion.samplers import make_scheduler
from emote.models import components

ALPHAS = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2, dim=0)
SHAPE = (3, 4, 2, 2)


class Oracle:
    """A model that knows the image: it answers exactly, the frozen one with a caption's own shift. Notes its calls."""

    def __init__(self, prediction_type: str, shift: float = 0.0) -> None:
        generator = torch.Generator().manual_seed(0)
        self.latents, self.noise = (torch.randn(SHAPE, generator=generator) for _ in range(2))
        self.prediction_type, self.shift = prediction_type, shift
        self.calls: list[tuple[list[int], bool, bool]] = []
        self.noisy: list[torch.Tensor] = []

    def __call__(self, noisy, timesteps_B=None, *, captioned=True, adapted=True):  # type: ignore[no-untyped-def]
        self.calls.append((timesteps_B.tolist(), captioned, adapted))
        self.noisy.append(noisy)
        alpha = ALPHAS[timesteps_B][:, None, None, None]
        noise = (noisy - alpha.sqrt() * self.latents) / (1 - alpha).sqrt()
        if captioned and not adapted:
            noise = noise + self.shift
        if self.prediction_type == "epsilon":
            return noise
        image = (noisy - (1 - alpha).sqrt() * noise) / alpha.sqrt()
        return alpha.sqrt() * noise - (1 - alpha).sqrt() * image

    def drawn(self, timesteps: list[int], guidance: float = 0.0) -> objective.Drawn:
        return objective.Drawn(
            self.latents, self.noise, torch.tensor(timesteps), ALPHAS, self.prediction_type, self,
            lambda purpose: torch.full((3,), guidance, dtype=torch.float64),
        )  # fmt: skip


def test_steps_are_those_that_the_scheduler_draws_with() -> None:
    from_B, to_B = step_of(torch.arange(1000), 1000, 50)
    assert sorted(set(from_B.tolist())) == list(range(19, 1000, 20)) and to_B[0] == 0 and to_B[999] == 979
    assert ((from_B - torch.arange(1000)).abs() < 20).all()
    uneven_B, _ = step_of(torch.arange(1000), 1000, 30)
    assert uneven_B.max() < 1000 and len(set(uneven_B.tolist())) == 30


def test_the_boundary_is_that_of_the_scheduler(tiny_sd) -> None:  # type: ignore[no-untyped-def]
    scheduler = make_scheduler("lcm", components.load_scheduler(tiny_sd).config)
    scheduler.set_timesteps(4)
    for timestep in (0, 1, 19, 999):
        keep, take = scheduler.get_scalings_for_boundary_condition_discrete(timestep)
        ours = boundary(torch.tensor([timestep]))
        assert torch.stack([part.squeeze() for part in ours]).tolist() == pytest.approx([float(keep), float(take)])


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_a_model_that_is_right_everywhere_has_nothing_to_learn(prediction_type: str) -> None:
    model = Oracle(prediction_type)
    error_B = training_error(model.drawn([30, 500, 999]), Options())
    assert error_B.shape == (3,) and error_B.max() < 2e-3
    ends = ([39, 519, 999], [19, 499, 979])
    assert [call[0] for call in model.calls] == [ends[0], ends[0], ends[1], ends[0]]
    assert [call[1:] for call in model.calls] == [(False, False), (True, False), (True, True), (True, True)]


def test_guidance_moves_what_is_asked_for_in_proportion() -> None:
    options, ends = Options(guidance_from=1.0, guidance_to=9.0), []
    for at in (0.0, 0.5, 1.0):
        model = Oracle("epsilon", shift=0.01)
        training_error(model.drawn([500] * 3, at), options)
        ends.append(model.noisy[2])  # that the student is asked about at the other end of the step
    alpha_t, alpha_s = ALPHAS[519], ALPHAS[499]
    a_step = (1 - alpha_s).sqrt() - alpha_s.sqrt() * ((1 - alpha_t) / alpha_t).sqrt()  # of DDIM, for noise of 1
    for strength, end in zip((1, 5, 9), ends, strict=True):
        exact = objective.add_noise(model.latents, model.noise, torch.tensor([499] * 3), ALPHAS)
        assert torch.allclose(end, exact + a_step * strength * 0.01, atol=1e-5)


def test_only_the_student_is_differentiated() -> None:
    weight = torch.ones((), requires_grad=True)
    model = Oracle("epsilon", shift=0.1)
    drawn = model.drawn([500] * 3, 0.5)
    asked: list[bool] = []

    def predict(noisy, timesteps_B=None, **told):  # type: ignore[no-untyped-def]
        asked.append(torch.is_grad_enabled())
        return weight * model(noisy, timesteps_B, **told)

    learning = objective.Drawn(**(vars(drawn) | {"predict": predict}))
    training_error(learning, Options()).mean().backward()
    assert asked == [False, False, False, True] and weight.grad is not None and weight.grad != 0


def test_numbers_of_its_own_exist_in_training_alone() -> None:
    told = {name: value for name, value in vars(Oracle("epsilon").drawn([1, 2, 3])).items() if name != "uniform_B"}
    drawn = objective.Drawn(**told)
    with pytest.raises(RuntimeError, match="no guidance is drawn outside training"):
        training_error(drawn, Options())


def test_settings_that_contradict_it_are_named(make_config: Callable[..., Config]) -> None:
    config = make_config("experiment=speed", **{"trainer.options.lcm.guidance_to": 2.0, "trainer.snr_gamma": 5.0})
    lines = problems(config)
    assert (
        "guidance_to must be at least guidance_from=4, got 2" in lines[0] and "set trainer.snr_gamma=null" in lines[1]
    )
    assert problems(make_config("experiment=speed")) == []

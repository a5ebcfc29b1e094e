"""The keys of `emote generate`."""

from __future__ import annotations

from dataclasses import dataclass

from emote.config import Accelerator, Precision, key
from emote.inference.prompt_template import AUTO


@dataclass
class Options:
    run: str | None = key("a run's name, identity or folder, latest, an adapter file, a Hub name; base: no adapter; "
                          "[a:0.8, b:0.4]: several by weight", default=None)  # fmt: skip
    model: str | None = key("base model: mini, sd15, a directory, a file or a Hub name; the run's own if left out",
                               default=None)  # fmt: skip
    prompts: list[str] = key("what to draw: [a fairy, a robot], said several times where there are commas inside, or a "
                             "text file with a prompt a line", default=[])  # fmt: skip
    template: str = key("auto: prompts go into the run's caption template; none: as typed; or a text with {text}",
                        default=AUTO)  # fmt: skip
    negative_prompt: str = key("what guidance leads away from", default="")
    n: int = key("images a prompt", at_least=1, default=4)
    best_of: int | None = key("draw so many a prompt in place of n, and keep those that are recognised at 32 px",
                              at_least=2, default=None)  # fmt: skip
    seed: int = key("of the first image; the next ones count up", at_least=0, default=0)
    inference_steps: int | None = key("denoising steps; 25, or what an adapter that draws in a few steps needs",
                                      at_least=1, at_most=1000, default=None)  # fmt: skip
    guidance_scale: float | None = key("classifier-free guidance, 1 for none; the run's samples had theirs", at_least=0,
                                    default=None)  # fmt: skip
    scheduler: str | None = key("dpm++, dpm++_karras, dpm++_sde_karras, euler, euler_a, heun, ddim, pndm, unipc; lcm, "
                                "tcd, ddim_trailing; dpm++, or what the adapter needs", default=None)  # fmt: skip
    eta: float | None = key("noise that ddim and tcd draw anew at each step; left out: the sampler's or adapter's own",
                            at_least=0, at_most=1, default=None)  # fmt: skip
    lora_scale: float | None = key("strength of the adapter, 0 is the base model; the run's samples had theirs",
                                   default=None)  # fmt: skip
    compare: bool = key("the base model beside it, with the same noise", default=False)
    lora_scales: list[float] = key(
        "strengths to compare, each a column beside the base model: [0.5, 1, 1.5]", default=[]
    )
    size: str | None = key("side in pixels, or width x height (64x96); the run's own if left out", default=None)
    transparent: bool = key("cut the figure out: an alpha channel instead of the background", default=False)
    batch_size: int | None = key("images at once; left out: 4 on a GPU, 1 on a CPU", at_least=1, default=None)
    from_image: str | None = key("repeat this image from what is written in it", default=None)
    output: str | None = key("folder for the images; left out: a new one in generated/", default=None)
    runs_dir: str = key("where runs are kept", default="runs")
    cache_dir: str = key("where hashes of large models are remembered", default=".cache/emote")
    device: Accelerator = key("auto, cpu, cuda or mps", default=Accelerator.auto)
    precision: Precision = key("auto (fp16 on CUDA, else float32), float32, fp16 or bf16", default=Precision.auto)

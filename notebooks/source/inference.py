# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Draw with a fine-tuned model
#
# The base model against the fine-tuned one with the same noise, and what strength, guidance and seed do. The images
# below are of `make quickstart`: the miniature after 200 steps on OpenMoji.
#
# Outside a notebook the same is `emote generate prompts="[a fairy]" "lora_scales=[0.5, 1, 1.5]"`.

# %% tags=["parameters"]
RUN = "latest"  # a run's name or identity, an adapter file, or a Hub name
RUNS = "runs"  # where runs are kept, seen from the project's folder
DEVICE = "auto"
STEPS = 20  # of denoising
STRENGTH = 0.7  # of the adapter, where nothing else is said
SEED = 3
SUBJECTS = ["grinning face", "cat face", "fairy", "monkey face", "red apple", "crying face"]

# %%
# %matplotlib inline
from emote.util.quiet import quiet_libraries

quiet_libraries()

from emote.inference.image_generator import ImageGenerator
from emote.inference.prompt_template import choose_template, in_template
from emote.inference.request import Request
from emote.inference.resolve_adapter import find_adapter
from emote.tools.inspect.figures import grid
from emote.util.places import ROOT

adapter = find_adapter(RUN, ROOT / RUNS)
image_generator = ImageGenerator(adapter.base, device=DEVICE)
image_generator.use(adapter)
template = choose_template("auto", adapter.caption)


def ask(subject, **settings):
    """An image to draw, in the words that the run was trained with."""
    usual = {"seed": SEED, "inference_steps": STEPS, "lora_scale": STRENGTH, "guidance_scale": adapter.guidance_scale}
    side = adapter.resolution
    return Request(prompt=in_template(subject, template), width=side, height=side, **usual | settings)


print(f"{adapter.label} on {image_generator.base.label}, guidance {adapter.guidance_scale:g}")
print(f"a prompt: {ask(SUBJECTS[0]).prompt}")

# %% [markdown]
# ## Base against fine-tuned
#
# Each column begins with the same noise: what differs is the adapter alone.

# %%
before = image_generator.draw([ask(subject, lora_scale=0) for subject in SUBJECTS])
after = image_generator.draw([ask(subject) for subject in SUBJECTS])
grid([before, after], columns=SUBJECTS, names=["base", f"fine-tuned,\nstrength {STRENGTH:g}"],
     title=f"Same prompt, same noise (seed {SEED})")  # fmt: skip

# %% [markdown]
# ## Strength of the adapter
#
# $W + k\,\Delta W$: 0 is the base model, 1 is as trained, negative values lead away from what was learned.

# %%
strengths = [-0.5, 0, 0.25, 0.5, 0.75, 1, 1.25, 1.5]
drawn = image_generator.draw([ask(subject, lora_scale=k) for subject in SUBJECTS[:3] for k in strengths])
rows = [drawn[start : start + len(strengths)] for start in range(0, len(drawn), len(strengths))]
grid(rows, columns=[f"k = {k:g}" for k in strengths], names=SUBJECTS[:3], title="Strength of the adapter")

# %% [markdown]
# ## Guidance
#
# How strongly the words are followed: 1 takes the prediction as it is; more makes it clearer, then harsh.

# %%
scales = [1, 2, 3, 5, 7.5, 10, 15]
drawn = image_generator.draw([ask(subject, guidance_scale=scale) for subject in SUBJECTS[:3] for scale in scales])
rows = [drawn[start : start + len(scales)] for start in range(0, len(drawn), len(scales))]
grid(rows, columns=[f"guidance {scale:g}" for scale in scales], names=SUBJECTS[:3], title="Guidance")

# %% [markdown]
# ## Seeds
#
# Other noise, other images. The same seed gives the same image again.

# %%
seeds = list(range(8))
drawn = image_generator.draw([ask(subject, seed=seed) for subject in SUBJECTS[:3] for seed in seeds])
rows = [drawn[start : start + len(seeds)] for start in range(0, len(drawn), len(seeds))]
assert image_generator.draw([ask(SUBJECTS[0], seed=seeds[0])])[0].tobytes() == rows[0][0].tobytes()
grid(rows, columns=[f"seed {seed}" for seed in seeds], names=SUBJECTS[:3], title="Seeds")

# %% [markdown]
# ## Number of steps
#
# Few steps are faster and rougher; beyond some twenty hardly anything changes.

# %%
counts = [2, 4, 6, 8, 12, 20, 30, 50]
drawn = image_generator.draw([ask(SUBJECTS[0], inference_steps=count) for count in counts])
grid([drawn], columns=[f"{count} steps" for count in counts], names=SUBJECTS[:1], title="Denoising steps")

# %% [markdown]
# Each image knows what it was drawn from, in the form that A1111 reads:

# %%
print(drawn[-1].info["parameters"])

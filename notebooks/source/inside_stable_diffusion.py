# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Inside Stable Diffusion
#
# One emoji is followed all the way: from pixels to latents, from words to numbers, through noise and back, and at last
# through a LoRA fine-tuning and the two faults that kept one from learning. Each station is a few lines of code over
# `emote` and one image.
#
# As it stands everything runs on the *miniature*, a Stable Diffusion in small that lies in this repository, in under
# three minutes on a laptop without GPU. It has the same parts as Stable Diffusion 1.5, so `MODEL = "sd15"` runs the
# same cells on that one (a download of several GB; a GPU is advisable). What the texts below say about the images is
# about the miniature.
#
# In names of tensors the capitals are axes: B batch, C channels, H height, W width, T tokens.

# %% tags=["parameters"]
MODEL = "mini"  # or "sd15"
EMOJI = "cat face"  # any Unicode name of an emoji
SEED = 3  # of the noise that images begin with
GUIDANCE = 4.0  # with sd15, 7.5 is usual
STEPS = 20  # of denoising
TRAIN_STEPS = 120  # of the fine-tuning
LOOP_STEPS = 30  # of the two short trainings that show the faults

# %%
# %matplotlib inline
from emote.util.quiet import quiet_libraries

quiet_libraries()

import json
import math
from tempfile import TemporaryDirectory

import torch
from IPython.utils.capture import capture_output
from PIL import ImageChops

from emote.cli.train import compose_config
from emote.data.art import art_items
from emote.data.images import Layout, decode_for, lay_out
from emote.diffusion import objective
from emote.diffusion.samplers import make_scheduler
from emote.inference.image_generator import ImageGenerator
from emote.inference.request import Request
from emote.inference.resolve_adapter import find_adapter
from emote.lora.adapter import attach, trainable
from emote.lora.adapter_file import read_adapter
from emote.models import components
from emote.models.conditioning import predict
from emote.tools.inspect.attention import recorded
from emote.tools.inspect.figures import BLUE, GREY, PALE, RED, grid, heat_over, plots, similarities
from emote.tools.inspect.parts import Parts, emoji_image
from emote.training.run import run

sd = Parts(MODEL)
PROMPT = f"An emoji of {EMOJI}"
for part in ("vae", "unet"):
    print(f"{part}: {sum(p.numel() for p in getattr(sd, part).parameters()):,} parameters")

# %% [markdown]
# ## 1 What the VAE keeps
#
# Diffusion does not work on pixels. An autoencoder first turns the image into a few small maps, the *latents*, and
# back at the end. For each latent number its encoder gives a mean $\mu$ and a variance $\sigma^2$, the *moments*;
# training draws $z = \mu + \sigma \varepsilon$ afresh each time, with $\varepsilon \sim N(0, 1)$.
#
# **Look at:** the reconstruction, whose errors (shown five times as strong) sit on fine edges. The means are a small
# image of the emoji in each channel; the standard deviations are tiny beside them, so a draw looks like the mean.
# The last row sets one channel to its average before decoding: what is missing is what that channel keeps. Colours and
# edges are spread over several channels, and the least certain of them (the largest $\sigma$) is hardly missed.

# %%
image = emoji_image(EMOJI, "twemoji", sd.side_px)
mean_1CHW, logvar_1CHW = sd.encode(image)
std_1CHW = (logvar_1CHW / 2).exp()
noise_1CHW = torch.randn(mean_1CHW.shape, generator=torch.Generator().manual_seed(SEED)).to(mean_1CHW)
latents_1CHW = mean_1CHW + std_1CHW * noise_1CHW

back, back_drawn = sd.decode(torch.cat([mean_1CHW, latents_1CHW]))
difference = ImageChops.difference(image, back).point(lambda value: min(255, 5 * value))
without = mean_1CHW.repeat(4, 1, 1, 1)
for channel in range(4):
    without[channel, channel] = mean_1CHW[0, channel].mean()

pixels, numbers = 3 * sd.side_px**2, mean_1CHW.numel()
print(f"{pixels:,} numbers in pixels, {numbers:,} in latents: {pixels // numbers} times fewer")
grid(
    [[image, back, back_drawn, difference], [*mean_1CHW[0]], [*std_1CHW[0]], sd.decode(without)],
    names=["pixels", "mean μ\n(channels 1 to 4)", "standard\ndeviation σ", "decoded without\nthis channel"],
    below=[
        ["original", "decoded mean", "decoded draw", "error × 5"],
        [f"{float(row.min()):.1f} to {float(row.max()):.1f}" for row in mean_1CHW[0]],
        [f"average {float(row.mean()):.3f}" for row in std_1CHW[0]],
        [f"channel {channel + 1} flat" for channel in range(4)],
    ],
    title="Station 1: pixels → moments → latents → pixels",
)

# %% [markdown]
# ## 2 What CLIP sees
#
# A text encoder turns the prompt into one vector a token. It reads from left to right, so only the token that marks
# the end has read everything: its vectors are compared here, by the cosine of their angle.
#
# **Look at:** the blocks along the diagonal. Animals are like animals, fruits like fruits and vehicles like vehicles,
# though nobody said which is which: the encoder learned it from images and their names. Colours count as well, so a
# red heart is rather like a red apple.

# %%
names = ["cat face", "dog face", "monkey face", "grinning face", "crying face", "red apple", "green apple", "cherries",
         "red heart", "blue heart", "automobile", "bus"]  # fmt: skip
last_ND = torch.stack(
    [sd.encoder([f"An emoji of {name}"])[0, len(sd.tokens(f"An emoji of {name}")) - 1] for name in names]
)
unit_ND = last_ND / last_ND.norm(dim=1, keepdim=True)
print("the prompt's tokens:", " | ".join(sd.tokens(PROMPT)))
print("what the UNet reads:", " × ".join(map(str, sd.encoder([PROMPT]).shape[1:])), "numbers, padding included")
similarities(unit_ND @ unit_ND.T, names, "Station 2: how alike prompts are to CLIP (cosine)")

# %% [markdown]
# ## 3 The noise schedule
#
# Training hides the latents $x_0$ under noise of a thousand strengths $t$:
#
# $$x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\; \varepsilon$$
#
# **Look at:** the same latents at ten timesteps with the same noise, decoded. The outline outlives the details: low
# frequencies are drowned last. At the end hardly any signal is left, so an image can begin with noise alone.

# %%
alphas = sd.schedule.alphas_cumprod
timesteps = [round(value) for value in torch.linspace(1, len(alphas) - 1, 10).tolist()]


def noised(latents_1CHW, noise_1CHW, t):
    return objective.add_noise(latents_1CHW, noise_1CHW, torch.tensor([t]), alphas)


noisy_10CHW = torch.cat([noised(latents_1CHW, noise_1CHW, t) for t in timesteps])
grid(
    [sd.decode(noisy_10CHW), [*noisy_10CHW[:, 0]]],
    columns=[f"t = {t}" for t in timesteps],
    names=["decoded", "channel 1"],
    title="Station 3: one latent at ten timesteps",
)

# %%
figure, (left, right) = plots(2)
left.plot(alphas.sqrt(), color=BLUE, label="signal √ᾱ")
left.plot((1 - alphas).sqrt(), color=RED, label="noise √(1 − ᾱ)")
left.set(xlabel="timestep t", ylabel="factor", title="How much of each is in the mix")
left.legend(frameon=False, fontsize=8)
right.semilogy(alphas / (1 - alphas), color=BLUE)
right.axhline(1, color=PALE, linestyle="--", linewidth=1)
right.set(xlabel="timestep t", ylabel="ᾱ / (1 − ᾱ)", title="Signal-to-noise ratio; below 1 noise prevails")
figure

# %% [markdown]
# ## 4 What the UNet predicts
#
# From $x_t$, $t$ and the words the UNet predicts the noise, $\hat\varepsilon$. The formula above, solved for the
# image, says which one that implies:
#
# $$\hat x_0 = \frac{x_t - \sqrt{1 - \bar\alpha_t}\; \hat\varepsilon}{\sqrt{\bar\alpha_t}}$$
#
# **Look at:** predicted and true noise become ever more alike from left to right: with much noise it is plain to see,
# and the error small. The last row goes the other way. With little noise $\hat x_0$ is the emoji itself; with much it
# is what the UNet imagines from the words and the last traces of the signal.

# %%
words = sd.encoder([PROMPT])
alpha_1111 = [float(alphas[t]) for t in timesteps]
predicted = [sd.predict(noised(latents_1CHW, noise_1CHW, t), t, words) for t in timesteps]
clean_10CHW = torch.cat(
    [
        (noised(latents_1CHW, noise_1CHW, t) - math.sqrt(1 - alpha) * noise) / math.sqrt(alpha)
        for t, alpha, noise in zip(timesteps, alpha_1111, predicted, strict=True)
    ]
)
errors = [float(objective.squared_error(noise, noise_1CHW)) for noise in predicted]
grid(
    [sd.decode(noisy_10CHW), [noise[0, 0] for noise in predicted], [noise_1CHW[0, 0]] * 10, sd.decode(clean_10CHW)],
    columns=[f"t = {t}" for t in timesteps],
    names=[
        "what it sees",
        "its $\\hat\\varepsilon$, channel 1",
        "the true ε,\nchannel 1",
        "the image $\\hat x_0$\nthat follows",
    ],
    below=[[""] * 10, [f"error {error:.3f}" for error in errors], [""] * 10, [""] * 10],
    title="Station 4: the UNet's prediction at each timestep",
)

# %% [markdown]
# ## 5 Guidance is arithmetic on two predictions
#
# The UNet is asked twice: with the words, and with the empty text $\emptyset$. Their difference is what the words
# change, and guidance takes more of it than there is:
#
# $$\hat\varepsilon = \hat\varepsilon_\emptyset + s\,(\hat\varepsilon_\text{words} - \hat\varepsilon_\emptyset)$$
#
# **Look at:** one prediction for pure noise. The two answers look alike, and their difference (ten times as strong) is
# already a cat. At $s = 0$ the words play no part, at $s = 1$ they are taken as they are, and beyond that contrast and
# colour grow until they are too much.

# %%
start_1CHW = torch.randn(1, *sd.latent_shape, generator=torch.Generator().manual_seed(SEED)).to(sd.device)
t, scales = len(alphas) - 60, [0, 1, 2, 4, 8, 16]
ignoring, reading = sd.predict(start_1CHW, t, sd.encoder([""])), sd.predict(start_1CHW, t, words)
guided = [ignoring + scale * (reading - ignoring) for scale in scales]
signal, spread = float(alphas[t].sqrt()), float((1 - alphas[t]).sqrt())
grid(
    [
        [start_1CHW[0, 0], ignoring[0, 0], reading[0, 0], 10 * (reading - ignoring)[0, 0]],
        sd.decode(torch.cat([(start_1CHW - spread * noise) / signal for noise in guided])),
    ],
    names=["channel 1", "the image $\\hat x_0$\nthat follows"],
    below=[
        ["noise $x_t$", "$\\hat\\varepsilon$ without words", "$\\hat\\varepsilon$ with words", "difference × 10"],
        [f"s = {scale}" for scale in scales],
    ],
    title=f"Station 5: one prediction at t = {t}, guided",
    cell_inches=1.6,
)

# %% [markdown]
# ## 6 The denoising trajectory
#
# Drawing an image is this loop: predict the noise, let a sampler (here DPM-Solver++) take a step towards less of it,
# and again. The attention of station 7 is recorded on the way.
#
# **Look at:** above what the latents are at that step, below which image the UNet has in mind. The second row is
# ahead of the first: where things go is decided early, the rest is cleaning up.

# %%
sampler = make_scheduler("dpm++", sd.schedule.config)
sampler.set_timesteps(STEPS)
both_words = torch.cat([sd.encoder([""]), words])
x_1CHW, seen, imagined = start_1CHW * sampler.init_noise_sigma, [], []
with recorded(sd.unet) as attention:
    for t in sampler.timesteps:
        without_words, with_words = sd.predict(torch.cat([x_1CHW, x_1CHW]), t, both_words).chunk(2)
        noise = without_words + GUIDANCE * (with_words - without_words)
        seen.append(x_1CHW)
        imagined.append((x_1CHW - (1 - alphas[t]).sqrt() * noise) / alphas[t].sqrt())
        x_1CHW = sampler.step(noise, t, x_1CHW).prev_sample
drawn = sd.decode(x_1CHW)[0]

shown = [round(value) for value in torch.linspace(0, STEPS - 1, 9).tolist()]
grid(
    [
        [*sd.decode(torch.cat([seen[i] for i in shown])), drawn],
        [*sd.decode(torch.cat([imagined[i] for i in shown])), drawn],
    ],
    columns=[*(f"step {i + 1}, t = {int(sampler.timesteps[i])}" for i in shown), "the image"],
    names=["the latents $x_t$", "the image $\\hat x_0$\nthat follows"],
    title=f"Station 6: “{PROMPT}”, step by step",
)

# %% [markdown]
# The loop is all there is: `emote`'s own drawing gives the same image.

# %%
image_generator = ImageGenerator(sd.base)
request = Request(prompt=PROMPT, seed=SEED, width=sd.side_px, height=sd.side_px, inference_steps=STEPS,
                  guidance_scale=GUIDANCE)  # fmt: skip
largest = max(high for _, high in ImageChops.difference(drawn, image_generator.draw([request])[0]).getextrema())
print(f"largest difference of a pixel: {largest} of 255")

# %% [markdown]
# ## 7 Where cross-attention looks for each word
#
# In its cross-attention layers each place of the image asks a question $q$ and each token offers a key $k$; the
# place takes what the tokens hold in proportion to $\text{softmax}(q \cdot k / \sqrt d)$. The maps are the mean over
# layers, heads and steps: bright is where a token is looked at most. Percentages are a token's share of all looking.
#
# **Look at:** the share of the tokens after the last word. They carry no word, but only they have read the whole
# prompt (station 2), and so the image looks at them most. Each word's own map shows where it counts: “cat” about
# eyes and nose, “face” around the figure. These maps are coarse: the miniature's finest layers have 16 × 16 places.

# %%
tokens = sd.tokens(PROMPT)
maps_THW = attention.of_tokens(row=1, size=sd.latent_shape[1:])  # row 1 had the words, row 0 none
after_HW = maps_THW[len(tokens) - 1 :].sum(dim=0)
panels = [*zip(["start mark", *tokens[1:-1]], maps_THW, strict=False), ("end and padding", after_HW)]
grid(
    [[drawn, *(heat_over(drawn, map_HW) for _, map_HW in panels)]],
    columns=["the image", *(name for name, _ in panels)],
    below=[["", *(f"{float(map_HW.mean()):.1%}" for _, map_HW in panels)]],
    title="Station 7: where each token is looked at",
    cell_inches=1.6,
)

# %% [markdown]
# ## 8 What LoRA changes
#
# A LoRA leaves every weight $W$ as it is and adds a product of two thin matrices:
#
# $$W' = W + \Delta W, \qquad \Delta W = \frac{\alpha}{r}\, B A, \qquad B \in \mathbb{R}^{m \times r},\;
# A \in \mathbb{R}^{r \times n}$$
#
# $A$ begins as random numbers and $B$ as zeros, so nothing is changed before the first step. The next cell trains one
# on OpenMoji, whose black outlines the base model does not draw.

# %%
folder = TemporaryDirectory()
training = [
    "experiment=smoke", f"model={MODEL}", "name=inside", "lora.rank=8", "lora.targets=attention_ff",
    "data.max_items=160", "data.held_out=0.1", f"trainer.max_steps={TRAIN_STEPS}", "trainer.learning_rate=5.0e-4",
    f"callbacks.validation.every_steps={TRAIN_STEPS}", f"callbacks.checkpoint.every_steps={TRAIN_STEPS}",
    "callbacks.samples.prompts=[]", f"run.dir={folder.name}/runs", f"run.cache_dir={folder.name}/cache",
]  # fmt: skip
with capture_output():  # the same words after `python train.py` print their progress
    delivered = run(compose_config(training), training)
summary = json.loads((delivered / "summary.json").read_text())
loss = summary["validation_loss"]
print(f"{summary['adapter']['parameters']:,} numbers trained for {TRAIN_STEPS} steps")
print(f"held-out loss: {loss['base']:.3f} before, {loss['final']:.3f} after")

# %% [markdown]
# **Look at:** left, $\Delta W$ of the layer that changed most has $r$ singular values that are not zero and not one
# more, however large the matrix is. Middle: the singular values of $W$ and of $W + \Delta W$ hardly differ; a LoRA
# turns a matrix a little and does not make a new one. Right: how large $\Delta W$ is beside $W$, by kind of layer.

# %%
adapter = read_adapter(delivered / "pytorch_lora_weights.safetensors")
change = {name.removeprefix("unet."): layer.scale * layer.up @ layer.down for name, layer in adapter.layers.items()}
weight = {name: sd.unet.get_submodule(name).weight.detach().float().cpu() for name in change}
relative = {name: float(change[name].norm() / weight[name].norm()) for name in change}
most = max(relative, key=lambda name: relative[name])
kinds = {"self-attention": ".attn1.", "cross-attention": ".attn2.", "feed-forward": ".ff."}

figure, (left, middle, right) = plots(3, width=4)
after, rank = torch.linalg.svdvals(change[most]), adapter.layers[f"unet.{most}"].rank
left.plot(range(1, 25), torch.zeros(24), "s", markersize=7, color=GREY, label="before: B = 0")
left.plot(range(1, 25), after[:24], "o-", markersize=4, color=RED, label=f"after {TRAIN_STEPS} steps")
left.axvline(rank + 0.5, color=PALE, linestyle="--", linewidth=1)
left.set(xlabel="k-th largest", ylabel="singular value", title=f"ΔW has rank {rank} (dashed)")
for matrix, colour, width, name in (
    (weight[most], GREY, 4, "W"),
    (weight[most] + change[most], RED, 1, "W + ΔW"),
):
    values = torch.linalg.svdvals(matrix)
    middle.semilogy(range(1, len(values) + 1), values, color=colour, linewidth=width, label=name)
middle.set(
    xlabel="k-th largest",
    ylabel="singular value",
    title=f"W has {change[most].shape[0]} × {change[most].shape[1]} entries",
)
for place, mark in enumerate(kinds.values()):
    values = [value for name, value in relative.items() if mark in name]
    right.plot([place] * len(values), values, "o", markersize=4, alpha=0.5, color=BLUE)
right.set_xticks(range(len(kinds)), list(kinds))
right.set(ylabel="‖ΔW‖ / ‖W‖", title="Each layer, by kind")
left.legend(frameon=False, fontsize=8)
middle.legend(frameon=False, fontsize=8)
figure.suptitle(f"Station 8: what was learned; left and middle: {most}", fontsize=10)
figure

# %% [markdown]
# An adapter's strength can be turned when it is used: $W + k\,\Delta W$.
#
# **Look at:** from $k = 0$, the base model, the black outlines come in; at $k = 1$ the adapter acts as it was trained,
# and beyond that it exaggerates until the subject is lost. All images of a row begin with the same noise.

# %%
found = find_adapter(str(delivered))
image_generator.use(found)
strengths, subjects = [0, 0.25, 0.5, 0.75, 1, 1.25, 1.5], [EMOJI, "fairy", "crying face"]
requests = [
    Request(prompt=f"An emoji of {subject}, openmoji style", seed=SEED, width=found.resolution,
            height=found.resolution, inference_steps=3 * STEPS // 4, guidance_scale=0.75 * GUIDANCE,
            lora_scale=strength)
    for subject in subjects for strength in strengths
]  # fmt: skip
images = image_generator.draw(requests)
grid(
    [images[7 * row : 7 * row + 7] for row in range(len(subjects))],
    columns=[f"k = {strength}" for strength in strengths],
    names=subjects,
    title="Station 8: one adapter, seven strengths",
)

# %% [markdown]
# ## 9 Two faults, made visible
#
# The StableEmote run of November 2025 was reported with two faults that nobody saw, as its loss fell all the same. Its
# recipe is kept here as `experiment=reported`, and `experiment=stable_emote` is the same one corrected. Training is the
# loop below, whichever of the two it is; only two lines differ.
#
# 1. Its adapter was in bf16, which keeps 8 significant bits.
# 2. It clipped the gradient through an iterator over the parameters, which the optimizer had already used up.

# %%
twin = ["twin=mini"] if MODEL == "mini" else []
recipes = {name: compose_config([f"experiment={name}", *twin]) for name in ("reported", "stable_emote")}
side_px = recipes["reported"].data.resolution
layout = Layout(side_px, margin=0.03)
items = art_items("openmoji", "An emoji of {text}, {style} style")[::200]
moments = [sd.encode(lay_out(decode_for(item.read(), layout), layout)) for item in items]
mean_NCHW, logvar_NCHW = (torch.cat(rows) for rows in zip(*moments, strict=True))
words_N = sd.encoder([item.caption for item in items])


def norm(parameters):
    return float(torch.stack([p.grad.float().norm() for p in parameters]).norm())


def train(config, limit, used_up):
    """A row of measurements for each step, A at the start, and the limit. used_up: clip as the reported run did."""
    unet = components.load_unet(sd.base.path, device=sd.device, variant=sd.base.config.variant)
    attach(unet, config.lora)
    named = trainable(unet)
    parameters = filter(lambda p: p.requires_grad, unet.parameters()) if used_up else list(named.values())
    optimizer = torch.optim.AdamW(parameters, lr=config.trainer.learning_rate)  # reads the iterator to its end
    beginning, measured = {name: p.detach().clone() for name, p in named.items()}, []
    for step in range(LOOP_STEPS):
        places = range(4)
        rows = [(4 * step + place) % len(items) for place in places]
        latents_BCHW = objective.sample_posterior(mean_NCHW[rows], logvar_NCHW[rows], config.seed, step, places)
        noise_BCHW = objective.noise(config.seed, step, places, latents_BCHW.shape[1:]).to(latents_BCHW)
        t_B = objective.timesteps(config.seed, step, places, len(alphas)).to(latents_BCHW.device)
        noisy_BCHW = objective.add_noise(latents_BCHW, noise_BCHW, t_B, alphas)
        error_B = objective.squared_error(predict(unet, noisy_BCHW, t_B, words_N[rows], (side_px,) * 2), noise_BCHW)
        optimizer.zero_grad()
        error_B.mean().backward()
        limit = limit or norm(named.values()) / 2  # so that there is something to clip
        row = {"clip said": float(torch.nn.utils.clip_grad_norm_(parameters, limit))}
        row["gradient used"] = norm(named.values())
        optimizer.step()
        for side in "AB":
            own = [name for name in named if f".lora_{side}." in name]
            same = sum(int((named[name] == beginning[name]).sum()) for name in own)
            row[f"{side} not moved"] = same / sum(named[name].numel() for name in own)
        measured.append(row)
    start_A = torch.cat([beginning[name].flatten() for name in named if ".lora_A." in name])
    return measured, start_A.float().cpu(), limit


reported, start_A, limit = train(recipes["reported"], None, used_up=True)
corrected, _, _ = train(recipes["stable_emote"], limit, used_up=False)

# %% [markdown]
# ### Rounding froze half of the adapter
#
# AdamW moves an entry by about the learning rate, $10^{-4}$. But bf16 numbers near $w$ lie
# $2^{\lfloor \log_2 |w| \rfloor - 7}$ apart, and an update of less than half of that is rounded away, at every step
# anew.
#
# **Look at:** left, the grey entries of $A$ stand where bf16's line is above the learning rate: they cannot move.
# float32's line is far below. Right: how much of $A$ still has its first value after so many steps. $B$ begins at zero,
# where numbers lie close, and moves in both.

# %%
figure, (left, right) = plots(2, width=5.2)
size = torch.logspace(-4, 0.3, 400)
for dtype, name, colour in ((torch.bfloat16, "bf16", RED), (torch.float32, "float32", BLUE)):
    left.loglog(
        size, 2 ** size.log2().floor() * torch.finfo(dtype).eps / 2, color=colour, label=f"half a step of {name}"
    )
rate = recipes["reported"].trainer.learning_rate
left.axhline(rate, color="black", linestyle="--", linewidth=1, label=f"one update: {rate:g}")
left.set(xlabel="size of an entry |w|", ylabel="change", title="Which updates survive rounding")
behind = left.twinx()
behind.hist(start_A.abs(), bins=torch.logspace(-4, 0.3, 60).tolist(), color=GREY, alpha=0.6)
behind.set_yticks([])
behind.set_ylabel("entries of A at the start", fontsize=8, color=PALE)
left.set_zorder(2)
left.patch.set_visible(False)
left.set_ylim(top=3)
left.legend(frameon=False, fontsize=8, loc="upper left")
steps = range(1, LOOP_STEPS + 1)
for rows, side, line, colour, name in (
    (reported, "A", "-", RED, "A, bf16"), (reported, "B", "--", RED, "B, bf16"),
    (corrected, "A", "-", BLUE, "A, float32"), (corrected, "B", ":", "black", "B, float32"),
):  # fmt: skip
    right.plot(steps, [100 * row[f"{side} not moved"] for row in rows], line, color=colour, label=name)
right.set(xlabel="step", ylabel="entries still at their first value, %", title="What never moved", ylim=(-3, 103))
right.legend(frameon=False, fontsize=8)
figure.suptitle("Station 9: rounding", fontsize=10)
print(f"of A, {reported[-1]['A not moved']:.1%} never moved in bf16, {corrected[-1]['A not moved']:.1%} in float32")
figure

# %% [markdown]
# ### Clipping did nothing
#
# `filter(…)` can be read once. The optimizer reads it, and `clip_grad_norm_` then sees no parameters: it clips nothing
# and returns 0, without a complaint. (The limit here is half of the first step's norm, as the miniature's gradients are
# too small for the reported limit of 1.)
#
# **Look at:** left, the norm that `clip_grad_norm_` reports, which is 0 with the used-up iterator. Right, the norm that
# the optimizer got: it stays below the dashed limit only where a list was given.

# %%
figure, (left, right) = plots(2, width=5.2)
for place, key, title in ((left, "clip said", "What clipping reports"), (right, "gradient used", "What is used")):
    place.plot(steps, [row[key] for row in reported], color=RED, label="iterator, used up")
    place.plot(steps, [row[key] for row in corrected], color=BLUE, label="list")
    place.axhline(limit, color="black", linestyle="--", linewidth=1, label="limit")
    place.set(xlabel="step", ylabel="norm of the gradient", title=title)
    place.set_ylim(bottom=-0.05 * limit)
    place.legend(frameon=False, fontsize=8)
figure.suptitle("Station 9: clipping", fontsize=10)
figure

# %% [markdown]
# `emote` measures both in every run: the gradient's norm before clipping, and the share of entries that an update
# cannot move (`grad_norm` and `stuck_share` in `metrics.csv`), and warns where either shows that nothing is learned.
#
# **From here:** change `EMOJI` and `SEED` at the top; draw with guidance and strengths in `inference.ipynb`; train on
# your own images with `python train.py experiment=quickstart data=folder data.path=my_images`.

# %%
folder.cleanup()

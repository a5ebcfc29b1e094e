# ---
# jupyter:
#   accelerator: GPU
#   colab:
#     gpuType: T4
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Train on Colab
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/SurAyush/StableEmote/blob/main/notebooks/train_colab.ipynb)
#
# Fine-tunes Stable Diffusion 1.5 on emoji, or on images of your own, with a free T4. Choose *Runtime → Change runtime
# type → T4 GPU*, and run the cells from the top.
#
# Runs and the cache of encoded images lie on your drive, so a disconnect costs what was done since the last
# checkpoint and no more.

# %% tags=["parameters"]
REPOSITORY = "https://github.com/SurAyush/StableEmote"  # of this project; a fork of yours works as well
FOLDER = "/content/StableEmote"  # where it is cloned to
DRIVE = "/content/drive"  # where your drive is mounted
OUTPUT = "/content/drive/MyDrive/StableEmote"  # where runs and the cache are kept
RECIPE = "experiment=stable_emote hardware=t4"  # any words of `emote train`, such as lora.rank=8
IMAGES = ""  # a folder or zip of your own images, such as /content/drive/MyDrive/my_emoji; empty: OpenMoji
TRIGGER = ""  # a word that will mean your images' style, such as myblob; empty: none
PROMPTS = ["a robot", "a cat face", "a red heart"]  # what to draw, and to pack
HUB_REPO = ""  # owner/name on the Hub to push to; empty: nothing is pushed
DEMO = False  # True: the last cell opens the page
SHARE = False  # True: at a public address. Whoever knows it can draw, upload and train on this machine
ON_COLAB = True  # False: nothing is mounted, cloned or installed

# %% [markdown]
# ## Set up
#
# The drive is mounted first, since runs go there. Colab's own torch stays, as it is built for the GPU that is there:
# what is installed already is pinned. An old torchao, which peft refuses, is taken away; nothing here needs it.

# %%
import json
import os
import shlex
from importlib.metadata import distributions
from pathlib import Path

if ON_COLAB:
    from google.colab import drive

    drive.mount(DRIVE)
    if not Path(FOLDER).exists():
        print("cloning", REPOSITORY)
        # !git clone --depth 1 "{REPOSITORY}" "{FOLDER}"
    keep = ("torch", "torchvision", "torchaudio", "numpy", "pillow")
    lines = [f"{d.name}=={d.version}" for d in distributions() if d.name.lower() in keep]
    Path(FOLDER).with_name("keep.txt").write_text("\n".join(lines))
    # !pip install -q -c "{FOLDER}/../keep.txt" -e "{FOLDER}[hub,wandb,demo]"
    # !pip uninstall -q -y torchao
os.chdir(FOLDER)
WHERE = f'runs_dir="{OUTPUT}/runs"'

# %% [markdown]
# What GPU there is. Without one, Stable Diffusion cannot be trained here: change the runtime's type, or set `RECIPE` to
# `experiment=quickstart`, which trains the miniature on a CPU. (`emote tools check-gpu` checks all of the training path
# on the GPU, in ten minutes.)

# %%
# !nvidia-smi --query-gpu=name,memory.total --format=csv,noheader || echo "there is no GPU"

# %% [markdown]
# ## Your own images
#
# With `IMAGES` set, this says what is found in them and what may be wrong, and trains nothing.

# %%
DATA = f'data=folder data.path="{IMAGES}" name=mine' if IMAGES else ""
if TRIGGER:
    DATA += f" data.trigger={TRIGGER}"
if IMAGES:
    print("looking at", IMAGES)
    # !emote data check {RECIPE} {DATA} run.cache_dir="{OUTPUT}/cache" output="{OUTPUT}/data-check"
else:
    print("IMAGES is empty: the recipe's own images are used")

# %% [markdown]
# ## Train
#
# Before anything is encoded the run says how long it will take and what it rests on. W&B logs offline unless you are
# logged in (`!wandb login`); `logger=csv` in `RECIPE` leaves it out.

# %%
COMMAND = f'{RECIPE} {DATA} run.dir="{OUTPUT}/runs" run.cache_dir="{OUTPUT}/cache"'
# !emote train {COMMAND}

# %% [markdown]
# ## Go on after a disconnect
#
# Connect again, run the parameters and the set-up above, and then this cell. It is the same command: a run knows how
# far it is, goes on from its last checkpoint to the same result, and says so where it is finished. More steps than
# before (`trainer.max_steps=6000`) go on as well.

# %%
# !emote train {COMMAND}

# %% [markdown]
# ## Look
#
# The same prompts and the same noise, before and after, and the loss. The held-out loss is the one to watch: it is of
# images that were kept from training, with the same noise each time.

# %%
from IPython.display import Image, display

summaries = list(Path(OUTPUT, "runs").glob("*/steps/*/summary.json"))
assert summaries, "no run is finished yet; run the cell above"
newest = max(summaries, key=lambda path: path.stat().st_mtime).parent
loss = json.loads((newest / "summary.json").read_text())["validation_loss"]
if loss["final"] is not None:
    print(f"held-out loss: {loss['base']:.4f} of the base model, {loss['final']:.4f} after {int(newest.name)} steps")
for name in ("samples.png", "loss.png"):
    if (newest / name).exists():
        display(Image(newest / name))
for file in sorted(newest.glob("*.safetensors")):
    print(file)

# %% [markdown]
# ## Draw, and pack
#
# With the newest run. The pack is a zip that Slack takes.

# %%
WORDS = shlex.quote(f"prompts={json.dumps(PROMPTS, ensure_ascii=False)}")
# !emote generate {WORDS} {WHERE} output="{OUTPUT}/drawn"
for sheet in sorted(Path(OUTPUT, "drawn").glob("**/*.png"), key=lambda file: file.stat().st_mtime)[-1:]:
    display(Image(sheet))

# %%
# !emote pack {WORDS} {WHERE} platforms=slack output="{OUTPUT}/packs"

# %% [markdown]
# ## Push
#
# To a private repository, with a card, the sheets and the recipe. Set a token that may write first: the key symbol on
# the left, a secret called `HF_TOKEN`, readable by this notebook. What is there already is not pushed again.

# %%
if HUB_REPO:
    if ON_COLAB:
        from google.colab import userdata

        os.environ["HF_TOKEN"] = userdata.get("HF_TOKEN")
    print("pushing to", HUB_REPO)
    # !emote push run={newest.parent.parent.name} repo={HUB_REPO} {WHERE}
else:
    print("nothing was pushed: HUB_REPO is empty")

# %% [markdown]
# ## The page
#
# Draw, choose, pack and train in a browser. From Colab it is reached with `SHARE = True` alone, which gives it a public
# address: **whoever knows that address can draw, upload images and train on this machine**, until the cell is stopped.

# %%
if DEMO:
    print("stop this cell to close the page")
    # !emote demo {WHERE} open=false share={str(SHARE).lower()}
else:
    print("the page was not opened: DEMO is False")

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
# Fine-tunes Stable Diffusion 1.5 on emoji with a free T4. Choose *Runtime → Change runtime type → T4 GPU*, fill in
# `REPOSITORY`, and run the cells from the top.
#
# Runs and the cache of encoded images lie on your drive, so a disconnect costs what was done since the last
# checkpoint and no more.

# %% tags=["parameters"]
REPOSITORY = ""  # the address of this project, as GitHub's green button shows it
FOLDER = "/content/StableEmote"  # where it is cloned to
OUTPUT = "/content/drive/MyDrive/StableEmote"  # where runs and the cache are kept
RECIPE = "experiment=stable_emote hardware=t4"  # any words of `python train.py`, such as lora.rank=8
HUB_REPO = ""  # owner/name on the Hub to push to; empty: nothing is pushed
ON_COLAB = True  # False: nothing is mounted, cloned or installed

# %% [markdown]
# ## Set up
#
# Colab's own torch stays, as it is built for the GPU that is there: what is installed already is pinned.

# %%
import json
import os
from importlib.metadata import distributions
from pathlib import Path

if ON_COLAB:
    from google.colab import drive

    drive.mount("/content/drive")
    if not Path(FOLDER).exists():
        assert REPOSITORY, "fill in REPOSITORY above"
        # !git clone --depth 1 {REPOSITORY} {FOLDER}
    keep = ("torch", "torchvision", "torchaudio", "numpy", "pillow")
    lines = [f"{d.name}=={d.version}" for d in distributions() if d.name.lower() in keep]
    Path("/content/keep.txt").write_text("\n".join(lines))
    # !pip install -q -c /content/keep.txt -e "{FOLDER}[hub,wandb]"
os.chdir(FOLDER)
if ON_COLAB:
    print("one command checks the GPU:")
    # !emote tools check-gpu

# %% [markdown]
# ## Train
#
# Before anything is encoded the run says how long it will take and what it rests on. W&B logs offline unless you are
# logged in (`!wandb login`); `logger=csv` leaves it out.

# %%
COMMAND = f"train.py {RECIPE} run.dir={OUTPUT}/runs run.cache_dir={OUTPUT}/cache"
# !python {COMMAND}

# %% [markdown]
# ## Go on after a disconnect
#
# Connect again, run the parameters and the set-up above, and then this cell. It is the same command: a run knows how
# far it is, goes on from its last checkpoint to the same result, and says so where it is finished. More steps than
# before (`trainer.max_steps=6000`) go on as well.

# %%
COMMAND = f"train.py {RECIPE} run.dir={OUTPUT}/runs run.cache_dir={OUTPUT}/cache"
# !python {COMMAND}

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
# ## Push
#
# To a private repository, with a card, the sheets and the recipe. Set a token that may write first: the key symbol on
# the left, a secret called `HF_TOKEN`, readable by this notebook. What is there already is not pushed again.

# %%
if HUB_REPO:
    if ON_COLAB:
        from google.colab import userdata

        os.environ["HF_TOKEN"] = userdata.get("HF_TOKEN")
    # !emote push run={newest.parent.parent.name} repo={HUB_REPO} runs_dir={OUTPUT}/runs
else:
    print("nothing was pushed: HUB_REPO is empty")

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from emote.models.presets import Base, base_label, find_base, model_named
from emote.util.errors import ConfigError
from tests.conftest import ROOT
from tests.inference.conftest import model_config


def test_models_are_named_as_in_conf_by_path_or_by_hub_name(tiny_sd: Path) -> None:
    assert model_named("mini").path == "weights/mini"
    assert (model_named("sd15").resolution, model_named("sd15").variant) == (256, None)
    assert model_named("someone/model").path == "someone/model"
    assert model_named(str(tiny_sd)).path == str(tiny_sd)
    with pytest.raises(ConfigError, match=r"model must be mini, sd15.* got min; did you mean mini\?"):
        model_named("min")


def test_sizes_follow_from_the_model_itself(tiny_sd: Path) -> None:
    base = find_base(model_config(tiny_sd))
    assert (base.side_px, base.multiple_px) == (32, 4)
    assert (find_base(model_named("mini")).side_px, find_base(model_named("mini")).multiple_px) == (128, 8)
    base.check_size(36, 4)
    for side, advice in ((30, "28 or 32"), (2, "use 4$"), (33, "32 or 36")):
        with pytest.raises(ConfigError, match=f"size must be divisible by 4.*got {side}; .*{advice}"):
            base.check_size(32, side)


def test_where_a_model_is_kept_is_nobody_s_business(tiny_sd: Path) -> None:
    assert base_label(model_named("someone/model-1.5")) == "someone/model-1.5"
    assert base_label(model_named("mini")) == "weights/mini"
    assert base_label(model_config(tiny_sd)) == tiny_sd.name
    assert base_label(model_config(Path("/home/somebody/dream-1.5"))) == "dream-1.5"
    assert base_label(model_config(Path("files/dream.safetensors"))) == "dream"


def test_the_hash_tells_weights_apart_wherever_they_lie(tiny_sd: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_sd, tmp_path / "copy"))
    first, second = find_base(model_config(tiny_sd)), find_base(model_config(copy))
    assert len(first.short_hash) == 10 and first.short_hash == second.short_hash
    file = copy / "unet" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    changed: Base = find_base(model_config(copy))
    assert changed.short_hash != first.short_hash


def test_a_model_that_is_not_there_is_said_in_the_script_s_words(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^model=[^\n]*\nmodel=mini works without any download$"):
        find_base(model_config(tmp_path / "none"))


def test_mistakes_are_found_without_waiting_for_torch() -> None:
    code = (
        "import sys\n"
        "from emote.cli.keywords import run_command\n"
        "from emote.inference.job import generate\n"
        "from emote.inference.options import Options\n"
        "code = run_command(Options, generate, '', ['run=nothing-of-that-name', 'prompts=', 'scheduler=eulr'])\n"
        "print(code, sorted({'torch', 'diffusers', 'transformers', 'peft', 'scipy', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "2 []", done.stderr

"""`emote` as it is typed: its commands, their help, and how mistakes and missing packages are told."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from emote.__main__ import COMMANDS, commands, main, overview
from emote.cli.guard import guarded
from emote.util.errors import ConfigError
from tests.conftest import ROOT

FOLDERS = [COMMANDS, *(path for path in COMMANDS.iterdir() if path.is_dir() and not path.name.startswith("_"))]
ALL = [
    " ".join([*folder.relative_to(COMMANDS).parts, name])
    for folder in FOLDERS
    for name in commands(folder)
    if not (folder / name).is_dir()
]


def module_of(command: str) -> str:
    return ".".join(["emote.commands", *command.replace("-", "_").split()])


def test_the_overview_has_every_command_and_comes_without_importing_any(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "110")
    code = "import sys; from emote.__main__ import main; main(['--help']); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    *shown, imported = done.stdout.splitlines()
    assert [line.split()[0] for line in shown if re.match(r"  [a-z]", line)][1:] == commands()
    assert not [name for name in commands() if f"'emote.commands.{name}'" in imported]
    assert main([]) == 0 and capsys.readouterr().out == "\n".join([*shown, ""])


@pytest.mark.parametrize("command", [command for command in ALL if command != "tools pretrain-mini"])
def test_every_command_explains_itself_with_examples_that_are_typed_so(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command.split(), "--help"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 120
    about = import_module(module_of(command)).__doc__ or ""
    assert about.partition("\n")[0].endswith((".", "?"))
    examples = [line.strip() for line in about.splitlines() if line.strip().startswith(("emote", "python"))]
    assert command == "train" or examples
    assert all(line.startswith(f"emote {command}") for line in examples)
    keys = set(re.findall(r"^  (\w+)  ", text, re.MULTILINE))
    for line in [] if "`emote train`" in about else examples:
        words = shlex.split(line.split("  #")[0])[1 + len(command.split()) :]
        assert {word.partition("=")[0] for word in words} <= keys, line


def test_no_help_waits_for_torch() -> None:
    words = [[*command.split(), "--help"] for command in ALL if command != "tools pretrain-mini"]
    code = (
        f"import sys; from emote.__main__ import main; [main(words) for words in {words}]\n"
        "sys.exit(str(sorted({'torch', 'diffusers', 'peft', 'gradio', 'matplotlib'} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.stderr == "[]\n"


def test_a_command_that_is_none_is_told_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    told = {
        "genrate": "error: emote has no command genrate; did you mean `emote generate`?",
        "tools check_gp": "error: emote tools has no command check_gp; did you mean `emote tools check-gpu`?",
        "lora.rank=8 twin=mini": "lora.rank=8 is no command; did you mean `emote train lora.rank=8 twin=mini`?",
        "__init__": "error: emote has no command __init__",
        "zzz": "; there are train, generate, ",
    }
    for words, line in told.items():
        assert main(words.split()) == 2
        assert line in capsys.readouterr().err


def test_help_with_a_word_shows_what_is_about_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "--help", "guidance"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines() if re.match(r"  \w", line)]
    assert names == ["negative_prompt", "guidance_scale"]
    assert main(["generate", "--help", "zzz"]) == 2
    assert "no key is about zzz" in capsys.readouterr().err


def test_a_package_that_is_missing_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    assert guarded(lambda: missing("no_such_package.part")) == 2
    assert capsys.readouterr().err == (
        "error: this needs the package no-such-package, which is not installed: pip install no-such-package\n"
    )
    for ours in ("emote.nothing", "json.nothing", "torch.nothing"):  # a mistake of the code, not of the user's
        with pytest.raises(ModuleNotFoundError):
            guarded(lambda ours=ours: missing(ours))  # type: ignore[misc]


def test_the_exit_code_says_how_a_command_ended(capsys: pytest.CaptureFixture[str]) -> None:
    def end(error: BaseException) -> int:
        raise error

    assert guarded(lambda: None) == 0 and guarded(lambda: 1) == 1
    assert guarded(lambda: end(ConfigError("no"))) == 2 and capsys.readouterr().err == "error: no\n"
    assert guarded(lambda: end(KeyboardInterrupt())) == 130 and capsys.readouterr().err == "interrupted\n"
    with pytest.raises(ZeroDivisionError):
        guarded(lambda: end(ZeroDivisionError()))


def test_python_m_emote_is_the_same_from_anywhere(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "emote", "--version"], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True,
        text=True, timeout=300,
    )  # fmt: skip
    assert done.stdout.startswith("emote 0.") and list(tmp_path.iterdir()) == []


def test_tools_are_listed_with_their_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tools"]) == 0
    assert capsys.readouterr().out == f"{overview(COMMANDS / 'tools', 'emote tools')}\n"
    assert "check-gpu" in commands(COMMANDS / "tools")

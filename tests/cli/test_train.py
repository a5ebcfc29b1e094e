"""What people type, what they get wrong, and what they are told."""

import os
import signal
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from emote.cli.check.values import value_problem
from emote.cli.train import compose_config, main
from emote.config import Config, schema_keys
from emote.util.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
Told = Callable[..., list[str]]


class Interrupted(KeyboardInterrupt):
    def __init__(self, signal_number: int) -> None:
        super().__init__()
        self.signal_number = signal_number


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[Config, list[str]]]:
    """The runs that were started, in a new empty directory. Ranks above 99 end badly, each in its way."""
    started: list[tuple[Config, list[str]]] = []
    endings: dict[int, BaseException] = {
        100: ConfigError("data.path must exist, got nowhere"),
        101: RuntimeError("out of memory\nand more"),
        102: KeyboardInterrupt(),
        103: Interrupted(signal.SIGTERM),
    }

    def run(config: Config, command: list[str]) -> None:
        assert Path.cwd() == tmp_path
        started.append((config, command))
        if config.lora.rank in endings:
            raise endings[config.lora.rank]

    fake = types.ModuleType("emote.training.run")
    fake.run = run  # type: ignore[attr-defined]
    fake.Interrupted = Interrupted  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "emote.training.run", fake)
    monkeypatch.chdir(tmp_path)
    return started


@pytest.fixture
def sweeping() -> types.SimpleNamespace:
    """The modules that `jobs` changes, imported before `runs` puts another one in the place of emote.training.run."""
    from emote.sweeps import plan, sweep

    return types.SimpleNamespace(plan=plan, sweep=sweep)


@pytest.fixture
def jobs(
    sweeping: types.SimpleNamespace, runs: list[tuple[Config, list[str]]], monkeypatch: pytest.MonkeyPatch
) -> list[tuple[Config, list[str]]]:
    """As `runs`, for sweeps: each leaves what marks it as finished, and no report is written."""
    from emote.runs.run_folder import RunFolder

    plan, sweep = sweeping.plan, sweeping.sweep

    def folder(config: Config) -> RunFolder:
        return RunFolder(Path(config.run.dir) / f"{config.name}-{config.lora.rank}-{config.lora.alpha}-{config.seed}")

    def run(config: Config, command: list[str]) -> Path:
        sys.modules["emote.training.run"].run(config, command)
        path = folder(config).deliverables(config.trainer.max_steps)
        path.mkdir(parents=True)
        (path / "summary.json").write_text(f'{{"steps_run": {config.trainer.max_steps}}}')
        return path

    monkeypatch.setattr(sweep, "run", run)
    monkeypatch.setattr(sweep, "write_report", lambda *_: None)
    monkeypatch.setattr(sweep, "print_report", lambda _: None)
    monkeypatch.setattr(sweep, "next_commands", lambda *_: [])
    monkeypatch.setattr(sweep, "log_report", lambda *_: None)
    monkeypatch.setattr(plan, "identify", lambda config, _: types.SimpleNamespace(folder=folder(config)))
    monkeypatch.setattr(plan, "is_delivered", lambda path, _: path.exists())
    return runs


@pytest.fixture
def told(runs: list[tuple[Config, list[str]]], capsys: pytest.CaptureFixture[str]) -> Told:
    """Type words; returns the mistakes that are told, after checking that nothing was started."""

    def type_words(*words: str) -> list[str]:
        assert main(list(words)) == 2
        output = capsys.readouterr()
        assert output.out == "" and runs == [] and "Traceback" not in output.err
        first, *rest = output.err.removeprefix("error: ").splitlines()
        return [line.strip() for line in rest] if "mistakes, nothing" in first else [first, *rest]

    return type_words


# Mistakes in what was typed: each word, and the beginning of the line that tells what is wrong with it

NAMES = {
    "lora.rnak=8": "unknown key lora.rnak; did you mean lora.rank?",
    "dropout=0": "unknown key dropout; did you mean lora.dropout?",
    "lora/alpha=8": "unknown key lora/alpha; did you mean lora.alpha?",
    "trainer.max_step=9": "unknown key trainer.max_step; did you mean trainer.max_steps?",
    "hardwear=t4": "unknown key hardwear; did you mean hardware?",
    "zzz=1": "unknown key zzz; `python train.py --help` lists them",
    "data=openmoj": "data must be one of blob, fluent, folder, hub, iconify, noto, openmoji, stable_emote, table,",
    "lora=8": "lora must be one of default, got 8; its keys are lora.rank, lora.alpha, lora.dropout,",
    "model=null": "model must be one of mini, sd15, sdxl, got null",
    "experiment/smoke=x": "experiment/smoke is an option; did you mean experiment=smoke?",
    "logger@data=csv": "logger@data=csv gives logger another place (@data), where no key is; set logger=…",
    "run=8": "run is a section, not a key; its keys are run.dir, run.cache_dir, run.fresh, run.mixed",
}
VALUES = {
    "seed=eight": "seed must be an integer, got eight",
    "lora.rank=8.5": "lora.rank must be an integer, got 8.5",
    "data.max_items=true": "data.max_items must be an integer or null, got true",
    "trainer.max_steps=null": "trainer.max_steps must be an integer, got nothing",
    "trainer.devices=": "trainer.devices must be an integer, got nothing",
    "trainer.batch_size=???": "trainer.batch_size must be an integer, got ???",
    "trainer.warmup_steps=[8]": "trainer.warmup_steps must be an integer, got [8]",
    "lora.seed=-1": "lora.seed must be at least 0, got -1",
    "trainer.epsilon=0": "trainer.epsilon must be above 0, got 0",
    "lora.alpha=nan": "lora.alpha must be a finite number, got nan",
    "lora.dropout=1": "lora.dropout must be below 1, got 1",
    "model.resolution=4": "model.resolution must be at least 8, got 4",
    "lora={rnak: 8}": "unknown key lora.rnak; did you mean lora.rank?",
    "callbacks.samples={seed: x}": "callbacks.samples.seed must be an integer, got x",
    "trainer.betas=[0.9,x]": "trainer.betas must be a list of numbers, got [0.9, 'x']",
    "trainer.compile=maybe": "trainer.compile must be true or false, got maybe",
    "run.fresh=2": "run.fresh must be true or false, got 2",
    "data.fit=padd": "data.fit must be one of pad, crop, got padd; did you mean pad?",
}
SIGNS = {
    "+new.key=1": "unknown key new.key; `python train.py --help` lists them (+ can add keys to callbacks.extra alone)",
    "++x=1": "unknown key x; `python train.py --help` lists them (+ can add keys to callbacks.extra alone)",
    "+lora.rank=1": "+lora.rank=1: lora.rank exists, + is for new keys; did you mean lora.rank=1?",
    "+experiment=smoke": "+experiment=smoke: experiment exists, + is for new keys; did you mean experiment=smoke?",
    "~model": "~model would remove model, which every run needs",
    "~lora.alpha": "~lora.alpha would remove lora.alpha, which every run needs",
    "~data.margin": "~data.margin would remove data.margin, which every run needs; set data.margin=null for none",
    "~twin": "~twin would remove twin, which every run needs; set twin=null for none",
}
WRITING = {
    "lora.targets=[to_q": "lora.targets=[to_q cannot be read: [ and ] do not match",
    "lora.rank =8": "lora.rank =8 cannot be read: no spaces around =",
    "lora.rank": "lora.rank is not key=value; did you mean lora.rank=…?",
    "quickstart": "quickstart is not key=value; did you mean experiment=quickstart?",
    "data.caption=a {text}": "data.caption=a {text} cannot be read; if the value is text, quote it twice: "
    "'data.caption=\"a {text}\"'",
    "seed=2,4": "seed=2,4 has several values: add -m to run each",
    "callbacks.samples.prompts=a,b": "callbacks.samples.prompts=a,b has several values: add -m to run each, "
    "or brackets to mean a list: 'callbacks.samples.prompts=[a,b]'",
    "name=a,b": "name=a,b has several values: add -m to run each, or quotes to mean one text: 'name=\"a,b\"'",
}
TOGETHER = {  # found by the rules between the keys
    "lora.targets=[to_q,nonsense]": "lora.targets names nonsense, which no module of the UNet is called; modules are",
    "data.resolution=250": "data.resolution must be divisible by 8 (one latent covers 8×8 pixels), got 250; use 248 or",
    'data.caption="{trigger} {text}"': "data.caption has {trigger}, and data.trigger is null; set data.trigger=",
    "data.captions=one": "data.captions=one gives all images one caption, and data.caption='",
    "data.repeats={cats:0}": "data.repeats.cats must be a number above 0 and at most 1000, got 0",
    "data.background=grene": "data.background must be random or a CSS colour such as white or #ffcc00, got 'grene'; "
    "did you mean green?",
    'data.background_caption="on {a_color}"': "data.background_caption may use {a_colour}, {colour}, got {a_color}",
    "trainer.devices=3": "trainer.batch_size must be divisible by trainer.devices=3, got 8; use 9",
}
ALONE = {
    "lora.targets=atention": "lora.targets must be one of attention, attention_ff, all or a list of modules, got at",
    "data=folder": "data.path must name a directory with images when data=folder, got nothing; set data.path=…",
    "trainer.schedule_steps=max": "trainer.schedule_steps must be an integer or max_steps, got max",
    "trainer.options.adamw.amsgrad=2": "trainer.options.adamw.amsgrad must be true or false, got 2",
    "callbacks.extra.mine.x=1": "callbacks.extra.mine is new: write + before it",
    "--lora.rank=8": "unknown flag --lora.rank=8; did you mean lora.rank=8?",
    "--multi-run": "unknown flag --multi-run; did you mean --multirun?",
    "--config-dir=nowhere": "--config-dir must name a directory, got nowhere",
    "lora.alpha=${lora.rnk}": "lora.alpha refers to lora.rnk, which is unknown; did you mean lora.rank?",
    "lora.rank=${name}": "lora.rank must be an integer: While dereferencing",
    "name=${oc.env:NO_SUCH_VARIABLE}": "name cannot be resolved: ",
    "hydra.foo=1": "unknown key hydra.foo of Hydra's",
    "hydra/launcher=nope": "hydra/launcher=nope: set launcher= for what runs the jobs of a sweep",
}


@pytest.mark.parametrize("mistakes", [NAMES, VALUES, SIGNS, WRITING, TOGETHER], ids=len)
def test_all_mistakes_are_told_at_once_in_one_line_each(mistakes: dict[str, str], told: Told) -> None:
    lines = told(*mistakes)
    for beginning in mistakes.values():
        assert [line for line in lines if line.startswith(beginning)], beginning
    assert len(lines) == len(mistakes)


@pytest.mark.parametrize("word", ALONE)
def test_one_mistake_is_told_in_one_line(word: str, told: Told) -> None:
    (line,) = told(word)
    assert line.startswith(ALONE[word])


def test_a_typo_in_a_key_names_the_nearest_one(told: Told) -> None:
    names = [name for name, _, _ in schema_keys() if name != "callbacks.extra"]
    typos = {f"{name[:-2]}{name[-1]}{name[-2]}": name for name in names if name[-1] != name[-2]}
    lines = told(*(f"{typo}=???" for typo in typos))
    for typo, name in typos.items():
        # data.captiosn is as near to data.caption as to data.captions
        assert {f"unknown key {typo}; did you mean {near}?" for near in (name, name.removesuffix("s"))} & set(lines)


def test_mistakes_of_every_kind_are_told_together(told: Told) -> None:
    words = ["lora.rnak=8", "hardware=t5", "data.fit=padd", "~model", "+x=1", "lora.dropout=2", "data.resolution=250"]
    assert len(told(*words, "a", "lora.targets=[to_q")) == len(words) + 2


def test_a_wrong_value_under_a_wrong_name_is_told_too(told: Told) -> None:
    assert told("lora.rnak=eight") == [
        "unknown key lora.rnak; did you mean lora.rank?",
        "lora.rank must be an integer, got eight",
    ]


def test_what_only_follows_from_a_mistake_is_not_told(told: Told) -> None:
    assert told("data=folder", "dta.path=images") == ["unknown key dta.path; did you mean data.path?"]
    assert told("model=minni", "data.resolution=64") == [
        "model must be one of mini, sd15, sdxl, got minni; did you mean mini?"
    ]


def test_a_group_cannot_be_chosen_twice(told: Told) -> None:
    assert told("model=mini", "model=sd15") == ["model is chosen twice; choose it once"]


def test_a_batch_must_be_divisible_by_the_devices(told: Told) -> None:
    (line,) = told("trainer.batch_size=7", "trainer.devices=2")
    assert line == "trainer.batch_size must be divisible by trainer.devices=2, got 7; use 8"


def test_cfg_does_not_show_what_would_be_refused(told: Told) -> None:
    assert told("--cfg", "job", "+lora.new=1")[0].startswith("unknown key lora.new")
    assert told("--cfg", "jobb")[0].startswith("argument --cfg/-c: invalid choice: 'jobb'")
    assert told("--cfg", "job", "-m", "seed=1,2")[0].startswith("--cfg shows one configuration")


def test_compose_config_raises_what_the_command_line_tells() -> None:
    with pytest.raises(ConfigError, match=r"lora.rank must be at least 1, got 0"):
        compose_config(["lora.rank=0"])


def test_values_that_mean_the_same_are_taken() -> None:
    for name, value in {
        "trainer.compile": "False",
        "lora.alpha": 8,
        "lora.rank": "8",
        "name": 3,
        "data.path": None,
    }.items():
        assert value_problem(name, value) is None, name
    assert compose_config(["trainer.compile='False'"]).trainer.compile is False


# Mistakes in sweeps


def test_every_value_of_a_sweep_is_checked(told: Told) -> None:
    words = ["lora.rank=2,4,eight", "seed=range(-1,3)", "hardware=choice(cpu,t5)"]
    lines = told("-m", *words, "trainer.devices=range(1,3,0)", "lora.dropout=interval(0,1)")
    assert lines[:3] == [
        "lora.rank must be an integer, got eight",
        "seed must be at least 0, got -1",
        "hardware must be one of ampere, auto, cpu, hopper, mps, reported, t4, got t5; did you mean t4?",
    ]
    assert lines[3].startswith("trainer.devices=range(1,3,0) has no values")
    assert lines[4].startswith("lora.dropout=interval(0,1) has no values")


def test_every_combination_of_a_sweep_is_checked(told: Told) -> None:
    lines = told("-m", "trainer.batch_size=7,8", "trainer.devices=1,2", "seed=1,2")
    assert lines == ["trainer.batch_size must be divisible by trainer.devices=2, got 7; use 8"]


def test_a_large_sweep_is_checked_value_by_value(told: Told) -> None:
    lines = told("-m", "data.resolution=256,250", "lora.rank=range(1,1030)", "seed=range(0,50)")
    assert lines[0] == "lora.rank must be at most 1024, got 1025"
    assert any("got 250" in line for line in lines)


# Mistakes in files


def test_mistakes_in_a_file_are_told_together_with_its_name(told: Told, files: Callable[[str, str], list[str]]) -> None:
    text = "# @package _global_\nlora:\n  rnak: 3\n  rank: eight\ntrainer:\n  batch_size: 0\nnew: 1\n"
    lines = told(*files("experiment/typos", text), "experiment=typos", "seed=-1")
    assert all("experiment/typos.yaml: " in line for line in lines[1:])
    assert [line.split("typos.yaml: ")[-1] for line in lines] == [
        "seed must be at least 0, got -1",
        "unknown key lora.rnak; did you mean lora.rank?",
        "lora.rank must be an integer, got eight",
        "trainer.batch_size must be at least 1, got 0",
        "unknown key new; `python train.py --help` lists them",
    ]


def test_a_file_that_is_not_yaml_is_named_with_the_line(told: Told, files: Callable[[str, str], list[str]]) -> None:
    (line,) = told(
        *files("experiment/broken", "# @package _global_\nlora:\n  rank: [3\nseed: 1\n"), "experiment=broken"
    )
    assert "broken.yaml, line 4: not valid YAML" in line


def test_an_unknown_option_in_a_file_is_told_with_the_nearest(
    told: Told, files: Callable[[str, str], list[str]]
) -> None:
    text = "# @package _global_\ndefaults:\n  - override /model: minni\n"
    (line,) = told(*files("experiment/small", text), "experiment=small")
    assert line.endswith("experiment/small.yaml: model must be one of mini, sd15, sdxl, got minni; did you mean mini?")


def test_a_file_without_keys_is_told(told: Told, files: Callable[[str, str], list[str]]) -> None:
    (line,) = told(*files("experiment/list", "[1, 2]\n"), "experiment=list")
    assert line.endswith("experiment/list.yaml: the file must have keys, got a list")


# Running


def test_a_run_gets_the_configuration_and_its_words(runs: list[tuple[Config, list[str]]], tmp_path: Path) -> None:
    words = ["experiment=smoke", "lora.rank=8", "lora.alpha=${lora.rank}", "twin=null"]
    assert main(words) == 0
    ((config, command),) = runs
    assert (config.name, config.lora.rank, config.lora.alpha) == ("smoke", 8, 8.0)
    assert command == words
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_runs_every_job_and_writes_where_runs_are_kept(
    jobs: list[tuple[Config, list[str]]], tmp_path: Path
) -> None:
    words = ["lora.rank=2,4", "seed=range(1,3)", "lora.alpha=${lora.rank}", "experiment=null"]
    assert main(["-m", *words]) == 0
    assert [(config.lora.rank, config.seed, config.lora.alpha) for config, _ in jobs] == [
        (2, 1, 2.0),
        (2, 2, 2.0),
        (4, 1, 4.0),
        (4, 2, 4.0),
    ]
    assert jobs[0][1] == ["lora.rank=2", "seed=1", "lora.alpha=${lora.rank}", "experiment=null"]
    assert list(tmp_path.iterdir()) == [tmp_path / "runs"]


def test_groups_and_nothing_can_be_swept(jobs: list[tuple[Config, list[str]]]) -> None:
    assert main(["-m", "experiment=null,smoke", "model=mini"]) == 0
    assert [config.name for config, _ in jobs] == ["emote", "smoke"]


def test_an_experiment_may_bring_its_sweep(
    jobs: list[tuple[Config, list[str]]], files: Callable[[str, str], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    text = "# @package _global_\nname: few\nhydra:\n  sweeper:\n    params:\n      lora.rank: 2,4\n"
    words = [*files("experiment/sweep/few", text), "experiment=sweep/few"]
    assert main(words) == 2
    assert "add -m" in capsys.readouterr().err
    assert main([*words, "-m"]) == 0
    assert [config.lora.rank for config, _ in jobs] == [2, 4]
    files("experiment/sweep/few", text.replace("hydra:\n", "hydra:\n  mode: MULTIRUN\n"))
    assert main(words) == 0 and len(jobs) == 2  # they are finished
    assert main([*words, "seed=7"]) == 0 and len(jobs) == 4
    assert main([*words, "lora.rank=3"]) == 0 and [config.lora.rank for config, _ in jobs[4:]] == [3]


def test_mistakes_in_the_sweep_of_an_experiment_are_told(told: Told, files: Callable[[str, str], list[str]]) -> None:
    text = "# @package _global_\nhydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n      lora.rank: 2,eight\n"
    assert told(*files("experiment/bad", text), "experiment=bad") == ["lora.rank must be an integer, got eight"]


def test_options_in_directories_are_found(
    runs: list[tuple[Config, list[str]]], files: Callable[[str, str], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    words = files("experiment/style/mine", "# @package _global_\nname: style\n")
    assert main([*words, "experiment=style/mine"]) == 0
    assert runs[0][0].name == "style"
    assert main([*words, "experiment=mine"]) == 2
    assert "did you mean style/mine?" in capsys.readouterr().err


def test_a_typed_hardware_beats_the_pinned_one_and_is_announced(
    runs: list[tuple[Config, list[str]]], files: Callable[[str, str], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    files("hardware/mine", "# @package _global_\ntrainer:\n  precision: bf16\n")
    words = files("experiment/pinned", "# @package _global_\ndefaults:\n  - override /hardware: mine\n")
    assert main([*words, "experiment=pinned"]) == 0
    assert "note:" not in capsys.readouterr().err
    assert main([*words, "experiment=pinned", "hardware=t4"]) == 0
    assert [config.trainer.precision.name for config, _ in runs] == ["bf16", "fp16"]
    assert capsys.readouterr().err == "note: hardware=t4 as typed; the experiment pins hardware=mine\n"


def test_callbacks_of_ones_own_can_be_added(runs: list[tuple[Config, list[str]]]) -> None:
    assert main(["+callbacks.extra.mine._target_=my_module.Mine", "+callbacks.extra.mine.size=3"]) == 0
    assert runs[0][0].callbacks.extra == {"mine": {"_target_": "my_module.Mine", "size": 3}}


@pytest.mark.parametrize(("rank", "code"), [(1, 0), (100, 2), (102, 130), (103, 143)])
def test_the_exit_code_says_how_a_run_ended(rank: int, code: int, runs: list[tuple[Config, list[str]]]) -> None:
    assert main([f"lora.rank={rank}"]) == code
    assert not GlobalHydra.instance().is_initialized()


def test_a_mistake_that_the_run_finds_is_told_in_one_line(
    runs: list[tuple[Config, list[str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    main(["lora.rank=100"])
    assert capsys.readouterr().err == "error: data.path must exist, got nowhere\n"


def test_what_nobody_foresaw_keeps_its_traceback(runs: list[tuple[Config, list[str]]]) -> None:
    with pytest.raises(RuntimeError, match="out of memory"):
        main(["lora.rank=101"])


def test_a_failing_sweep_runs_all_jobs_and_ends_with_a_table(
    jobs: list[tuple[Config, list[str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["-m", "lora.rank=100,2,101", "model=mini"]) == 1
    assert [config.lora.rank for config, _ in jobs] == [100, 2, 101]
    table = capsys.readouterr().err.split("2 of 3 jobs failed:\n")[1].splitlines()
    assert [line.partition("  (")[0] for line in table[:2]] == [
        "  lora.rank=100  data.path must exist, got nowhere",
        "  lora.rank=101  RuntimeError: out of memory",
    ]
    logs = sorted(Path("runs/sweeps").glob("*/logs/*.log"))
    assert [line.partition("  (")[2].rstrip(")") for line in table[:2]] == list(map(str, logs))
    assert "Traceback" in logs[1].read_text() and "RuntimeError: out of memory\nand more" in logs[1].read_text()
    jobs.clear()
    assert main(["-m", "lora.rank=100,2,101", "model=mini"]) == 1
    assert [config.lora.rank for config, _ in jobs] == [100, 101]


def test_an_interrupted_sweep_starts_no_other_job(jobs: list[tuple[Config, list[str]]]) -> None:
    assert main(["-m", "lora.rank=2,103,4"]) == 143
    assert [config.lora.rank for config, _ in jobs] == [2, 103]


def test_the_shorter_jobs_of_a_run_come_first_and_no_two_of_a_run_side_by_side(
    jobs: list[tuple[Config, list[str]]],
) -> None:
    assert main(["-m", "lora.rank=2,4", "trainer.max_steps=30,10,20"]) == 0
    told = [(config.lora.rank, config.trainer.max_steps) for config, _ in jobs]
    assert told == [(2, 10), (4, 10), (2, 20), (4, 20), (2, 30), (4, 30)]


def test_files_that_are_edited_while_a_sweep_runs_change_none_of_its_jobs(
    jobs: list[tuple[Config, list[str]]], files: Callable[[str, str], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "# @package _global_\nname: edited\nseed: 7\n"
    words = [*files("experiment/edited", text), "experiment=edited"]
    fake = sys.modules["emote.training.run"]
    run = fake.run

    def run_and_edit(config: Config, command: list[str]) -> None:
        files("experiment/edited", text.replace("7", "8"))
        run(config, command)

    monkeypatch.setattr(fake, "run", run_and_edit)
    assert main(["-m", *words, "lora.rank=2,4"]) == 0
    assert [config.seed for config, _ in jobs] == [7, 7]


def test_jobs_that_are_the_same_run_are_refused_before_the_first_starts(jobs: list, told: Told) -> None:
    assert told("-m", "callbacks.samples.seed=1,2", "model=mini") == [
        "callbacks.samples.seed=1 and callbacks.samples.seed=2 are the same run to the same step: "
        "callbacks.samples.seed does not decide what is learned; sweep over what does, or set name= as well"
    ]


# Looking


def test_help_explains_every_key_and_option(
    runs: list[tuple[Config, list[str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for name, entry, _ in schema_keys():
        assert f"  {name} " in text
        assert entry.metadata["meaning"].split()[0] in text
    for part in ("hardware=t4", "twin=mini", "python train.py lora.rank=8 hardware=t4", "-m lora.rank=2,4,8"):
        assert part in text
    assert "_base" not in text
    assert max(map(len, text.splitlines())) <= 120


def test_help_shows_the_values_that_the_words_compose_to(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lora.rank=77", "-h"]) == 0
    assert any(line.split()[:2] == ["lora.rank", "77"] for line in capsys.readouterr().out.splitlines())


def test_cfg_shows_the_configuration(runs: list[tuple[Config, list[str]]], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--cfg", "job", "experiment=null"]) == 0
    assert "alpha: ${.rank}" in capsys.readouterr().out
    assert main(["lora.rank=7", "--cfg", "job", "--resolve", "--package", "lora"]) == 0
    assert "alpha: 7" in capsys.readouterr().out
    assert runs == []


def test_version_is_ours(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("emote ")


# As it is really called


def call(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}
    command = [sys.executable, str(ROOT / "train.py"), *words]
    return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)


def test_help_comes_without_torch_from_any_directory(tmp_path: Path) -> None:
    done = call(tmp_path, "--help")
    assert done.returncode == 0 and "lora.rank" in done.stdout
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert "hydra" in imported and not imported & {"torch", "pytorch_lightning", "diffusers", "transformers"}
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_ends_the_process_with_2_and_no_traceback(tmp_path: Path) -> None:
    done = call(tmp_path, "lora.rnak=8")
    assert done.returncode == 2 and done.stdout == ""
    assert "error: unknown key lora.rnak; did you mean lora.rank?" in done.stderr and "Traceback" not in done.stderr
    assert not any(line.endswith("| torch") for line in done.stderr.splitlines())
    assert list(tmp_path.iterdir()) == []

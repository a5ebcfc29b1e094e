"""A run with nested ranks: what it leaves, that it can be stopped, and what is refused."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

import pytest
from safetensors.torch import load_file

from emote.config import Config, problems
from emote.inference.resolve_adapter import find_adapter
from emote.lora.adapter_file import read_adapter
from emote.runs.identity import identity_keys
from emote.sweeps.reports.report import short, write_report
from emote.util.errors import ConfigError
from tests.training.test_run import adapters

Runner = Callable[..., Path]
NESTED = {"lora.nested": "[1,2,4]"}


def losses(path: Path) -> float:
    with open(path / "validation.csv", newline="") as file:
        return fmean(float(row["final_loss"]) for row in csv.DictReader(file))


@pytest.mark.parametrize("by", ["weights", "draw"])
def test_a_run_leaves_each_rank_scored_in_both_formats_and_resumes_bit_for_bit(
    tiny_run: Runner, tmp_path: Path, by: str
) -> None:
    setting = NESTED | {"lora.nested_by": by, "trainer.max_micro_batch": 2}
    path = tiny_run(**setting)
    told = {entry["rank"]: entry for entry in json.loads((path / "summary.json").read_text())["nested"]}
    assert [(rank, entry["alpha"], entry["directory"]) for rank, entry in told.items()] == [
        (1, 1.0, "rank-1"), (2, 2.0, "rank-2"), (4, 4.0, "."),
    ]  # fmt: skip
    whole = load_file(path / "pytorch_lora_weights.safetensors")
    for rank, entry in told.items():
        files = [
            path / entry["directory"] / name
            for name in ("pytorch_lora_weights.safetensors", f"smoke-rank-{rank}.safetensors")
        ]
        for file in files if rank < 4 else files[:1]:
            layers = read_adapter(file).layers.values()
            assert {(layer.rank, layer.alpha) for layer in layers} == {(rank, float(rank))}
            assert sum(layer.down.numel() + layer.up.numel() for layer in layers) == entry["parameters"]
        assert losses(path / entry["directory"]) == pytest.approx(entry["validation_loss"]["final"])
        own = load_file(files[0])
        assert all((own[n] == (t[:, :rank] if ".lora_B." in n else t[:rank])).all() for n, t in whole.items())
    assert len({entry["validation_loss"]["final"] for entry in told.values()}) == 3
    tiny_run(**setting, **{"trainer.max_steps": 3, "run.dir": tmp_path / "other"})
    resumed = tiny_run(**setting, **{"run.dir": tmp_path / "other"})
    assert adapters(resumed) == adapters(path)
    assert losses(resumed / "rank-1") == losses(path / "rank-1")


def test_every_command_finds_the_adapter_of_a_rank(tiny_run: Runner, tmp_path: Path) -> None:
    path = tiny_run(**NESTED)
    run = path.parent.parent
    found = find_adapter("smoke/6/rank-2", run.parent)
    assert found.file.samefile(path / "rank-2" / "pytorch_lora_weights.safetensors")
    assert found.label == f"{run.name}/6/rank-2" and found.caption
    assert find_adapter(str(path / "rank-1"), run.parent).label == f"{run.name}/6/rank-1"
    with pytest.raises(ConfigError, match=r"rank-3 has no .*; there are rank-1, rank-2"):
        find_adapter("smoke/6/rank-3", run.parent)


def test_the_report_shows_ranks_and_steps_of_one_run(tiny_run: Runner, tmp_path: Path) -> None:
    tiny_run(**NESTED, **{"trainer.max_steps": 3})
    path = tiny_run(**NESTED)
    run = path.parent.parent
    report = write_report([run], tmp_path / "report", run.parent)
    rows = [line for line in short(report) if line.startswith("| rank")]
    assert [row.split("|")[1].strip() for row in rows] == ["rank 1", "rank 2", "rank 4"]
    assert f"{losses(path / 'rank-2'):.5f}" in rows[1] and f"{losses(path.parent / '000003' / 'rank-2'):.5f}" in rows[1]
    text = (tmp_path / "report" / "report.md").read_text()
    assert "2 of 2 jobs are finished: 1 runs, to 3, 6 steps." in text
    assert "6 of the figures, each a rank at a step count, come from 1 training run with nested ranks: 6 steps" in text
    assert "Smallest within one standard error" in text or "No smaller adapter" in text
    assert report.main and report.main.smallest.finished[0].summary["adapter"]["rank"] in (1, 2, 4)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"lora.nested": "[4,2,1]"}, r"lora\.nested must be increasing, got \[4,2,1\]; set lora\.nested=\[1,2,4\]"),
        ({"lora.nested": "[1,8]"}, r"end with lora\.rank=4, got \[1,8\]; set lora\.rank=8, or lora\.nested=\[1,4\]"),
        ({"lora.nested": "[4]"}, r"must name smaller ranks too, got \[4\]; set lora\.nested=\[\]"),
        ({**NESTED, "lora.variant": "dora"}, r"needs lora\.variant=lora or rslora, got dora; set lora\.nested=\[\]"),
        ({"lora.nested": "[0,4]"}, r"lora\.nested must be at least 1, got 0"),
    ],
)  # fmt: skip
def test_what_cannot_nest_is_refused_with_what_to_set(
    make_config: Callable[..., Config], values: dict[str, str], told: str
) -> None:
    (line,) = problems(make_config("experiment=smoke", **values))
    assert re.search(told, line), line


def test_a_start_of_another_rank_names_both_keys(tiny_run: Runner) -> None:
    file = tiny_run(**{"lora.rank": 2, "trainer.max_steps": 1}) / "smoke.safetensors"
    with pytest.raises(ConfigError, match=r"set lora\.rank=2, with lora\.nested=\[\] or one that ends with 2"):
        tiny_run(**NESTED, **{"lora.init_from": file})


def test_nothing_changes_where_it_is_off(make_config: Callable[..., Config]) -> None:
    off = identity_keys(make_config("experiment=smoke", **{"lora.nested_by": "draw"}))
    assert off == identity_keys(make_config("experiment=smoke")) and not any("nested" in name for name in off)
    on = [
        identity_keys(make_config("experiment=smoke", **NESTED, **{"lora.nested_by": by})) for by in ("weights", "draw")
    ]
    assert on[0] != on[1] and on[0]["lora.nested"] == [1, 2, 4]

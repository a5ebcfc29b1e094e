"""What a finished step count leaves in runs/<name>-<identity>/steps/<NNNNNN>/, all of it or nothing."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from dataclasses import astuple, fields
from pathlib import Path
from statistics import fmean
from typing import Any

from omegaconf import OmegaConf
from safetensors.torch import load_file

from emote.config import Config
from emote.data.item import Skipped
from emote.data.prepared import Example, Prepared
from emote.diffusion.few_steps import OBJECTIVES
from emote.evaluation.curve import plot_losses
from emote.evaluation.paired import PairedResult, compare
from emote.lora.adapter import adapter_state, load_adapter_state
from emote.lora.formats import DIFFUSERS_FILE, take_out, write_diffusers, write_kohya
from emote.lora.layer_names import COMMENT
from emote.lora.nested import Nested, lora_of_rank, truncated
from emote.models.presets import base_label
from emote.runs.metrics_file import Row
from emote.runs.run_folder import RunFolder, rank_directory
from emote.training.image_check import ImageCheck, Judged, check_images
from emote.training.job import Job
from emote.training.module import LoraModule
from emote.training.summary import summarise
from emote.util.console import echo
from emote.util.files import write_json, write_text
from emote.util.timer import Timer


def write_config(config: Config, path: Path) -> None:
    """The resolved configuration, as YAML that can be read back."""
    values = OmegaConf.create(OmegaConf.to_yaml(OmegaConf.structured(config), resolve=True))
    for section in values.values():
        if OmegaConf.is_dict(section) and "options" in section:  # of what is chosen: others may be gone tomorrow
            chosen = [name for value in section.values() for name in (value if OmegaConf.is_list(value) else [value])]
            section.options = {name: options for name, options in section.options.items() if name in chosen}
    write_text(path, OmegaConf.to_yaml(values))


class Artifacts:
    """Collects files in a directory of its own and gives it its final name at the end."""

    def __init__(self, folder: RunFolder, step: int, final: Path | None = None) -> None:
        """final: the directory; None for the step count's own."""
        self.folder, self.step = folder, step
        self.final = final or folder.deliverables(step)
        self.path = self.final.with_name(f".{self.final.name}.tmp")
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True)

    def write_adapter(self, module: LoraModule, config: Config, name: str, metadata: dict[str, str]) -> None:
        """The last adapter in both formats, and the best one by held-out loss where that is another."""
        self.write_last_adapter(module, config, name, metadata)
        best = self.best_step()
        if best is not None and best != self.step:
            last = adapter_state(module.unet)
            load_adapter_state(module.unet, load_file(self.folder.best_adapter(best)))
            directory = self.path / f"best-at-step-{best}"
            _write_formats(module, config, directory, f"{name}-step-{best}", metadata)
            load_adapter_state(module.unet, last)

    def write_last_adapter(self, module: LoraModule, config: Config, name: str, metadata: dict[str, str]) -> None:
        _write_formats(module, config, self.path, name, metadata)

    def best_step(self) -> int | None:
        scored = [row for row in self.folder.metrics.rows() if row["step"] <= self.step and "validation_loss" in row]
        if not scored:
            return None
        best = int(min(scored, key=lambda row: (row["validation_loss"], row["step"]))["step"])
        return best if self.folder.best_adapter(best).exists() else None

    def write_metrics(self, base_loss: float | None, title: str) -> list[Row]:
        rows = self.folder.metrics.copy_until(self.step, self.path / "metrics.csv")
        plot_losses(
            self.path / "loss.png",
            [int(row["step"]) for row in rows],
            [row.get("loss", float("nan")) for row in rows],
            [(int(row["step"]), row["validation_loss"]) for row in rows if "validation_loss" in row],
            base_loss,
            title,
        )
        return rows

    def write_validation(
        self,
        examples: Sequence[Example],
        base: Sequence[float],
        final: Sequence[float],
        directory: Path | None = None,
    ) -> PairedResult | None:
        """Return one row a held-out item, so that anybody can compute another statistic."""
        if not examples:
            return None
        with open((directory or self.path) / "validation.csv", "w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["name", "concept", "base_loss", "final_loss"])
            for example, before, after in zip(examples, base, final, strict=True):
                table.writerow([example.name, example.concept, repr(before), repr(after)])
        return compare(base, final, [example.concept for example in examples])

    def write_ranks(
        self, job: Job, nested: Nested, base: Sequence[float], final: Sequence[float], metadata: dict[str, str]
    ) -> list[dict[str, Any]]:
        """Leave the adapter of each smaller nested rank in a directory of its own, scored; returns what the summary
        says of each rank. base, final: held-out losses of the base model and of the whole adapter, [] without any."""
        lora, concepts = job.config.lora, [example.concept for example in job.held_out.examples]
        whole, told = take_out(job.module.unet, lora, job.module.text_layers), []
        for rank in lora.nested:
            directory, losses = self.path / rank_directory(rank), final
            if rank == lora.rank:
                compared = compare(base, final, concepts) if base else None
            else:
                adapter, name = truncated(whole, lora, rank), f"{job.config.name}-rank-{rank}"
                write_diffusers(adapter, directory / DIFFUSERS_FILE)
                write_kohya(adapter, directory / f"{name}.safetensors", metadata | {"ss_output_name": name})
                with nested.only(rank):
                    losses = job.held_out.score(job.module) if base else []
                compared = self.write_validation(job.held_out.examples, base, losses, directory)
            own = lora_of_rank(lora, rank)
            layers = (layer for name, layer in whole.layers.items() if name.startswith("unet."))
            told.append({
                "rank": rank,
                "alpha": own.alpha,
                "parameters": sum((layer.down.numel() + layer.up.numel()) // lora.rank * rank for layer in layers),
                "directory": "." if rank == lora.rank else directory.name,
                "validation_loss": compared.as_dict() if compared else {"base": None, "final": None},
            })  # fmt: skip
        return told

    def write_images(self, checked: ImageCheck | None) -> None:
        """One row for each prompt whose images were judged."""
        if not checked:
            return
        with open(self.path / "images.csv", "w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow([entry.name for entry in fields(Judged)])
            for judged in checked.images:
                table.writerow([int(value) if isinstance(value, bool) else value for value in astuple(judged)])

    def write_skipped(self, skipped: Sequence[Skipped]) -> None:
        if skipped:
            write_text(self.path / "skipped.txt", "".join(f"{item.name}: {item.reason}\n" for item in skipped))

    def finish(self, summary: dict[str, Any]) -> Path:
        """Write summary.json, which marks the directory as whole, and move it to its place."""
        summary["files"] = sorted(
            [*(str(p.relative_to(self.path)) for p in self.path.rglob("*") if p.is_file()), "summary.json"]
        )
        write_json(self.path / "summary.json", summary)
        if self.final.exists():  # an earlier delivery with other prompts: set aside, then dropped
            old = self.final.with_name(f".{self.final.name}.old")
            shutil.rmtree(old, ignore_errors=True)
            self.final.rename(old)
            self.path.rename(self.final)
            shutil.rmtree(old)
        else:
            self.path.rename(self.final)
        return self.final


def _write_formats(module: LoraModule, config: Config, directory: Path, name: str, metadata: dict[str, str]) -> None:
    """In diffusers' format, and unless it is a DoRA, which only that one has, in kohya's."""
    adapter = take_out(module.unet, config.lora, module.text_layers)
    write_diffusers(adapter, directory / DIFFUSERS_FILE)
    if not adapter.is_dora:
        write_kohya(adapter, directory / f"{name}.safetensors", metadata)


def write_artifacts(job: Job, base_scores: list[float], command: list[str], started_at: int, timer: Timer) -> Path:
    """Draw, score and write everything for the step that the module stands at; says the result and returns its path."""
    artifacts = Artifacts(job.folder, job.max_steps)
    final_scores = job.held_out.scored.get(job.max_steps) or (
        job.held_out.score(job.module) if job.held_out.examples else []
    )
    title = f"{job.name} · {job.max_steps} steps"
    with timer.phase("sample"):
        if job.config.callbacks.samples.prompts:
            singles = artifacts.path / "samples"
            job.sampler.write_sheet(
                artifacts.path / "samples.png", job.module, title, singles,
                model=base_label(job.config.model), run=f"{job.name}/{job.max_steps}",
            )  # fmt: skip
    rows = artifacts.write_metrics(fmean(base_scores) if base_scores else None, title)
    compared = artifacts.write_validation(job.held_out.examples, base_scores, final_scores)
    metadata = kohya_metadata(job.config, job.prepared)
    artifacts.write_adapter(job.module, job.config, job.config.name, metadata)
    ranks: list[dict[str, Any]] = []
    if job.module.nested:
        with timer.phase("nested"):
            ranks = artifacts.write_ranks(job, job.module.nested, base_scores, final_scores, metadata)
    artifacts.write_skipped(job.prepared.skipped)
    write_config(job.config, artifacts.path / "config.yaml")
    with timer.phase("evaluate"):
        checked = check_images(job)
    artifacts.write_images(checked)
    summary = summarise(job, command, started_at, rows, compared, timer, checked)
    path = artifacts.finish(summary | ({"nested": ranks} if ranks else {}))
    for told in ranks if compared else []:
        loss = told["validation_loss"]
        echo(f"rank {told['rank']}: held-out loss {loss['final']:.5f} ({loss['relative']:+.1%}), {told['directory']}")
    print_result(path, compared, job.prepared)
    return path


def print_result(path: Path, compared: PairedResult | None, prepared: Prepared) -> None:
    if prepared.skipped:
        echo(f"skipped {len(prepared.skipped)} items, named in {path / 'skipped.txt'}")
    if compared:
        low, high = compared.interval_95 or (None, None)
        interval = f"95 % interval {low:+.5f} to {high:+.5f}" if low is not None else "too few to show anything"
        echo(
            f"held-out loss: base {compared.base:.5f}, fine-tuned {compared.final:.5f} "
            f"({compared.relative:+.1%}; difference {compared.difference:+.5f}, "
            f"{interval}, {compared.items} items of {compared.concepts} concepts)"
        )
    if (path / "samples.png").exists():
        echo(f"before and after: {path / 'samples.png'}")
    echo(str(path))


def kohya_metadata(config: Config, prepared: Prepared) -> dict[str, str]:
    """Training facts under the names that kohya's scripts write (`ss_…`) and Stability's ModelSpec."""
    trainer = config.trainer
    return {
        "ss_output_name": config.name,
        "ss_sd_model_name": base_label(config.model),  # never a path of this machine
        "ss_learning_rate": repr(trainer.learning_rate),
        "ss_lr_scheduler": str(trainer.schedule),
        "ss_optimizer": "torch.optim.adamw.AdamW" if trainer.optimizer == "adamw" else str(trainer.optimizer),
        "ss_max_train_steps": str(trainer.max_steps),
        "ss_steps": str(trainer.max_steps),
        "ss_batch_size_per_device": str(trainer.batch_size),
        "ss_num_train_images": str(len(prepared.training)),
        "ss_resolution": f"({config.data.resolution}, {config.data.resolution})",
        "ss_seed": str(config.seed),
        "ss_max_grad_norm": str(trainer.max_grad_norm),
        "ss_min_snr_gamma": str(trainer.snr_gamma),
        "ss_caption_dropout_rate": str(trainer.caption_dropout),
        "modelspec.resolution": f"{config.data.resolution}x{config.data.resolution}",
    } | ({COMMENT: few.family} if (few := OBJECTIVES.get(str(trainer.objective))) else {})

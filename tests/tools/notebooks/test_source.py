"""What lies in notebooks/ is what its sources give, and shows nothing that it should not."""

from __future__ import annotations

import re
import shlex
from dataclasses import fields
from typing import Any

import nbformat
import pytest

from emote.cli.train import compose_config
from emote.demo.serve import DemoOptions
from emote.hub.push_later import Push
from emote.inference.options import Options as GenerateOptions
from emote.packs.options import PackOptions
from emote.tools.notebooks.make import SHOWN_EMPTY, Options, keep_outputs, make
from emote.tools.notebooks.source import FOLDER, PARAMETERS, names, read_source, with_parameters
from emote.util.errors import ConfigError

LARGEST_BYTES = 2_000_000  # that GitHub still shows
SHOWN = [name for name in names() if name not in SHOWN_EMPTY]


def committed(name: str) -> Any:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook: Any) -> list[Any]:
    return [output for cell in code_cells(notebook) for output in cell.outputs]


def test_there_are_three() -> None:
    assert names() == ["inference", "inside_stable_diffusion", "train_colab"]


@pytest.mark.parametrize("name", names())
def test_a_notebook_is_what_its_source_gives(name: str) -> None:
    there, made = committed(name), read_source(name)
    nbformat.validate(there)
    echo = f"emote notebooks only={name} writes it"
    assert there.metadata == made.metadata, echo
    assert [(c.id, c.cell_type, c.source, c.metadata) for c in there.cells] == [
        (c.id, c.cell_type, c.source, c.metadata) for c in made.cells
    ], echo


@pytest.mark.parametrize("name", names())
def test_a_notebook_has_one_cell_of_parameters_and_a_title(name: str) -> None:
    cells = read_source(name).cells
    assert sum(PARAMETERS in cell.metadata.get("tags", []) for cell in cells) == 1
    assert cells[0].cell_type == "markdown" and cells[0].source.startswith("# ")


@pytest.mark.parametrize("name", SHOWN)
def test_every_cell_was_run_as_it_stands_and_in_order(name: str) -> None:
    counts = [cell.execution_count for cell in code_cells(committed(name))]
    echo = f"emote notebooks only={name} execute=true runs it"
    assert counts == list(range(1, len(counts) + 1)), echo


@pytest.mark.parametrize("name", SHOWN)
def test_what_a_notebook_shows_is_small_and_free_of_complaints(name: str) -> None:
    assert (FOLDER / f"{name}.ipynb").stat().st_size < LARGEST_BYTES
    found = outputs(committed(name))
    assert sum(any(kind.startswith("image/") for kind in output.get("data", {})) for output in found) >= 5
    assert [output for output in found if output.output_type == "error" or output.get("name") == "stderr"] == []


@pytest.mark.parametrize("name", names())
def test_a_notebook_names_no_folder_of_whoever_ran_it(name: str) -> None:
    text = [cell.source for cell in committed(name).cells]
    text += [
        output.get("text", "") + str(output.get("data", {}).get("text/plain", ""))
        for output in outputs(committed(name))
    ]
    assert re.findall(r"(?<![\w.])/(?:home|root|tmp|Users|mnt|private)/\S*", "\n".join(text)) == []


def test_the_notebook_that_colab_fills_in_is_empty() -> None:
    assert outputs(committed("train_colab")) == []
    assert committed("train_colab").metadata["accelerator"] == "GPU"


def test_the_recipe_of_the_colab_notebook_composes() -> None:
    source = next(c.source for c in read_source("train_colab").cells if PARAMETERS in c.metadata.get("tags", []))
    recipe = re.search(r'^RECIPE = "(.*?)"', source, re.MULTILINE)
    assert recipe is not None
    config = compose_config(shlex.split(recipe.group(1)))
    assert (config.name, config.trainer.precision.name) == ("stable_emote", "fp16")


def test_the_words_of_the_colab_notebook_are_words_of_its_scripts() -> None:
    text = "\n".join(cell.source for cell in read_source("train_colab").cells)
    (where,) = re.findall(r"^WHERE = f'(.*)'$", text, re.MULTILINE)
    for command, options in (
        ("push", Push),
        ("generate", GenerateOptions),
        ("pack", PackOptions),
        ("demo", DemoOptions),
    ):
        (words,) = re.findall(rf"^ *!emote {command} (.*)$", text, re.MULTILINE)
        names = [
            word.partition("=")[0] for word in words.replace("{WHERE}", where).replace("{WORDS}", "prompts=").split()
        ]
        assert set(names) <= {field.name for field in fields(options)}, command
    assert "share={str(SHARE).lower()}" in text and "\nSHARE = False" in text and "\nDEMO = False" in text
    (train,) = re.findall(r"^COMMAND = f'(.*)'$", text, re.MULTILINE)
    compose_config(shlex.split(train.format(RECIPE="experiment=smoke", DATA="", OUTPUT="drive")))
    assert len(re.findall(r"^!emote train {COMMAND}$", text, re.MULTILINE)) == 2  # resuming is the same command


def test_the_notebook_can_be_opened_in_colab_from_the_repository_that_it_clones() -> None:
    cells = read_source("train_colab").cells
    (repository,) = re.findall(r'^REPOSITORY = "https://github\.com/(.*?)"', "\n".join(c.source for c in cells), re.M)
    assert (
        f"https://colab.research.google.com/github/{repository}/blob/main/notebooks/train_colab.ipynb"
        in cells[0].source
    )


def test_the_drive_is_mounted_before_anything_of_it_is_used() -> None:
    code = "\n".join(cell.source for cell in code_cells(read_source("train_colab")))
    after = code.split("ON_COLAB = True", 1)[1]
    assert after.index("drive.mount(DRIVE)") < after.index("OUTPUT")


def test_cells_have_ids_that_stay() -> None:
    first, second = read_source("train_colab"), read_source("train_colab")
    assert [cell.id for cell in first.cells] == [cell.id for cell in second.cells]
    assert len({cell.id for cell in first.cells}) == len(first.cells)


def test_parameters_are_replaced_and_the_original_is_not() -> None:
    notebook = read_source("inside_stable_diffusion")
    changed = with_parameters(notebook, {"EMOJI": "ghost", "STEPS": 2})
    values: dict[str, Any] = {}
    exec(next(c.source for c in changed.cells if PARAMETERS in c.metadata.get("tags", [])), values)
    assert (values["EMOJI"], values["STEPS"], values["MODEL"]) == ("ghost", 2, "mini")
    assert notebook == read_source("inside_stable_diffusion")


def test_a_parameter_that_is_none_is_named() -> None:
    with pytest.raises(ConfigError, match="EMOJY is no parameter of the notebook; did you mean EMOJI"):
        with_parameters(read_source("inside_stable_diffusion"), {"EMOJY": "ghost"})


def test_outputs_of_unchanged_cells_are_kept(tmp_path: Any) -> None:
    old, new = (nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in "ab"]) for _ in range(2))
    for notebook, ids in ((old, ("same", "gone")), (new, ("same", "fresh"))):
        for cell, identity in zip(notebook.cells, ids, strict=True):
            cell.id = identity
    for count, cell in enumerate(old.cells, 1):
        cell.outputs, cell.execution_count = [nbformat.v4.new_output("stream", text=cell.id)], count
    nbformat.write(old, tmp_path / "old.ipynb")
    keep_outputs(new, tmp_path / "old.ipynb")
    assert [output.text for output in outputs(new)] == ["same"]
    assert [cell.execution_count for cell in new.cells] == [1, None]


def test_a_notebook_that_is_not_there_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="only=infrence is no notebook; did you mean inference"):
        make(Options(only=["infrence"]))

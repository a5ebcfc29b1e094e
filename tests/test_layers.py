"""The order in which the parts of emote/ rest on each other, and that the project names nothing outside itself."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = (
    ("emote",),  # its __init__
    ("util",),
    ("config",),
    ("data",),
    ("models",),
    ("diffusion",),
    ("lora",),
    ("runs",),
    ("evaluation",),
    ("imaging",),
    ("inference",),
    ("packs",),
    ("hub",),
    ("training",),
    ("sweeps",),
    ("cli",),
    ("experiments",),
    ("demo",),
    ("tools",),
    ("commands",),
    ("__main__",),
)
RANK = {part: rank for rank, layer in enumerate(LAYERS) for part in layer}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def modules() -> dict[str, Path]:
    return {module_name(path): path for path in sorted((ROOT / "emote").rglob("*.py"))}


def part(module: str) -> str:
    return module.split(".")[1] if "." in module else module


def imports(module: str) -> Iterator[str]:
    """The modules of emote that a module imports, wherever in its text."""
    for node in ast.walk(ast.parse(modules()[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "emote")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import in line {node.lineno}"
            if str(node.module).split(".")[0] == "emote":
                inner = [f"{node.module}.{alias.name}" for alias in node.names]
                yield from (name if name in modules() else str(node.module) for name in inner)


def test_every_part_of_the_package_has_its_place_in_the_order() -> None:
    assert {part(module) for module in modules()} <= set(RANK)


@pytest.mark.parametrize("module", modules())
def test_a_module_imports_only_its_own_part_and_earlier_ones(module: str) -> None:
    later = [name for name in imports(module) if part(name) != part(module) and RANK[part(name)] >= RANK[part(module)]]
    assert later == []


def test_no_imports_go_in_circles() -> None:
    graph = {module: set(imports(module)) - {module} for module in modules()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_every_import_names_a_module_that_exists() -> None:
    assert {name for module in modules() for name in imports(module)} <= set(modules())


def test_mistakes_are_found_without_waiting_for_torch() -> None:
    code = (
        "import sys, emote.config, emote.cli.train\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'peft', 'pytorch_lightning', 'matplotlib', 'wandb'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


def project_files() -> list[Path]:
    folders = [path for name in ("emote", "conf", "scripts", "tests") for path in sorted((ROOT / name).rglob("*"))]
    kinds = {".py", ".yaml", ".yml", ".md", ".txt", ".toml", ".json", ".csv", ".sh"}
    top = [*ROOT.glob("*.md"), *ROOT.glob("*.py"), *ROOT.glob("*.toml"), *ROOT.glob("*.txt"), ROOT / "Makefile"]
    return [path for path in (*folders, *top) if path.is_file() and (path.suffix in kinds or path.name == "Makefile")]


def test_nothing_names_files_outside_the_project() -> None:
    outside = re.compile(r"\.\./share[d]\b|(?<![\w.)}\]])/wor[k]/")
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in project_files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if outside.search(line)
    ]
    assert found == []


def loaded(module: str) -> set[str]:
    """All modules that one import brings in."""
    code = f"import {module}, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_a_finished_run_is_told_without_what_trains() -> None:
    ours = {name for name in loaded("emote.training.run") if name.split(".")[0] == "emote"}
    assert len(ours) <= 60
    assert not {"emote.training.fit", "emote.hub", "emote.inference", "emote.imaging", "emote.evaluation"} & ours


def test_runs_are_listed_without_torch() -> None:
    files = sorted((ROOT / "emote" / "runs").glob("*.py"))
    code = "; ".join(f"import emote.runs.{file.stem}" for file in files if file.stem != "__init__")
    done = subprocess.run([sys.executable, "-c", f"{code}; import sys; print('torch' in sys.modules)"],
                          capture_output=True, text=True, cwd=ROOT)  # fmt: skip
    assert done.stdout.strip() == "False", done.stderr


def test_no_package_is_a_crowd() -> None:
    folders = {path.parent for path in modules().values()}
    crowds = {folder.name: count for folder in folders if (count := len(list(folder.glob("*.py")))) > 16}
    assert crowds == {}

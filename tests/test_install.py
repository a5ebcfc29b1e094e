"""scripts/install.py tells uv what pip is set to, and leaves to pip what uv has no word for."""

from __future__ import annotations

import importlib.util
import os
from types import ModuleType
from typing import Any

import pytest

from tests.conftest import ROOT


@pytest.fixture
def install() -> ModuleType:
    spec = importlib.util.spec_from_file_location("install", ROOT / "scripts" / "install.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_pip_config_list_prints_becomes_uvs_arguments(install: ModuleType) -> None:
    listed = r"""
:env:.cert='/etc/ssl/company.crt'
:env:.default-timeout='180'
:env:.disable-pip-version-check='1'
:env:.args='--index-url https://not.pips'
global.constraint='/etc/pip/constraints.txt'
global.extra-index-url='file:///mirror/simple https://user:word@company/simple'
global.find-links='\n/wheels\nhttps://wheels'
global.index-url='https://company/pypi'
install.no-index='false'
list.format='columns'
""".strip()
    arguments, variables = install.translate(install.read_pip_settings(listed))
    assert arguments == [
        "--constraint", "/etc/pip/constraints.txt",
        "--extra-index-url", "file:///mirror/simple", "--extra-index-url", "https://user:word@company/simple",
        "--find-links", "/wheels", "--find-links", "https://wheels",
        "--default-index", "https://company/pypi",
        "--index-strategy", "unsafe-best-match",
    ]  # fmt: skip
    assert variables == {"SSL_CERT_FILE": "/etc/ssl/company.crt", "UV_HTTP_TIMEOUT": "180"}


def test_the_environment_wins_over_the_section_of_install_and_that_over_the_global_one(install: ModuleType) -> None:
    listed = ":env:.find-links='/c'\n:env:.index-url=''\nglobal.find-links='/a'\nglobal.index-url='https://a'\n"
    settings = install.read_pip_settings(listed + "install.find-links='/b'\ninstall.index-url='https://b'")
    assert settings == {"find-links": ["/c"], "index-url": ["https://b"]}  # pip ignores what is empty


def test_typed_options_win_and_typed_lists_are_added(install: ModuleType) -> None:
    typed = install.read_pip_arguments(
        ["-f", "/typed", "--extra-index-url=https://typed", "-i", "https://mine", "--timeout", "9", "-q", "--pre"]
    )
    settings = install.merge({"find-links": ["/configured"], "index-url": ["https://configured"]}, typed)
    assert install.translate(settings) == (
        [
            "--extra-index-url", "https://typed", "--find-links", "/configured", "--find-links", "/typed",
            "--default-index", "https://mine", "--prerelease", "allow", "--index-strategy", "unsafe-best-match",
        ],
        {"UV_HTTP_TIMEOUT": "9"},
    )  # fmt: skip


@pytest.mark.parametrize("words", [["--only-binary", ":all:"], ["torch"], ["--index-url"], ["--no-build-isolation"]])
def test_an_option_that_uv_cannot_be_told_is_left_to_pip(install: ModuleType, words: list[str]) -> None:
    with pytest.raises(install.OnlyPip, match=words[0]):
        install.read_pip_arguments(words)


def test_a_configured_choice_of_packages_that_uv_cannot_be_told_is_left_to_pip(install: ModuleType) -> None:
    with pytest.raises(install.OnlyPip, match="only-binary"):
        install.translate(install.read_pip_settings("global.only-binary=':all:'"))


@pytest.mark.parametrize("key", ["index-url", "extra-index-url", "find-links", "constraint"])
def test_torch_is_chosen_by_the_machine_only_where_nobody_says_where_packages_come_from(
    install: ModuleType, key: str
) -> None:
    auto = ["--torch-backend", "auto"]
    assert install.torch_backend({"cert": ["/x"], "timeout": ["9"]}, {"UV_CACHE_DIR": "/x"}, "Linux") == auto
    assert install.torch_backend({}, {}, "Darwin") == []
    assert install.torch_backend({key: ["x"]}, {}, "Linux") == []
    for variable in ("UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_TORCH_BACKEND"):
        assert install.torch_backend({}, {variable: "x"}, "Linux") == []


@pytest.mark.parametrize(("typed", "failing"), [("", "uv"), ("--only-binary :all:", "none"), ("", "all")])
def test_pip_installs_where_uv_cannot(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: Any, typed: str, failing: str
) -> None:
    commands: list[list[str]] = []

    def run(*command: str, environment: Any = None) -> bool:
        commands.append(list(command))
        is_uv = os.path.basename(command[0]).startswith("uv")
        return not (failing == "all" or (failing == "uv" and is_uv))

    monkeypatch.setattr(install, "run", run)
    monkeypatch.setenv("PIP_ARGS", typed)
    monkeypatch.setattr(install.sys, "argv", ["install.py", "--editable", "."])
    assert install.main() == (1 if failing == "all" else 0)
    assert commands[-1][1:4] == ["-m", "pip", "install"]
    assert commands[-1][-2 - len(typed.split()) :] == [*typed.split(), "--editable", "."]
    assert "pip installs, which takes minutes" in capsys.readouterr().err

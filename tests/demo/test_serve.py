from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from emote.config import Accelerator
from emote.demo.serve import Demo, DemoOptions, running, warnings
from emote.util.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]


def test_help_needs_neither_torch_nor_gradio() -> None:
    code = (
        "import sys\nfrom emote.__main__ import main\n"
        "assert main(['demo', '--help']) == 0 and not {'torch', 'gradio'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "  run " in done.stdout and "  port " in done.stdout


def test_it_is_served_to_this_machine_alone_and_remembers_nothing(demo: Demo) -> None:
    assert demo.url.startswith("http://127.0.0.1:")
    config = httpx.get(f"{demo.url}config").json()
    assert (config["analytics_enabled"], config["run_history"], config["footer_links"]) == (False, False, [])


def test_the_page_reads_no_other_files(demo: Demo, runs_dir: Path) -> None:
    for file in (runs_dir / "other-0123456789ab/steps/000020/config.yaml", ROOT / "README.md", Path("/etc/passwd")):
        assert httpx.get(f"{demo.url}gradio_api/file={file}").status_code == 403


def test_a_port_that_was_asked_for_and_is_taken_is_a_mistake_that_leaves_nothing(
    runs_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        options = DemoOptions(runs_dir=str(runs_dir), device=Accelerator.cpu, port=port)
        before = dict(os.environ)
        with pytest.raises(ConfigError, match=f"port={port} is taken"), running(options):
            pass
    assert dict(os.environ) == before
    assert list(tmp_path.iterdir()) == []


def test_whoever_can_reach_the_page_is_said() -> None:
    assert warnings(DemoOptions(), None) == []
    assert warnings(DemoOptions(host="localhost"), None) == []
    (network,) = warnings(DemoOptions(host="0.0.0.0"), None)
    assert "host=0.0.0.0 lets others in" in network and "train on this machine" in network
    (public,) = warnings(DemoOptions(share=True), "https://x.gradio.live")
    assert "whoever knows https://x.gradio.live" in public and "no password" in public
    (none,) = warnings(DemoOptions(share=True), None)
    assert "gave no address" in none


@pytest.mark.slow
def test_ctrl_c_ends_it_cleanly_and_leaves_no_file(runs_dir: Path, tmp_path: Path) -> None:
    temporary, cwd = tmp_path / "temporary", tmp_path / "cwd"
    temporary.mkdir()
    cwd.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "emote", "demo", f"runs_dir={runs_dir}", "device=cpu", "open=false"],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("the demo is at http://127.0.0.1:"), process.communicate()
    assert any(temporary.glob("emote-demo-*"))
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=300)
    assert (process.returncode, out, errors) == (0, "stopped\n", "")
    assert list(cwd.rglob("*")) == []
    assert [path for path in temporary.rglob("*") if "emote" in path.name] == []

"""docs/robots.md is run, command by command: what it says is printed is printed, and the policy moves the arm."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from algorithms.images import decode_png
from orchestrator.data.datasets import TrajectoryDataset
from tests.fakes.arm_recording import TASK, write_arm_recording

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "robots.md"


def shown_commands() -> list[tuple[str, list[str]]]:
    """Each command of the page that begins with $, and the lines below it."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"^```\n(.*?)^```", PAGE.read_text(), flags=re.M | re.S):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            elif found and block.startswith("$ "):
                found[-1][1].append(line)
    return found


def test_the_page_shows_the_whole_way():
    assert [command.split()[1] for command, _ in shown_commands()] == ["data", "data", "run", "report", "export"]


@pytest.mark.slow
def test_the_page_does_what_it_says(tmp_path):
    write_arm_recording(tmp_path / "RECORDING")
    shutil.copytree(ROOT / "tune_configs", tmp_path / "tune_configs")
    likert = "from orchestrator.cli.main import main; main()"
    for command, expected in shown_commands():
        program = [sys.executable, "-c", likert, *command.split()[1:]]
        done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (command, done.stderr[-3000:])
        printed = done.stdout.splitlines()
        assert [line for line in expected if line not in printed] == [], (command, printed)
    spec = importlib.util.spec_from_file_location("exported_player", tmp_path / "policies/arm/player.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    player = module.Player()
    errors = []
    for episode in TrajectoryDataset(tmp_path / "data/arm").episodes():
        if episode.sparse_rewards.any():
            player.begin(TASK)
            acted = np.array([player.act(decode_png(frame)).tolist() for frame in episode.frames[:-1]])
            errors.append(np.abs(acted - episode.actions))
    actions = json.loads((tmp_path / "policies/arm/policy.json").read_text())["actions"]
    width = np.array(actions["high"]) - np.array(actions["low"])
    mean = np.concatenate(errors).mean(axis=0)
    assert (mean[:2] < 0.1 * width[:2]).all() and mean[2] == 0.0, mean

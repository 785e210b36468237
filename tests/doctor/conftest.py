"""What the tests of the doctor share."""

import pytest

from orchestrator.kinds import load_experiment


@pytest.fixture
def experiment(tmp_path):
    path = tmp_path / "experiment.yaml"
    path.write_text("name: test\ntask: drawer_close\nreward_model: {network: small, image_px: 56}\n")
    folders = [f"runs_folder={tmp_path / 'runs'}", f"ratings_folder={tmp_path / 'ratings'}"]
    return lambda *overrides: load_experiment(path, [*folders, *overrides])

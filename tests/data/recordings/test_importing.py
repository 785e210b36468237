"""What a source is known by, and what importers share."""

import pytest

from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.data.recordings import importing
from orchestrator.data.recordings.alfred import AlfredSettings, import_alfred
from orchestrator.data.recordings.importing import digest_of
from orchestrator.data.writer import DatasetWriter
from orchestrator.errors import SettingsError
from tests.data.recordings.test_alfred import write_demonstration


def test_a_digest_tells_names_sizes_and_contents(tmp_path, monkeypatch):
    monkeypatch.setattr(importing, "WHOLE_BYTES", 8)
    monkeypatch.setattr(importing, "END_BYTES", 2)
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "small").write_bytes(b"12345678")
    (folder / "large").write_bytes(b"123456789")
    files = [folder / "small", folder / "large"]
    seen = {digest_of(folder, files), digest_of(folder, reversed(files))}
    assert len(seen) == 1
    seen.add(digest_of(folder, [*files, folder / "none"]))
    for name, content in [
        ("small", b"1234x678"),
        ("large", b"x23456789"),
        ("large", b"1234567x9"),
        ("large", b"1234567890"),
    ]:
        (folder / name).write_bytes(content)
        seen.add(digest_of(folder, files))
    assert len(seen) == 6
    # Where the source lies is not what it is.
    before = digest_of(folder, files)
    folder = folder.rename(tmp_path / "b")
    assert digest_of(folder, [folder / "small", folder / "large"]) == before


class Killed(DatasetWriter):
    """Ends after its first episode."""

    def __init__(self, folder, info, bounds=None):
        super().__init__(folder, info, part_bytes=1, bounds=bounds)

    def write(self, trajectory):
        if self.info.num_episodes:
            raise KeyboardInterrupt
        super().write(trajectory)


def test_an_import_of_alfred_that_was_killed_knows_its_demonstrations(tmp_path, monkeypatch):
    for name in ("one", "two"):
        write_demonstration(tmp_path / name / "trial")
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(importing, "DatasetWriter", Killed)
        import_alfred(tmp_path / "one", tmp_path / "set", AlfredSettings())
    (tmp_path / "two/trial/traj_data.json").write_bytes(
        (tmp_path / "one/trial/traj_data.json").read_bytes().replace(b"mug", b"cup")
    )
    with pytest.raises(SettingsError, match="from another source, 'one', or from 'two'"):
        import_alfred(tmp_path / "two", tmp_path / "set", AlfredSettings())
    import_alfred(tmp_path / "one", tmp_path / "set", AlfredSettings())
    assert len({one.episode_id for one in TrajectoryDataset(tmp_path / "set").episodes()}) == 4

"""Remote folders for tests: a real S3 protocol spoken by moto in a process of its own, and a file system in memory.

A file system in memory has files that are seen while they are written, as HDFS has, so it takes the other path.
"""

import socket
import subprocess
import sys
import time

import pytest
from pyarrow.fs import _MockFileSystem

from orchestrator.storage import locations as storage
from orchestrator.storage.locations import RemotePath

BUCKET = "likert-tests"


@pytest.fixture(scope="session")
def s3_server():
    """Address of an S3 server with an empty bucket."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # A process of its own: pyarrow may hold the interpreter's lock while it waits for an answer.
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            time.sleep(0.05)
    yield f"http://127.0.0.1:{port}"
    server.kill()
    server.wait()


@pytest.fixture
def s3_folder(s3_server, monkeypatch, tmp_path):
    """An empty folder at an S3 server."""
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_ENDPOINT_URL", s3_server),
    ):
        monkeypatch.setenv(name, value)
    storage.open_file_system.cache_clear()
    filesystem, _ = storage.open_file_system(f"s3://{BUCKET}?allow_bucket_creation=true")
    filesystem.create_dir(BUCKET)
    storage.open_file_system.cache_clear()
    yield RemotePath.parse(f"s3://{BUCKET}/{tmp_path.name}")
    storage.open_file_system.cache_clear()


@pytest.fixture
def memory_folder(monkeypatch):
    """An empty folder on a file system without atomic uploads."""
    filesystem = _MockFileSystem()
    monkeypatch.setattr(storage, "open_file_system", lambda root: (filesystem, ""))
    return RemotePath.parse("hdfs://host/tests")


@pytest.fixture(params=["s3", "memory"])
def remote_folder(request):
    """Both, one after the other."""
    return request.getfixturevalue(f"{request.param}_folder")

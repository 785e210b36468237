"""Fixtures that several files share."""

from tests.remote_folders import memory_folder, remote_folder, s3_folder, s3_server

__all__ = ["memory_folder", "remote_folder", "s3_folder", "s3_server"]

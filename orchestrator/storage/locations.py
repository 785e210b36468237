"""Where runs and ratings are kept: a folder of this machine, or one on any file system that pyarrow reaches.

`Location` is a `Path`, or a `RemotePath` that has the part of `Path`'s interface which this package uses. Either way a
file is written whole or not at all: local files by `writing.write_atomic`, remote ones by `RemotePath.write_bytes`.
"""

import fnmatch
import functools
import hashlib
import os
import re
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

from pydantic import BeforeValidator, InstanceOf, PlainSerializer
from tenacity import retry, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from orchestrator.errors import LikertError, SettingsError

SCHEMES = ("s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs")
"""What pyarrow reaches by an address; `file://` is a folder of this machine."""
ATTEMPTS = 4
CHUNK_BYTES = 8 * 2**20
"""Large files are copied in pieces of this size."""

_OBJECT_STORES = ("s3", "gcs", "abfs")
"""Here an object appears when its upload ends; elsewhere a file is written aside and renamed."""
_ASIDE = ".tmp"


class StorageFailing(LikertError, RuntimeError):
    """Remote storage did not answer. The run can be resumed."""

    exit_code = 4


def _transient(error: BaseException) -> bool:
    return isinstance(error, OSError) and not isinstance(error, FileNotFoundError | PermissionError)


def _again(method: Callable[..., Any]) -> Callable[..., Any]:
    """Try a method of `RemotePath` again where that may help; then raise StorageFailing, or FileNotFoundError."""
    tries = retry(
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_exponential_jitter(multiplier=0.5, max=8.0),
        retry=retry_if_exception(_transient),
        reraise=True,
    )(method)

    @functools.wraps(method)
    def told(self: "RemotePath", *args: Any, **kwargs: Any) -> Any:
        try:
            return tries(self, *args, **kwargs)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StorageFailing(
                f"{self} cannot be reached ({error}). Check the address, the network and the rights to that storage, "
                "then give the same command again: a run goes on from its last checkpoint"
            ) from error

    return told


@dataclass(frozen=True)
class RemotePath:
    """A file or folder by its address, such as `s3://bucket/runs`.

    Credentials come from where the storage's own tools look for them (environment, instance role). What fails is tried
    again; then every method raises StorageFailing.
    """

    uri: str

    @classmethod
    def parse(cls, text: str) -> "RemotePath":
        """Raises ValueError, with the rule and the remedy, for an address that is not understood or holds a secret."""
        parts = urlsplit(text)
        if parts.scheme not in SCHEMES:
            raise ValueError(f"{parts.scheme}:// is not understood; there are {', '.join(SCHEMES)}, and plain folders")
        if ":" in parts.netloc.rpartition("@")[0]:
            raise ValueError("the address must not hold a password; put credentials into the environment")
        if not parts.netloc:
            raise ValueError(f"the address names no bucket or host; write {parts.scheme}://bucket/folder")
        path = re.sub("/+", "/", parts.path).rstrip("/")
        return cls(parts._replace(path=path).geturl())

    def __str__(self) -> str:
        return self.uri

    def __truediv__(self, name: str) -> "RemotePath":
        parts = urlsplit(self.uri)
        return RemotePath(parts._replace(path=f"{parts.path}/{name}").geturl())

    @property
    def name(self) -> str:
        """Last part of the address; the bucket's name for a whole bucket."""
        return PurePosixPath(self._path).name

    @property
    def suffix(self) -> str:
        """Ending of the name, with its dot."""
        return PurePosixPath(self._path).suffix

    @property
    def parent(self) -> "RemotePath":
        """The folder that holds this."""
        parts = urlsplit(self.uri)
        return RemotePath(parts._replace(path=parts.path.rpartition("/")[0]).geturl())

    def resolve(self) -> "RemotePath":
        """This: an address is always whole."""
        return self

    def exists(self) -> bool:
        """Whether there is such a file or folder."""
        return self._info().type.name != "NotFound"

    def is_dir(self) -> bool:
        """Whether there is such a folder."""
        return self._info().type.name == "Directory"

    def file_size(self) -> int:
        """Bytes of the file. Raises FileNotFoundError."""
        info = self._info()
        if info.type.name != "File":
            raise FileNotFoundError(self.uri)
        return int(info.size)

    def modified_at(self) -> float:
        """When the file was written, in Unix seconds by the storage's clock. Raises FileNotFoundError."""
        info = self._info()
        if info.mtime is None:
            raise FileNotFoundError(self.uri)
        return float(info.mtime.timestamp())

    @_again
    def read_bytes(self) -> bytes:
        """The whole file. Raises FileNotFoundError."""
        filesystem, path = self._open()
        with filesystem.open_input_stream(path) as file:
            return bytes(file.read())

    def read_text(self, encoding: str = "utf-8") -> str:
        """The whole file as text. Raises FileNotFoundError."""
        return self.read_bytes().decode(encoding)

    @_again
    def write_bytes(self, content: bytes) -> None:
        """Write the file; whoever reads sees the old one or the new one."""
        self._write(lambda file: file.write(content))

    @_again
    def upload(self, source: Path) -> None:
        """Write the file from one of this machine, of any size."""

        def copy(file: Any) -> None:
            with source.open("rb") as local:
                while chunk := local.read(CHUNK_BYTES):
                    file.write(chunk)

        self._write(copy)

    @_again
    def download(self, target: Path) -> None:
        """Copy the file to this machine, whose folder must exist. Raises FileNotFoundError."""
        filesystem, path = self._open()
        with filesystem.open_input_stream(path) as file, target.open("wb") as local:
            while chunk := file.read(CHUNK_BYTES):
                local.write(chunk)

    @_again
    def unlink(self, missing_ok: bool = False) -> None:
        """Delete the file."""
        filesystem, path = self._open()
        try:
            filesystem.delete_file(path)
        except FileNotFoundError:
            if not missing_ok:
                raise

    @_again
    def remove_tree(self) -> None:
        """Delete the folder and all in it; nothing if there is none."""
        filesystem, path = self._open()
        if self.is_dir():
            filesystem.delete_dir(path)

    def iterdir(self) -> Iterator["RemotePath"]:
        """What is right in the folder, by name; nothing if there is no such folder."""
        return iter([self / name for name in sorted(self._below(recursive=False))])

    def glob(self, pattern: str) -> Iterator["RemotePath"]:
        """What is right in the folder and has a name that fits."""
        return (path for path in self.iterdir() if fnmatch.fnmatchcase(path.name, pattern))

    def files(self) -> list[str]:
        """All files in and below the folder, relative to it."""
        return sorted(name for name, kind in self._below(recursive=True).items() if kind == "File")

    @_again
    def _below(self, recursive: bool) -> dict[str, str]:
        from pyarrow.fs import FileSelector

        filesystem, path = self._open()
        found = filesystem.get_file_info(FileSelector(path, allow_not_found=True, recursive=recursive))
        return {info.path[len(path) :].lstrip("/"): info.type.name for info in found}

    def _write(self, fill: Any) -> None:
        filesystem, path = self._open()
        at_once = filesystem.type_name in _OBJECT_STORES
        folder, _, name = path.rpartition("/")
        target = path if at_once else f"{folder}/.{name}.{uuid.uuid4().hex}{_ASIDE}"
        if not at_once:
            filesystem.create_dir(folder, recursive=True)
        file = filesystem.open_output_stream(target)
        # Closed by hand: `with` would close, and so publish, what an error has cut short.
        fill(file)
        file.close()
        if not at_once:
            filesystem.move(target, path)

    @_again
    def _info(self) -> Any:
        filesystem, path = self._open()
        return filesystem.get_file_info(path)

    def _open(self) -> tuple[Any, str]:
        filesystem, root = open_file_system(self._root)
        return filesystem, f"{root.rstrip('/')}{self._path}"

    @property
    def _path(self) -> str:
        return unquote(urlsplit(self.uri).path)

    @property
    def _root(self) -> str:
        return urlsplit(self.uri)._replace(path="").geturl()


@functools.cache
def open_file_system(root: str) -> tuple[Any, str]:
    """The pyarrow file system of an address without path, and the path there that the address stands for."""
    from pyarrow.fs import FileSystem

    return FileSystem.from_uri(root)


def parse_location(given: Any) -> Any:
    """A folder's name, or an address, as a `Location`. Raises ValueError for an address that is not understood."""
    if not isinstance(given, str) or "://" not in given:
        return Path(given) if isinstance(given, str) else given
    if given.startswith("file://"):
        return Path(unquote(urlsplit(given).path))
    return RemotePath.parse(given)


def location_argument(text: str) -> Path | RemotePath:
    """A folder's name or an address from the command line. Raises SettingsError."""
    try:
        return parse_location(text)
    except ValueError as error:
        raise SettingsError(f"{text}: {error}") from None


Location = Annotated[
    InstanceOf[Path] | InstanceOf[RemotePath],
    BeforeValidator(parse_location),
    PlainSerializer(str, when_used="json"),
]
"""A field of settings: a folder, or an address such as `s3://bucket/runs`."""


def working_copy(folder: Path | RemotePath) -> Path:
    """Where this machine works on `folder`: itself, or, for a remote one, a folder for temporary files."""
    if isinstance(folder, Path):
        return folder
    digest = hashlib.sha256(folder.uri.encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"likert-{os.getuid()}" / digest / folder.name


def open_input(location: Path | RemotePath) -> Any:
    """A file as `pyarrow.parquet.ParquetFile` takes it; a remote one is read whole, in one request.

    Raises FileNotFoundError; for a remote file also StorageFailing, which says nothing against the file itself.
    """
    if not isinstance(location, RemotePath):
        return location
    import pyarrow as pa

    return pa.BufferReader(location.read_bytes())


def file_size(location: Path | RemotePath) -> int:
    """Bytes of a file. Raises FileNotFoundError."""
    return location.file_size() if isinstance(location, RemotePath) else location.stat().st_size


def modified_at(location: Path | RemotePath) -> float:
    """When a file was written, in Unix seconds by the clock of the machine that keeps it. Raises FileNotFoundError."""
    return location.modified_at() if isinstance(location, RemotePath) else location.stat().st_mtime

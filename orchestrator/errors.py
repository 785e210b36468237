"""Errors that are a message for the user rather than a fault of the program; the command line prints them bare."""

from collections.abc import Iterator
from contextlib import contextmanager
from errno import EDQUOT, EIO, ENOSPC, EROFS


class LikertError(Exception):
    """Base: the message is complete in itself. `exit_code` is what the command `likert` ends with."""

    exit_code = 1


class SettingsError(LikertError, ValueError):
    """A setting, or the state of the machine, does not allow the run to start."""

    exit_code = 2


class RatingsFailing(LikertError, RuntimeError):
    """More of a session's questions failed than the settings tolerate. The run can be resumed."""

    exit_code = 3


class DiskFailing(LikertError, OSError):
    """Something could not be written: a full disk, or one that went away. The run can be resumed."""

    exit_code = 4

    @classmethod
    def writing(cls, what: object, error: OSError) -> "DiskFailing":
        """`error` came while writing `what`."""
        return cls(
            f"{what} could not be written ({error.strerror or error}). Make room or mend the disk, then give the same "
            "command again: the run goes on from its last checkpoint and asks only what is missing"
        )


@contextmanager
def disk_errors_told(what: object) -> Iterator[None]:
    """Turn errors of a disk that is full, broken or read-only into DiskFailing; `what` is being written."""
    try:
        yield
    except OSError as error:
        if isinstance(error, LikertError) or error.errno not in (ENOSPC, EDQUOT, EROFS, EIO):
            raise
        raise DiskFailing.writing(what, error) from error


class ActorsLost(LikertError, RuntimeError):
    """Actors died and cannot be replaced. The run can be resumed."""

    exit_code = 5


class WorldFailing(LikertError, RuntimeError):
    """A world gave something that nothing can be learned from, such as NaN. The run can be resumed."""

    exit_code = 7


class TrialsFailed(LikertError, RuntimeError):
    """Trials of a sweep did not come to their end. The sweep can be resumed."""

    exit_code = 6

"""Errors that are a message for the user rather than a fault of the program; the command line prints them bare."""


class LikertError(Exception):
    """Base: the message is complete in itself. `exit_code` is what the command `likert` ends with."""

    exit_code = 1


class SettingsError(LikertError, ValueError):
    """A setting, or the state of the machine, does not allow the run to start."""

    exit_code = 2


class RatingsFailing(LikertError, RuntimeError):
    """More of a session's questions failed than the settings tolerate. The run can be resumed."""

    exit_code = 3

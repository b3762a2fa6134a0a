"""What can go wrong at the border, each with a message that says what, where, what was expected and what to do.

Every error that a user can cause is a `SimgenError`. The commands print it as one line and exit with its status; a
traceback from simgen therefore always means a bug in simgen.
"""

from typing import ClassVar


class SimgenError(Exception):
    """The root of all errors that a user can cause and mend."""

    exit_status: ClassVar[int] = 2


class PartialError(SimgenError):
    """The work is done except for some of the inputs, which the message names."""

    exit_status: ClassVar[int] = 1


class ConfigError(SimgenError):
    """A configuration key holds something that it must not; the message begins with the full key."""


class PictureError(SimgenError):
    """A picture or video file, or a folder of them, cannot be read; the message begins with its path."""


class SceneError(SimgenError):
    """A scene, block set, mesh or image folder on disk is missing or malformed; the message names the file."""


class PlacementError(SimgenError):
    """A sample's blocks found no place, or did not come to rest; the message names sample, block and remedies."""


class RenderError(SimgenError):
    """A renderer cannot be had on this machine, or cannot draw what was asked."""


class DatasetError(SimgenError):
    """A dataset cannot be written or read: missing, truncated, foreign or different from what was asked."""


class FileError(DatasetError):
    """A file cannot be read or written."""


class CheckpointError(SimgenError):
    """A checkpoint is corrupt, or was not written by this package's training."""

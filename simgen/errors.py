"""The errors that a user can cause. Each message states what is wrong, where, what was expected and what to do.

All of them are a `SimgenError`. The commands print it as one line and exit with its status; a traceback from simgen
therefore always means a bug in simgen.
"""

from typing import ClassVar


class SimgenError(Exception):
    """Base class of all errors that a user can cause and correct."""

    exit_status: ClassVar[int] = 2


class PartialError(SimgenError):
    """The work is done except for some of the inputs, which the message names."""

    exit_status: ClassVar[int] = 1


class ConfigError(SimgenError):
    """A configuration key is unknown or has an invalid value; the message begins with the full key."""


class PictureError(SimgenError):
    """A picture or video file, or a folder of them, cannot be read; the message begins with its path."""


class SceneError(SimgenError):
    """A scene, block set, mesh or image folder on disk is missing or malformed; the message names the file."""


class BoardError(SimgenError):
    """A printed board's file is malformed, or a photograph does not show the board as it should."""


class PlacementError(SimgenError):
    """The blocks of a sample could not be placed without overlap, or did not come to rest; the message states sample and
    remedies."""


class RenderError(SimgenError):
    """A renderer does not work on this machine, or cannot draw the scene."""


class DatasetError(SimgenError):
    """A dataset cannot be written or read: it is missing, damaged, or another one than the configuration describes."""


class FileError(DatasetError):
    """A file cannot be read or written."""


class CheckpointError(SimgenError):
    """A checkpoint is corrupt, or was not written by this package's training."""


class DamagedCheckpointError(CheckpointError):
    """A checkpoint that is truncated, or no checkpoint at all."""

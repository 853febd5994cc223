"""Errors of the top floor, each with the exit code of the command line and what to do next.

Exit codes: 0 done; 1 a fault of the program; 2 bad input (campaign, arguments); 3 the run directory is taken or in the
wrong state; 4 stopped before the end, resumable; 5 the lab or the compute needs a person; 6 a replay differs;
7 the disk refused.
"""


class AthanorError(Exception):
    """Base: a message for people and an exit code for programs."""

    exit_code = 1


class CampaignError(AthanorError):
    """The campaign file or what it points to is wrong; the message names the line and the fix."""

    exit_code = 2


class RunStateError(AthanorError):
    """The run directory is held by another controller, exists already, or is not a run."""

    exit_code = 3


class LabTaken(RunStateError):
    """Another controller has taken the lab from this one; what was under way is safe."""


class Interrupted(AthanorError):
    """Stopped on request before the end; ``athanor resume`` goes on."""

    exit_code = 4


class LabNeedsPerson(AthanorError):
    """An instrument, or the compute, is out of service and nothing can go on without it."""

    exit_code = 5


class ReplayMismatch(AthanorError):
    """A recomputed decision differs from the recorded one."""

    exit_code = 6


class StorageError(AthanorError):
    """The journal could not be written or read: disk full, read-only, damaged."""

    exit_code = 7

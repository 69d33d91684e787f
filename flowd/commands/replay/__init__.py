"""`flowd replay`: see `command`."""

from flowd.commands.replay.command import command

__all__ = ["command"]

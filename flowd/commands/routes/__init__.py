"""`flowd routes`: see `command`."""

from flowd.commands.routes.command import command

__all__ = ["command"]

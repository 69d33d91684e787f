"""The `flowd` command line: a group of verbs, each imported only when it runs."""

import importlib
import os
import sys

import click

from flowd import __version__
from flowd.diagnostics import report
from flowd.errors import ExitCode, FlowdError

VERBS = {
    "run": "Run the agent on this node.",
    "top": "Watch flows and routes live in the terminal.",
    "observe": "Print flows, with hubble's flags and formats.",
    "status": "Show what an agent does, and what it lost.",
    "list": "List nodes or namespaces.",
    "watch": "Watch the nodes that a server knows.",
    "check": "Tell whether this machine can run the agent.",
    "routes": "Match requests against Gateway API routes, list and compare them.",
    "parity": "Compare what happens to requests before and after a move of routes.",
    "replay": "Attribute recorded access logs, without kernel or root.",
    "config": "Show the settings and where each came from.",
    "completion": "Print a shell completion script.",
    "version": "Print versions.",
}

EPILOG = """\b
Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 cannot connect,
4 this machine cannot run it, 5 timed out, 130 interrupted.
"""


class LazyGroup(click.Group):
    """A click group that imports `flowd.commands.<verb>` when the verb is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"flowd.commands.{cmd_name}")
        command: click.Command = module.command
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Run a verb; a closed pipe on stdout is a normal end, where click would report a failure."""
        try:
            result: object = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return int(ExitCode.DONE)
        return result

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="flowd")
def flowd() -> None:
    """See every connection and HTTP request on this node, and the Gateway API route behind it.

    \b
    Start here:
      flowd check                     can this machine run the agent?
      flowd run --manifests ./k8s     run it
      flowd top                       watch it
      flowd observe -f --route shop/web
    """


def main() -> None:
    """Entry point: report expected failures as one line and an exit code."""
    try:
        code = flowd.main(prog_name="flowd", standalone_mode=False)
    except FlowdError as error:
        code = report(error)
    except click.exceptions.Abort:
        code = ExitCode.INTERRUPTED
    except click.ClickException as error:
        error.show()
        code = ExitCode.USAGE if isinstance(error, click.UsageError) else ExitCode.FAILED
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    sys.exit(int(code or 0))

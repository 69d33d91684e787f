"""`flowd run`: run the agent on this node."""

import click

from flowd.commands.options import agent_options


@click.command()
@agent_options
def command(config: str | None, flags: dict[str, object]) -> None:
    """Run the agent on this node until it is told to stop.

    \b
    Examples:
      flowd run --manifests ./k8s
      flowd run --interface 'eth*' --interface '!eth9' --otlp-endpoint http://127.0.0.1:4317
      FLOWD_ALS_LISTEN=0.0.0.0:9001 flowd run --config flowd.yaml

    SIGTERM and Ctrl-C flush what is left and end with exit code 0. What this machine cannot do is
    said in one line, and the rest runs; `flowd check` tells before.
    """
    from flowd.config import load, unknown_variables
    from flowd.diagnostics import setup_logging
    from flowd.runtime import process

    settings = load(flags, config).settings
    setup_logging(settings.log_level, settings.log_format)
    process.start(unknown_variables())
    from flowd.wiring.bootstrap import prepare

    bootstrap = prepare(settings)  # a child compiles the kernel programs during the next import
    from flowd.agent import Agent

    process.run_until_signal(Agent(settings, bootstrap).run)

"""`flowd completion`: a script that teaches a shell flowd's commands and values."""

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print a shell completion script.

    \b
    Examples:
      source <(flowd completion bash)
      flowd completion zsh > ~/.zfunc/_flowd
      flowd completion fish > ~/.config/fish/completions/flowd.fish
    """
    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"no completion for {shell}", ctx)
    click.echo(found(ctx.find_root().command, {}, "flowd", "_FLOWD_COMPLETE").source())

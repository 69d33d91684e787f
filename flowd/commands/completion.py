"""`flowd completion`: print the shell completion script of bash, zsh or fish."""

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
    completion = get_completion_class(shell)
    if completion is None:
        raise click.UsageError(f"no completion for {shell}", ctx)
    click.echo(completion(ctx.find_root().command, {}, "flowd", "_FLOWD_COMPLETE").source())

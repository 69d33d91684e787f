"""`flowd config`: print settings with their origin, validate them, print their schema."""

import click

from flowd.commands.options import agent_options


@click.group()
def command() -> None:
    """Show, check and describe the agent's settings.

    \b
    Precedence: flag over environment over file over default.
    """


@command.command()
@click.option(
    "-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True
)
@agent_options
def show(output: str, config: str | None, flags: dict[str, object]) -> None:
    """Print every setting, its value, and where the value came from.

    Takes the flags of `flowd run`, so that a command line can be tried out.
    """
    import msgspec

    from flowd.config import load, setting_table

    loaded = load(flags, config)
    values = msgspec.to_builtins(loaded.settings)
    rows = [(i.name, values[i.name], loaded.origins[i.name]) for i in setting_table()]
    if output == "json":
        document = [{"setting": n, "value": v, "origin": o} for n, v, o in rows]
        click.echo(msgspec.json.format(msgspec.json.encode(document), indent=2))
        return
    texts = [("SETTING", "VALUE", "ORIGIN"), *((n, _text(v), o) for n, v, o in rows)]
    widths = [max(len(row[i]) for row in texts) for i in range(2)]
    for name, value, origin in texts:
        click.echo(f"{name:<{widths[0]}}   {value:<{widths[1]}}   {origin}")


@command.command()
@agent_options
def validate(config: str | None, flags: dict[str, object]) -> None:
    """Check the configuration; prints nothing when it is right."""
    from flowd.config import load

    load(flags, config)


@command.command()
def schema() -> None:
    """Print the JSON Schema of the configuration file."""
    import msgspec

    from flowd.settings import Settings

    click.echo(msgspec.json.format(msgspec.json.encode(msgspec.json.schema(Settings)), indent=2))


def _text(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return " ".join(map(str, value)) or '""'  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return str(value) if value != "" else '""'

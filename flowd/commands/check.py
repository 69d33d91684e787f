"""`flowd check`: check the requirements of the agent on this machine."""

import json

import click

from flowd.errors import ExitCode


@click.command("check")
@click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Output format."
)
def command(output: str) -> None:
    """Tell whether this machine can run the agent, one line a requirement.

    Compiles and loads the kernel programs as the configuration wants them, and attaches nothing.
    Exits with 4 when a required one is missing; without it the agent still serves access logs, but
    captures no connections.
    """
    from flowd.capture.kernel.filter import capture_filter
    from flowd.capture.preflight import Grade, checks
    from flowd.config import load
    from flowd.text import printable

    results = checks(capture_filter(load({}).settings))
    count = {grade: sum(result.grade is grade for result in results) for grade in Grade}
    if output == "json":
        click.echo(
            json.dumps(
                {
                    "checks": [
                        {"name": r.name, "grade": r.grade.value, "detail": r.detail}
                        for r in results
                    ],
                    **{grade.value: number for grade, number in count.items()},
                }
            )
        )
    else:
        glyphs = {Grade.OK: ("✓", "green"), Grade.WARN: ("!", "yellow"), Grade.FAIL: ("✗", "red")}
        width = max(len(result.name) for result in results)
        for result in results:
            glyph, colour = glyphs[result.grade]
            detail = printable(result.detail)
            click.echo(f"{click.style(glyph, fg=colour)} {result.name:{width}}  {detail}")
        warnings = "warning" if count[Grade.WARN] == 1 else "warnings"
        click.echo(
            f"{count[Grade.OK]} passed, {count[Grade.WARN]} {warnings}, {count[Grade.FAIL]} failed"
        )
    if count[Grade.FAIL]:
        click.get_current_context().exit(int(ExitCode.UNSUPPORTED))

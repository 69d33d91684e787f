"""Compile CEL expressions over `_flow`, as in Hubble (https://github.com/google/cel-spec).

An expression takes some microseconds for each flow, a hundred times the cost of a column test, and
is therefore evaluated last. cel-expr-python limits the loop steps of one evaluation;
`flowd.filter.cost` bounds the evaluations of a batch together.
"""

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

from flowd.filter.grammar.errors import ExpressionError, UnsupportedFilter
from flowd.filter.grammar.patterns import shortened
from flowd.wire.flow.flow_pb2 import Flow

if TYPE_CHECKING:
    from cel_expr_python import cel

Matches: TypeAlias = Callable[[Flow], bool]

_LONGEST = 4096
_PLACE = re.compile(r"ERROR: [^:]*:(\d+:\d+): (.*)")


def compile_expressions(expressions: Sequence[str]) -> Matches:
    """Compile a test: at least one expression is true; an evaluation error counts as false.

    Raises:
        ExpressionError: an expression is malformed, with line and column, or not boolean.
        UnsupportedFilter: cel-expr-python is not installed.
    """
    compiled = [_compile(expression) for expression in expressions]

    def matches(flow: Flow) -> bool:
        data = {"_flow": flow}
        return any(_true(one, data) for one in compiled)

    return matches


def _true(expression: "cel.Expression", data: dict[str, Any]) -> bool:
    try:
        return expression.eval(data=data).value() is True
    except RuntimeError:  # a limit of the evaluator
        return False


def _compile(expression: str) -> "cel.Expression":
    if len(expression) > _LONGEST:
        raise ExpressionError(f"cel_expression: more than {_LONGEST} characters")
    try:
        compiled = _environment().compile(expression)
    except (RuntimeError, UnicodeEncodeError) as error:
        place = _PLACE.search(str(error))
        reason = f"{place[1]}: {place[2]}" if place else str(error).partition("\n")[0]
        raise ExpressionError(f"cel_expression: {shortened(expression)}: {reason}") from None
    kind = compiled.return_type().name()
    if kind != "BOOL":
        raise ExpressionError(
            f"cel_expression: {shortened(expression)}: is {kind.lower()}, not boolean"
        )
    return compiled


@cache
def _environment() -> "cel.Env":
    """An environment with `_flow`, and the messages and enums of package flow by short names."""
    try:
        from cel_expr_python import cel
    except ImportError:
        raise UnsupportedFilter(
            "cel_expression: CEL needs cel-expr-python", "use the native filters of the same fields"
        ) from None
    pool = Flow.DESCRIPTOR.file.pool
    return cel.NewEnv(pool, variables={"_flow": cel.Type("flow.Flow")}, container="flow")

"""What a metric and a label of the table are."""

from dataclasses import dataclass
from typing import Literal

Cardinality = Literal["fine", "careful"]
MetricType = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Label:
    """A label, and how many values to expect of it on one node.

    Attributes:
        cardinality: `fine` is a handful of values, or one a workload, route or backend; `careful`
            can grow with what clients send or with names this node never saw before.
    """

    name: str
    cardinality: Cardinality
    help: str


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric family.

    Attributes:
        name: as it is exposed, with `_total` for counters.
        unit: base unit that the name carries, or "".
        buckets: upper bounds of a histogram in `unit`.
    """

    name: str
    type: MetricType
    help: str
    labels: tuple[str, ...] = ()
    unit: str = ""
    buckets: tuple[float, ...] = ()

    @property
    def family(self) -> str:
        """Name of the family in OpenMetrics, which has no `_total`."""
        return self.name.removesuffix("_total")

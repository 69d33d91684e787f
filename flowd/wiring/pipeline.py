"""Build the agent's stages from the settings: identify, translate, attribute, redact, join."""

from collections.abc import Callable

from flowd.accesslog.forwarded import fill_forwarded
from flowd.gateway.attribution.attribute import Attributor
from flowd.identity.table import IdentityTable
from flowd.model.records.connection import ConnectionBatch
from flowd.model.records.request import RequestBatch
from flowd.pipeline.dns_names import DnsNames
from flowd.pipeline.identify import identify
from flowd.pipeline.join.join import WAIT_NS, Join
from flowd.pipeline.nat.translate import NatTranslator
from flowd.pipeline.redact import Redactor
from flowd.settings import Settings
from flowd.wiring.bootstrap import Bootstrap
from flowd.wiring.inputs import Inputs


class Pipeline:
    """The stages between inputs and outputs, with the tables that they read.

    Attributes:
        identities: the table from address to endpoint.
        attributor: the stage that finds route and backend, with the route table.
        join: the stage that joins requests to connections.

    Raises:
        UsageError: settings of redaction that exclude each other.
    """

    def __init__(self, settings: Settings, bootstrap: Bootstrap, inputs: Inputs) -> None:
        losses, directory, kernel = bootstrap.losses, bootstrap.directory, inputs.kernel
        self._trusted_hops = settings.trusted_hops
        self.identities = IdentityTable(
            directory, node_name=settings.node_name, cluster_name=settings.cluster_name
        )
        self.attributor = Attributor(directory, dialect=settings.dialect)
        self._redactor = Redactor(
            enabled=settings.redact,
            query=settings.redact_http_query,
            allow=settings.redact_http_headers_allow,
            deny=settings.redact_http_headers_deny,
        )
        self._conntrack = inputs.conntrack
        self._translator = (
            NatTranslator(directory, losses, inputs.conntrack.read_events, settings.max_connections)
            if inputs.conntrack
            else None
        )
        self.join = Join(
            self.identities,
            losses,
            wait_ns=WAIT_NS if kernel else 0,
            drops=kernel.take_drops if kernel else None,
            sockets=kernel.take_sockets if kernel else None,
            dns=kernel.take_dns if kernel else None,
            names=DnsNames(losses, settings.dns_names) if kernel and settings.dns else None,
        )

    def identify(self, batch: ConnectionBatch) -> ConnectionBatch:
        """Fill endpoints and translations of connection rows; some rows may be held back."""
        rows = identify(batch, self.identities)
        return self._translator.translate(rows) if self._translator else rows

    @property
    def release_held(self) -> Callable[[bool], ConnectionBatch] | None:
        """Returns the connection rows that wait for their translation; None without conntrack."""
        return self._translator.release if self._translator else None

    def attribute(self, batch: RequestBatch) -> RequestBatch:
        """Fill client, route, backend and attribution of request rows, and redact them.

        Redaction comes last, because routes may match on a value that it removes.
        """
        fill_forwarded(batch, self._trusted_hops)
        self.attributor.attribute(batch)
        self._redactor.redact(batch)
        return batch

    def without_kernel(self) -> None:
        """Let requests pass at once: no connection will come for them."""
        self.join.wait_ns = 0

    def gateway_connections(self) -> tuple[int, int]:
        """Connections of gateways without and with an access-log entry."""
        return self.join.table.unlogged, self.join.table.logged

    def conntrack_entries(self) -> dict[str, int]:
        """Entries of conntrack by state: all that are tracked, and those with a translation."""
        assert self._conntrack
        assert self._translator
        return {"tracked": self._conntrack.tracked(), "translated": self._translator.table.live}

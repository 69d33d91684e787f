"""What Envoy's metadata says of where a request belongs."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class Metadata:
    """The Gateway API objects that metadata, filter chain and virtual host of an entry name.

    Instances are compared by identity: equal texts share one as long as it is in use.

    Attributes:
        kind, namespace, name: the route object; kind is "" when they tell none.
        rule_name: the rule's own `name`.
        gateway: `namespace/name` of the Gateway.
        listener: name of its listener.
        host: hostname of the virtual host, as clients asked for it.
        filter_chain: Envoy's name of the filter chain.
    """

    kind: str = ""
    namespace: str = ""
    name: str = ""
    rule_name: str = ""
    gateway: str = ""
    listener: str = ""
    host: str = ""
    filter_chain: str = ""

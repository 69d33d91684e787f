"""The causes of differences: one sentence on what happens, and what to change."""

CAUSES: dict[str, tuple[str, str]] = {
    "merge-slashes": (
        "nginx forwards `//` as it came; the gateway forwards one slash",
        "nothing, unless the backend tells the two apart",
    ),
    "dot-segments": (
        "nginx forwards `.` and `..` segments as they came; the gateway resolves them",
        "nothing, unless the backend reads them",
    ),
    "percent-decoding": (
        "the gateway decodes unreserved characters of the path; nginx forwards them as they came",
        "nothing, unless the backend compares raw paths",
    ),
    "escaped-slash": (
        "the gateway redirects `%2F` and `%5C` to the plain form; nginx forwards them",
        "ClientTrafficPolicy path.escapedSlashesAction: KeepUnchanged (Envoy Gateway)",
    ),
    "bad-escape": (
        "one side refuses a malformed escape with 400",
        "nothing: such clients are broken",
    ),
    "above-root": (
        "nginx refuses a path above the root with 400",
        "nothing: such clients are broken",
    ),
    "fragment": (
        "the gateway refuses `#` in a target with 400",
        "nothing: such clients are broken",
    ),
    "empty-host": ("a request without Host is refused", "nothing: HTTP/1.1 requires it"),
    "trailing-slash-redirect": (
        "nginx redirects the bare path to the one with a final slash",
        "an Exact match of the bare path with a RequestRedirect, before any prefix that covers it",
    ),
    "regex-case": (
        "regular expressions of ingress-nginx ignore case",
        "`(?i)` in front of the RegularExpression",
    ),
    "regex-full-match": (
        "regular expressions of ingress-nginx match the beginning of the path; Gateway API's the whole",
        "`.*` behind the RegularExpression",
    ),
    "regex-host": (
        (
            "another Ingress with a regular expression makes every path of this host one: ignoring case, "
            "open at the end"
        ),
        "a RegularExpression `(?i)<path>.*` if clients rely on it; else keep the plain match",
    ),
    "regex-order": (
        "nginx tries the longest expression first",
        "separate expressions so that only one of them matches",
    ),
    "precedence": (
        (
            "the longest expression wins in nginx; the Gateway API prefers Exact, and orders regular "
            "expressions and prefixes as the implementation does"
        ),
        "make the matches exclusive",
    ),
    "regex-unread": (
        "an expression uses PCRE syntax that is not evaluated here",
        "compare its requests by hand",
    ),
    "regex-alternation": (
        "a top-level `|` frees the second half from the beginning of the path",
        "parentheses around the alternatives, and two matches for what clients use",
    ),
    "regex-pcre-only": (
        "RE2 has no lookarounds and back-references: the rule is refused",
        "a match without them, with a further rule for what they excluded",
    ),
    "rewrite-capture": (
        "rewrite-target uses capture groups, which URLRewrite does not have",
        "type PathPrefix with ReplacePrefixMatch",
    ),
    "rewrite-equals-path": (
        "a rewrite-target equal to the path rewrites only what is below it",
        "no URLRewrite filter, or one rule for the bare path and one for what is below",
    ),
    "encoding-after-rewrite": (
        "nginx decodes and encodes a rewritten path again",
        "nothing, unless the backend compares raw paths",
    ),
    "annotation-invalid": (
        "ingress-nginx refused the value of an annotation and ignores it",
        "leave the filter out that the tool made of it",
    ),
    "ingress-ignored": (
        "ingress-nginx ignores the whole Ingress for a refused annotation",
        "leave the route out, or mend what the annotation meant",
    ),
    "location-denied": (
        "an invalid authentication annotation makes nginx answer 503",
        "the implementation's own authentication policy",
    ),
    "wildcard-depth": (
        "a wildcard host of an Ingress is one label; Gateway API's is any number",
        "a more specific listener hostname, or accept it",
    ),
    "wildcard-charset": (
        "a wildcard host of an Ingress takes letters, digits, `_` and `-` only",
        "nothing: such clients are broken",
    ),
    "wildcard-fallthrough": (
        "a known host does not fall through to the wildcard in nginx; its unknown paths answer 404",
        "a last rule on the exact host, or its own listener with allowedRoutes",
    ),
    "hostless-fallthrough": (
        (
            "rules without host only take unknown hosts in nginx; a route without hostnames also takes "
            "the unknown paths of known hosts"
        ),
        "hostnames on the route, or a listener of its own",
    ),
    "default-backend-order": (
        "only the oldest Ingress of a host sets its default backend",
        "leave the rule for `/` out",
    ),
    "catch-all": (
        "requests to unknown hosts reach the catch-all of nginx",
        "a listener without hostname for the route",
    ),
    "controller-healthz": ("nginx answers /healthz of unknown hosts itself", "a rule for /healthz"),
    "controller-status": ("nginx keeps /nginx_status for itself", "nothing"),
    "duplicate-path": (
        "the oldest Ingress keeps a path that a newer one repeats",
        "leave the newer rule out",
    ),
    "server-alias": (
        "server-alias was not translated",
        "the alias among hostnames, and a listener",
    ),
    "ssl-redirect-slash": (
        "nginx drops a final slash when it redirects to https",
        "nothing: the new redirect is the better one",
    ),
    "force-ssl-redirect": (
        "force-ssl-redirect was not translated",
        "an HTTPRoute on the http listener with RequestRedirect scheme https, 308",
    ),
    "forwarded-proto": (
        "nginx trusts X-Forwarded-Proto: https and does not redirect",
        "trusted hops in the implementation's client policy, or TLS at the gateway",
    ),
    "tls-default-cert-redirect": (
        "a TLS section redirects http to https, with the default certificate if need be",
        "an https listener with a certificate, and the redirect",
    ),
    "tls-wildcard-redirect": (
        "TLS of a wildcard host redirects the hosts below it too",
        "the redirect for this host as well",
    ),
    "default-certificate": (
        "nginx serves every host on 443 with its default certificate; the gateway has no listener",
        "an https listener, if clients use it",
    ),
    "hsts": (
        "nginx adds Strict-Transport-Security to https answers",
        "a ResponseHeaderModifier that sets it",
    ),
    "redirect-query": (
        "redirects of annotations drop the query; the gateway keeps it",
        "nothing, unless the target reads it",
    ),
    "redirect-before-tls": (
        "nginx answers this redirect on plain http; the gateway goes to https first",
        "the redirect on the http listener too",
    ),
    "redirect-code": (
        "the status or the Location of the redirect differs",
        "statusCode of RequestRedirect",
    ),
    "canary-weight-total": (
        "the shares of the canary differ: a weight total below 100 counts as 100 in nginx",
        "weights of backendRefs",
    ),
    "canary-header": ("the canary header was not translated", "a rule with a header match"),
    "canary-header-pattern": (
        "canary-by-header-pattern was not translated",
        "a rule with a header match of type RegularExpression",
    ),
    "canary-cookie": (
        "canary-by-cookie was not translated",
        "a rule with a RegularExpression match on the Cookie header",
    ),
    "canary-leak": (
        "the canary belongs to the Service: other hosts and paths with it get the canary too",
        "nothing, or the weights on those rules too",
    ),
    "canary-no-endpoints": (
        "nginx sends all requests to the main Service while the canary has no endpoints",
        "weight 0 until the canary has endpoints",
    ),
    "main-no-endpoints": (
        "nginx answers 503 for all while the main Service has no endpoints",
        "nothing",
    ),
    "missing-service": ("the Service is missing or has no endpoints", "the Service"),
    "session-affinity": (
        "nginx sets a cookie for session affinity",
        "sessionPersistence of the rule, where the implementation has it",
    ),
    "body-size": (
        "nginx refuses large bodies (1 MiB by default) with 413",
        "the implementation's request buffer limit, if the limit is wanted",
    ),
    "header-size": ("nginx refuses a header line over 8 KiB with 400", "nothing"),
    "uri-size": ("nginx refuses a request line over 8 KiB with 414", "nothing"),
    "header-underscore": (
        "nginx drops headers with `_` in their name; Envoy Gateway refuses the request with 400",
        "ClientTrafficPolicy headers.withUnderscoresAction: DropHeader or Allow",
    ),
    "header-name": ("nginx drops headers with other names than letters, digits and `-`", "nothing"),
    "forwarded-headers": (
        "nginx replaces X-Forwarded-For and keeps X-Request-ID; Envoy appends and replaces",
        "client IP detection of the implementation",
    ),
    "upstream-vhost": (
        "Host must be set by URLRewrite, not by a header filter",
        "URLRewrite hostname",
    ),
    "cors": (
        "preflights answer 204 in nginx and 200 in Envoy, and nginx adds the headers to every answer",
        "nothing, unless clients read them",
    ),
    "ip-allowlist": (
        "the answer depends on the client's address, which no log line shows for sure",
        "the implementation's authorization policy",
    ),
    "auth": (
        "authentication of the annotations was not translated",
        "the implementation's authentication policy, or an ExternalAuth filter",
    ),
    "rate-limit": ("rate limits were not translated", "the implementation's rate limit policy"),
    "timeout": ("the timeouts differ", "timeouts of the rule"),
    "retry": (
        "nginx tries another endpoint when one fails",
        "retry of the rule",
    ),
    "default-backend-annotation": (
        "the default-backend annotation answers for a Service without endpoints",
        "nothing in the Gateway API",
    ),
    "backend-protocol": (
        "one side speaks TLS to the backend, the other does not",
        "a BackendTLSPolicy for the Service",
    ),
    "custom-headers": ("headers of a ConfigMap are added to answers", "a ResponseHeaderModifier"),
    "custom-errors": (
        "the default backend answers for statuses of custom-http-errors",
        "nothing in the Gateway API",
    ),
    "firewall": ("a firewall may refuse the request", "a firewall in front of the gateway"),
    "mirror": ("requests are mirrored", "a RequestMirror filter"),
    "proxy-redirect": ("Location headers of backends are rewritten", "the backend"),
    "ssl-passthrough": ("TLS is passed through to the backend", "a TLSRoute"),
    "client-certificate": (
        "clients must show a certificate",
        "frontend validation of the Gateway's TLS",
    ),
    "annotation-unread": (
        "an annotation is not simulated",
        "compare what it does by hand",
    ),
    "snippet": ("a configuration snippet may do anything", "read the snippet"),
    "conversion-failed": (
        "there is no Gateway on the after side: the translation printed nothing",
        "mend what the tool refuses",
    ),
    "nginx-config-error": (
        "nginx refuses the configuration of these Ingresses, so an older one is in force",
        "remove the repeated location",
    ),
    "backend-failure": ("a backend failed at that moment", "nothing"),
    "routes-changed": ("the two sets of routes differ for this request", "compare the rules shown"),
    "unexplained": ("no known cause", "compare the two outcomes"),
}
"""Cause id to (what happens, what to change)."""


def explain(cause: str) -> str:
    """What happens, in a sentence; the id itself for an unknown one."""
    return CAUSES.get(cause, (cause, ""))[0]


def advice(cause: str) -> str:
    """What to change; "" for an unknown cause."""
    return CAUSES.get(cause, ("", ""))[1]

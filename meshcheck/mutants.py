"""Manifests with one thing wrong, each of which must be refused: a check that refuses none of them checks nothing.

A mutant is a text that is replaced in a shipped manifest; it must be there.
"""

ISTIO = [
    ("a strategy that Istio does not have", "sidecar-wasmplugin", "failStrategy: FAIL_RELOAD", "failStrategy: FAIL_SOFT"),
    ("a phase that Istio does not have", "sidecar-wasmplugin", "phase: AUTHN", "phase: AUTHENTICATION"),
    ("the flag, which a WasmPlugin does not have", "sidecar-wasmplugin", "  phase: AUTHN",
     "  allow_on_headers_stop_iteration: true\n  phase: AUTHN"),
    ("the flag in camel case", "gateway-wasmplugin", "  phase: AUTHN", "  allowOnHeadersStopIteration: true\n  phase: AUTHN"),
    ("no url", "sidecar-wasmplugin", "  url: \"oci://registry.example.com/mcp-iap:0.1.0\"\n", ""),
    ("a checksum without quotes", "sidecar-wasmplugin", f"sha256: \"{'0' * 64}\"", f"sha256: {'0' * 64}"),
    ("half a checksum", "gateway-wasmplugin", f"sha256: \"{'0' * 64}\"", f"sha256: \"{'0' * 32}\""),
    ("a document as text", "sidecar-wasmplugin", "  pluginConfig:\n", "  pluginConfig: text\n  x:\n"),
    ("port 0", "sidecar-wasmplugin", "{ mode: SERVER }", "{ mode: SERVER, ports: [{ number: 0 }] }"),
    ("labels as a list", "sidecar-wasmplugin", "matchLabels: { app: mcp-server }", "matchLabels: [app]"),
    ("a field twice", "sidecar-wasmplugin", "  phase: AUTHN", "  phase: AUTHN\n  phase: STATS"),
    ("an unknown version", "sidecar-wasmplugin", "extensions.istio.io/v1alpha1", "extensions.istio.io/v1"),
    ("a patch of nothing", "sidecar-envoyfilter", "applyTo: HTTP_FILTER", "applyTo: HTTP_FILTERS"),
    ("an operation that Istio does not have", "sidecar-envoyfilter", "INSERT_FIRST", "INSERT_TOP"),
    ("a context that Istio does not have", "gateway-envoyfilter", "context: GATEWAY", "context: INGRESS"),
    ("a match of two kinds", "gateway-envoyfilter", "      listener:\n", "      cluster: { name: x }\n      listener:\n"),
    ("the labels of a WasmPlugin", "sidecar-envoyfilter", "workloadSelector: { labels:", "workloadSelector: { matchLabels:"),
    ("no mutual TLS", "sidecar-envoyfilter", "mtls: { mode: STRICT }", "mtls: { mode: STRIKT }"),
    ("an action that Istio does not have", "sidecar-envoyfilter", "action: ALLOW", "action: PERMIT"),
    ("who may, as a text", "gateway-envoyfilter", "principals: [cluster.local/ns/mcp-gateway/sa/mcp-gateway]", "principals: x"),
    ("an unknown source", "gateway-envoyfilter", "source: { principals:", "source: { users:"),
    ("no host", "sidecar-envoyfilter", "  hosts: [login.example.com]\n", ""),
    ("a port without a name", "sidecar-envoyfilter", "number: 443, name: tls,", "number: 443,"),
    ("a resolution that Istio does not have", "sidecar-envoyfilter", "resolution: DNS", "resolution: LOGICAL_DNS"),
    ("a mode of TLS that Istio does not have", "sidecar-envoyfilter", "mode: SIMPLE", "mode: TLS"),
    ("names of the server in a field that is none", "sidecar-envoyfilter", "subjectAltNames:", "subjectAltName:"),
    ("a provider as a text", "sidecar-envoyfilter", "providers: [{ name: mcp-iap-audit }]", "providers: [mcp-iap-audit]"),
    ("a side that Istio does not have", "sidecar-envoyfilter", "match: { mode: SERVER }\n---", "match: { mode: INBOUND }\n---"),
    ("data that is no text", "sidecar-envoyfilter", "custom_bootstrap.json: |", "x: { y: z }\n  custom_bootstrap.json: |"),
    ("a name that is none", "sidecar-envoyfilter", "name: mcp-iap-bootstrap,", "name: Mcp_Iap,"),
]

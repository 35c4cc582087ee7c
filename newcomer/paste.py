"""Pastes what `mcp-iap render envoy --filter` prints into a bootstrap, as its comments say."""

import yaml

OFF = {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": True}


def paste(bootstrap, parts, routes_first=True):
    """Both as YAML text; the answer too."""
    envoy, parts = yaml.safe_load(bootstrap), yaml.safe_load(parts)
    resources = envoy["static_resources"]
    listener = resources["listeners"][0]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    host = manager["route_config"]["virtual_hosts"][0]
    for route in host["routes"]:
        route.setdefault("typed_per_filter_config", {})["mcp_iap"] = OFF
    routes = parts.pop("routes")
    host["routes"] = routes + host["routes"] if routes_first else host["routes"] + routes
    manager["http_filters"] = parts.pop("http_filters") + manager["http_filters"]
    manager["access_log"] += parts.pop("access_log")
    manager["stream_idle_timeout"] = "3600s"
    resources["clusters"] += parts.pop("clusters")
    envoy["stats_config"] = parts.pop("stats_config")
    listener["per_connection_buffer_limit_bytes"] = 1048576
    if parts:
        raise ValueError(f"there is no place for {', '.join(parts)}")
    return yaml.safe_dump(envoy, sort_keys=False)

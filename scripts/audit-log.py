#!/usr/bin/env python3
"""Writes lines of an access log as envoy/envoy.yaml has them, of made-up requests, COUNT of them, one every 86 ms up to
now: what `mcp-iap audit` is measured with. The same COUNT and --until give the same lines."""

import argparse
import random
import sys
from datetime import datetime, timedelta, timezone

STEP = timedelta(milliseconds=86)
TOOLS = ("get_deployment", "get_pods", "list_pods", "scale_deployment", "delete_namespace", "get_rollout")
PEOPLE = [f"user{number}" for number in range(20)] + ["alice", "dana", "sam"]
REFUSED = ("no_rule_allows", "argument_out_of_range", "denied_by_rule", "insufficient_scope", "rate_limited")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("--until", type=datetime.fromisoformat, default=datetime.now(timezone.utc))
    options = parser.parse_args()
    chance = random.Random(7)
    time = options.until - STEP * options.count
    for _ in range(options.count):
        time += STEP
        sys.stdout.write(line(chance, time))


def line(chance, time):
    who, tool, lot = chance.choice(PEOPLE), chance.choice(TOOLS), chance.random()
    status, outcome, reason, rule = 200, "allowed", "allowed", f"dev-{tool}"
    if lot < 0.1:
        outcome, reason, rule = "refused", chance.choice(REFUSED), "sre-scales"
        status = 429 if reason == "rate_limited" else 403
    elif lot < 0.12:
        status = 503
    decision = f"{chance.getrandbits(128):032x}"
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond // 1000:03d}Z"
    return (
        f'{{"time":"{stamp}","status":{status},"duration_ms":3,"bytes_received":143,"bytes_sent":212,'
        f'"source":"10.0.0.7","flags":"-","mcp_iap":[{{"schema":1,"decision":"{decision}","outcome":"{outcome}",'
        f'"reason":"{reason}","rule":"{rule}","protected_resource":"http://127.0.0.1:10000/mcp","caller":{{'
        f'"issuer":"http://127.0.0.1:9400","subject":"{who}","client_id":"agent","groups":["sre","dev"],'
        f'"scope":"mcp"}},"era":"modern","http_method":"POST","method":"tools/call","tool":"{tool}",'
        f'"arguments":{{"namespace":"web","replicas":{chance.randrange(9)}}}}}]}}\n'
    )


if __name__ == "__main__":
    main()

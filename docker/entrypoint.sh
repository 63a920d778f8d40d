#!/usr/bin/env bash
# Start one role of a CodeNAS cluster, or run any command of CodeNAS.
#
#   entrypoint.sh head | worker | endpoint [options of `codenas serve`] | healthy ROLE | <command of codenas> ...
#
# Every role listens on the container's own address only; compose.yaml publishes ports on 127.0.0.1.
# CODENAS_HEAD     host name of the head (default: head)
# RAY_AUTH_TOKEN   or RAY_AUTH_TOKEN_PATH: the cluster's token; head and worker refuse to start without it
set -euo pipefail

ray_port=6379
dashboard_port=8265
http_port=8000

own_address() { hostname -i | cut -d ' ' -f 1; }

address_of_head() { getent hosts "${CODENAS_HEAD:-head}" | cut -d ' ' -f 1; }

require_token() {
    if [[ "${RAY_AUTH_MODE:-}" != token ]]; then
        echo "RAY_AUTH_MODE is '${RAY_AUTH_MODE:-}': a cluster starts only with RAY_AUTH_MODE=token" >&2
        exit 2
    fi
    if [[ -z "${RAY_AUTH_TOKEN:-}" && ! -s "${RAY_AUTH_TOKEN_PATH:-}" ]]; then
        echo "no token: set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH to a file that holds it" >&2
        exit 2
    fi
}

start_head() {
    require_token
    local address
    address=$(own_address)
    exec ray start --head --block --disable-usage-stats --node-ip-address "$address" --port "$ray_port" \
        --dashboard-host "$address" --dashboard-port "$dashboard_port" --num-cpus 0 --num-gpus 0
}

start_worker() {
    require_token
    local address head
    address=$(own_address)
    head=$(address_of_head) || { echo "no host named '${CODENAS_HEAD:-head}': set CODENAS_HEAD" >&2; exit 2; }
    exec ray start --block --disable-usage-stats --node-ip-address "$address" --address "$head:$ray_port"
}

start_endpoint() {
    local address
    address=$(own_address)
    exec codenas serve --host "$address" --port "$http_port" "$@"
}

check() {
    case "$1" in
        head) exec ray health-check --address "$(own_address):$ray_port" ;;
        worker) exec ray health-check --address "$(address_of_head):$ray_port" ;; # the worker's own daemons need no check: --block exits with them
        endpoint) # without the proxies that Docker can set in every container
            exec python -c 'import sys, urllib.request as r; r.build_opener(r.ProxyHandler({})).open(sys.argv[1], timeout=5)' \
                "http://$(own_address):$http_port/health" ;;
        *) echo "no role '$1': head, worker or endpoint" >&2; exit 2 ;;
    esac
}

role=${1:-help}
[[ $# -eq 0 ]] || shift
case "$role" in
    head) start_head ;;
    worker) start_worker ;;
    endpoint) start_endpoint "$@" ;;
    healthy) check "${1:-}" ;;
    help) exec codenas --help ;;
    *) exec codenas "$role" "$@" ;;
esac

#!/usr/bin/env bash
# Start one role of a CodeNAS cluster, or run any command of CodeNAS.
#
#   entrypoint.sh head | worker [options of `ray start`] | endpoint [options of `codenas serve`] | healthy ROLE [PORT]
#   entrypoint.sh COMMAND_OF_CODENAS ...
#
# Every role listens on the container's own address only; compose.yaml publishes ports on 127.0.0.1.
# CODENAS_HEAD     host name of the head (default: head)
# RAY_AUTH_TOKEN   or RAY_AUTH_TOKEN_PATH: the cluster's token; head and worker refuse to start without it
set -euo pipefail

ray_port=6379
dashboard_port=8265
metrics_port=8080
http_port=8000
object_store_bytes=1000000000 # below shm_size in compose.yaml; Ray's default is a share of the host's memory

own_address() { hostname -i | cut -d ' ' -f 1; }

address_of_head() { getent hosts "${CODENAS_HEAD:-head}" | cut -d ' ' -f 1; }

require_token() {
    if [[ "${RAY_AUTH_MODE:-}" != token ]]; then
        echo "RAY_AUTH_MODE is '${RAY_AUTH_MODE:-}': a cluster starts only with RAY_AUTH_MODE=token" >&2
        exit 2
    fi
    [[ -z "${RAY_AUTH_TOKEN:-}" ]] || return 0
    local file="${RAY_AUTH_TOKEN_PATH:-}"
    if [[ -e "$file" && ! -r "$file" ]]; then
        echo "the token in $file cannot be read by user $(id -u); make the file readable for that user" >&2
        exit 2
    fi
    if [[ ! -s "$file" ]]; then
        echo "no token: set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH to a file that holds it" >&2
        exit 2
    fi
}

# Of an option that is given twice Ray takes the last.
start_ray() {
    exec ray start --block --disable-usage-stats --node-ip-address "$(own_address)" --metrics-export-port "$metrics_port" \
        --object-store-memory "$object_store_bytes" "$@"
}

start_head() {
    require_token
    start_ray --head --port "$ray_port" --dashboard-host "$(own_address)" --dashboard-port "$dashboard_port" --num-cpus 0 --num-gpus 0 "$@"
}

start_worker() {
    require_token
    local head
    head=$(address_of_head) || { echo "no host named '${CODENAS_HEAD:-head}': set CODENAS_HEAD" >&2; exit 2; }
    start_ray --address "$head:$ray_port" "$@"
}

start_endpoint() {
    local address
    address=$(own_address)
    exec codenas serve --host "$address" --port "$http_port" "$@"
}

check() {
    case "$1" in
        head) exec ray health-check --address "$(own_address):${2:-$ray_port}" ;;
        worker) exec ray health-check --address "$(address_of_head):${2:-$ray_port}" ;; # its own daemons need no check: --block exits with them
        endpoint) # without the proxies that Docker can set in every container
            exec python -c 'import sys, urllib.request as r; r.build_opener(r.ProxyHandler({})).open(sys.argv[1], timeout=5)' \
                "http://$(own_address):${2:-$http_port}/health" ;;
        *) echo "no role '$1': head, worker or endpoint" >&2; exit 2 ;;
    esac
}

role=${1:-help}
[[ $# -eq 0 ]] || shift
case "$role" in
    head) start_head "$@" ;;
    worker) start_worker "$@" ;;
    endpoint) start_endpoint "$@" ;;
    healthy) check "${1:-}" "${2:-}" ;;
    help) exec codenas --help ;;
    *) exec codenas "$role" "$@" ;;
esac

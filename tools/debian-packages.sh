#!/usr/bin/env bash
# Install the programs that tests and benchmarks drive, where this is Debian and we are root. Quick when all are there, bounded in
# time, and never a reason to fail: a test whose program is missing is skipped and says which one it needs.
set -u
wanted="curl:curl wrk:wrk h2load:nghttp2-client skopeo:skopeo docker-registry:docker-registry haproxy:haproxy faketime:faketime runc:runc mmdebstrap:mmdebstrap dockerd:docker.io strace:strace podman:podman podman:catatonit podman:containernetworking-plugins podman:iptables"

missing=""
for pair in $wanted; do
  command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair##*:}"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
  echo "not installed:$missing (tests that need them are skipped)"
  exit 0
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
install() { timeout 240 apt-get install -y --no-install-recommends "$@" >>"$log" 2>&1 </dev/null; }
timeout 120 apt-get update >>"$log" 2>&1 </dev/null
for package in $missing; do
  install "$package" || echo "could not install $package (tests that need it are skipped): $(grep -m1 '^E:' "$log" || tail -n 1 "$log")"
done
exit 0

# SPDX-License-Identifier: Apache-2.0
"""
The script by which the clusters come to trust each other's certificates.

Each KubeVirt has a certificate authority of its own. What lies in ConfigMap
kubevirt-external-ca is merged into kubevirt-ca by virt-operator, which then empties it;
one certificate that cannot be read makes it ignore all of them.

Source: KubeVirt 1.8, pkg/virt-operator/resource/apply/core.go and components/secrets.go.
"""

from typing import Final

from spanbridge.model.intent import Intent

_BUNDLE_MAX: Final = 50
"""Certificates that virt-operator keeps, newest first. Source: components/secrets.go."""

_BODY: Final = r"""
usage() {
  cat <<END
usage: exchange-ca.sh [--check] [CLUSTER [PEER...]]

Without a name: all clusters trust each other. With one: it and every other. With more:
it and those peers. Both directions, always. --check only looks.

Certificate authorities of KubeVirt live for days, on OpenShift for one: run this again
before each batch of migrations.
END
}

kube() {
  local cluster=$1
  shift
  "${KUBECTL:-kubectl}" --context "${contexts[$cluster]}" -n "${namespaces[$cluster]}" "$@"
}

fail() {
  printf 'exchange-ca: %s\n' "$*" >&2
  exit 2
}

# One certificate a line, as base64 without line breaks: equal lines are equal certificates.
certificates() {
  awk '/-----BEGIN CERTIFICATE-----/ { body = ""; on = 1; next }
    /-----END CERTIFICATE-----/ { if (on) print body; on = 0; next }
    on { gsub(/[ \t\r]/, ""); body = body $0 }'
}

export_bundle() {
  local cluster=$1
  [ -s "$work/$cluster.pem" ] && return
  kube "$cluster" get configmap kubevirt-ca -o jsonpath='{.data.ca-bundle}' >"$work/$cluster.pem" ||
    fail "cannot read kubevirt-ca of $cluster"
  certificates <"$work/$cluster.pem" >"$work/$cluster.list"
  [ -s "$work/$cluster.list" ] || fail "kubevirt-ca of $cluster holds no certificate"
  if command -v openssl >/dev/null; then
    openssl crl2pkcs7 -nocrl -certfile "$work/$cluster.pem" >/dev/null 2>"$work/error" ||
      fail "kubevirt-ca of $cluster cannot be read: $(cat "$work/error")"
  fi
}

missing() {
  local cluster=$1 peer
  shift
  kube "$cluster" get configmap kubevirt-ca -o jsonpath='{.data.ca-bundle}' |
    certificates >"$work/trusted"
  for peer; do
    grep -vxFf "$work/trusted" "$work/$peer.list" | sed "s/.*/$peer/" || true
  done | sort -u
}

import_bundles() {
  local cluster=$1 peer
  shift
  for peer; do cat "$work/$peer.pem"; echo; done >"$work/import.pem"
  kube "$cluster" create configmap kubevirt-external-ca --from-file=ca-bundle="$work/import.pem" \
    --dry-run=client -o yaml | kube "$cluster" apply -f - >/dev/null
  SECONDS=0
  while [ -n "$(missing "$cluster" "$@")" ] && [ "$SECONDS" -lt "${PATIENCE:-60}" ]; do
    sleep "${PAUSE:-2}"
  done
}

judge() {
  local cluster=$1 peer lost
  shift
  lost=$(missing "$cluster" "$@")
  for peer; do
    if grep -qxF "$peer" <<<"$lost"; then
      printf '✗ %s does not trust %s: expired, not valid yet (clocks?), or dropped again\n' \
        "$cluster" "$peer"
      verdict=1
    else
      printf '✓ %s trusts %s\n' "$cluster" "$peer"
    fi
  done
  if [ "$(wc -l <"$work/trusted")" -ge "$bundle_max" ]; then
    printf '! %s holds %s certificates, and KubeVirt keeps no more: exchange fewer at a time\n' \
      "$cluster" "$bundle_max"
  fi
}

check_only=no
case ${1:-} in
-h | --help)
  usage
  exit 0
  ;;
--check)
  check_only=yes
  shift
  ;;
esac
for name; do
  [ -n "${contexts[$name]:-}" ] || fail "$name is no cluster; known are ${!contexts[*]}"
done

declare -A peers
pair() { peers[$1]="${peers[$1]:-} $2" && peers[$2]="${peers[$2]:-} $1"; }

case $# in
0)
  for ((i = 0; i < ${#clusters[@]}; i++)); do
    for ((j = i + 1; j < ${#clusters[@]}; j++)); do pair "${clusters[i]}" "${clusters[j]}"; done
  done
  ;;
1)
  for name in "${clusters[@]}"; do [ "$name" = "$1" ] || pair "$1" "$name"; done
  ;;
*)
  for name in "${@:2}"; do [ "$name" = "$1" ] || pair "$1" "$name"; done
  ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
verdict=0
for name in "${clusters[@]}"; do
  [ -z "${peers[$name]:-}" ] || export_bundle "$name"
done
for name in "${clusters[@]}"; do
  read -r -a others <<<"${peers[$name]:-}"
  [ "${#others[@]}" -gt 0 ] || continue
  [ "$check_only" = yes ] || import_bundles "$name" "${others[@]}"
  judge "$name" "${others[@]}"
done
exit "$verdict"
"""


def exchange_script(intent: Intent) -> str:
    """Write the script; it serves any pair of clusters, and all of them."""
    tables = {
        "contexts": {each.name: each.context for each in intent.clusters},
        "namespaces": {each.name: each.namespace for each in intent.clusters},
    }
    lines = [
        "#!/usr/bin/env bash",
        f"# Exchanges the certificate authorities of KubeVirt between clusters of {intent.name}.",
        "# Written by `spanbridge plan`: change the intent, not this file.",
        "set -euo pipefail",
        f"bundle_max={_BUNDLE_MAX}",
        f"clusters=({' '.join(each.name for each in intent.clusters)})",
    ]
    for name, table in tables.items():
        lines.append(f"declare -A {name}=(")
        lines += [f"  [{key}]={value}" for key, value in table.items()]
        lines.append(")")
    return "\n".join(lines) + "\n" + _BODY

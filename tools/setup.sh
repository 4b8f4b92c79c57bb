#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `make setup`: system packages (only when root, on Debian, and something is missing), then .venv with
# everything pinned in requirements-dev.txt and this package. Does nothing, quickly, when all is there.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

say() { echo "setup: $*"; }
die() { echo "setup: $*" >&2; exit 3; }

# One line each: Debian package, and how to see that its content is there already.
has() { command -v "$1" >/dev/null; }
has_library() { compgen -G "/usr/lib/*/$1*" >/dev/null || compgen -G "/usr/lib64/$1*" >/dev/null || compgen -G "/usr/lib/$1*" >/dev/null; }
has_guest_kernel() { compgen -G "/boot/vmlinuz-*" >/dev/null; }
# Bridge VLAN filtering and 802.1Q links, tried in a namespace that ends with the command.
kernel_has_vlans() {
  local try='ip link add name br0 type bridge vlan_filtering 1 && ip link add link br0 name br0.2 type vlan id 2'
  unshare -Urn sh -c "$try" 2>/dev/null || unshare -n sh -c "$try" 2>/dev/null
}

missing_packages() {
  has ip || echo iproute2
  has nft || echo nftables
  has_library libnftables.so.1 || echo libnftables1
  has ping || echo iputils-ping
  has sysctl || echo procps
  has tcpdump || echo tcpdump
  has dnsmasq || echo dnsmasq-base
  has busybox || echo busybox-static
  has modprobe || echo kmod
  has gcc || echo gcc
  has gcc && [ -e /usr/include/stdlib.h ] || echo libc6-dev
  # Not needed, but with it the shim starts in half the time.
  [ -e "/usr/lib/$(uname -m)-linux-musl/rcrt1.o" ] || [ "$(id -u)" != 0 ] || ! has apt-get || echo musl-dev
  # Not needed either: see find_python.
  [ ! -x /usr/bin/python3 ] || /usr/bin/python3 -c 'import ensurepip' 2>/dev/null || [ "$(id -u)" != 0 ] || ! has apt-get || echo python3-venv
  has containerd || echo containerd
  [ -x /usr/lib/cni/bridge ] || [ -x /opt/cni/bin/bridge ] || echo containernetworking-plugins
  has iptables || echo iptables
  [ -x /lib/systemd/systemd ] || echo systemd # tests run one of their own; nothing is enabled
  has curl || echo curl
  has chromium || echo chromium # the browser of tests/browser, and something to write with
  compgen -G "/usr/share/fonts/truetype/*/*.ttf" >/dev/null || echo fonts-dejavu-core
  if [ "$(uname -m)" = x86_64 ]; then
    has qemu-system-x86_64 || echo qemu-system-x86
    has file || echo file # virtme-ng asks it what a kernel is
    has_guest_kernel || kernel_has_vlans || echo linux-image-amd64
  fi
}

# The first interpreter that is new enough. The distribution's comes first: it is built for speed,
# and what we do takes it a third less time than one that pyenv has built in the usual way.
find_python() {
  local name
  for name in /usr/bin/python3 python3 python3.14 python3.13 python3.12 python3.11; do
    if has "$name" && "$name" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      "$name" -c 'import sys; print(sys.executable)'
      return
    fi
  done
  return 1
}

install_packages() {
  if [ "$(id -u)" = 0 ] && has apt-get; then
    say "apt-get install $*"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@" >/dev/null ||
      die "cannot install $*: apt-get failed, see above"
  elif has apt-get; then
    die "these packages are missing; run: sudo apt-get install --no-install-recommends $*"
  else
    die "what these Debian packages hold is missing; install your distribution's: $*"
  fi
}

# NetworkManager's package starts a service that takes network cards over. The tests need the
# programs alone, so those are unpacked beside the system; without them, their tests are skipped.
unpack_networkmanager() {
  local place=.cache/networkmanager new=.cache/networkmanager.new
  local wanted=(network-manager libnm0 libndp0 libteamdctl0 libjansson4)
  { has NetworkManager || [ -x $place/usr/sbin/NetworkManager ] || ! has apt-get; } && return
  has_library libglib-2.0.so.0 || wanted+=(libglib2.0-0)
  has_library libcurl-gnutls.so.4 || wanted+=(libcurl3-gnutls)
  say "unpacking NetworkManager for the tests into $place"
  rm -rf $new
  mkdir -p $new
  if (
    cd $new
    apt-get -qq -o APT::Sandbox::User="$(id -un)" download "${wanted[@]}" || exit 1
    for each in *.deb; do dpkg-deb -x "$each" . || exit 1; done
  ) >.cache/networkmanager.log 2>&1; then
    rm -rf $new/*.deb $place
    mv $new $place
  else
    say "cannot download it, see .cache/networkmanager.log; its tests will be skipped"
  fi
}

packages=$(missing_packages | sort -u | tr '\n' ' ')
# shellcheck disable=SC2086  # a list of words
[ -z "$packages" ] || install_packages $packages
python=$(find_python) || { install_packages python3 python3-venv; python=$(find_python); } ||
  die "Python 3.11 or newer is needed, as python3 or python3.N on PATH"

mkdir -p .cache
exec 9>.cache/setup.lock
flock 9 # two `make` at a time share one environment
unpack_networkmanager
base=$(pwd; "$python" --version)
want=$({ echo "$base"; cat pyproject.toml setup.py shim/* requirements.txt requirements-dev.txt tools/setup.sh; } | sha256sum)
if [ "$want" = "$(cat .venv/.stamp 2>/dev/null)" ] && .venv/bin/python -c '' 2>/dev/null; then
  say "up to date ($(.venv/bin/python --version), .venv)"
  exit 0
fi

rm -f .venv/.stamp
if [ "$base" != "$(cat .venv/.base 2>/dev/null)" ] || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
  say "creating .venv with $python"
  if ! "$python" -m venv --clear .venv >.cache/venv.log 2>&1; then
    install_packages python3-venv
    "$python" -m venv --clear .venv
  fi
  echo "$base" >.venv/.base
fi
say "installing what requirements-dev.txt pins, and this package, into .venv"
pip=(.venv/bin/python -m pip --disable-pip-version-check --quiet)
"${pip[@]}" install -r requirements-dev.txt
rm -f src/spanbridge/cni/shim
"${pip[@]}" install --no-build-isolation --no-deps --editable .
[ -x src/spanbridge/cni/shim ] ||
  die "shim/shim.c was not built; to see why: .venv/bin/python setup.py build_shim"
# Python is slow in an emulated guest: it must find byte code, and can write none there.
.venv/bin/python -m compileall -q -j 0 src
echo "$want" >.venv/.stamp
say "done"

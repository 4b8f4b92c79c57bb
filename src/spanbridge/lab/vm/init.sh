#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# First program of the lab's guest. The kernel passes words of its command line that it does
# not know as environment: vm_address, vm_peer, vm_dirty (MiB a second), vm_trial.
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
exec </dev/ttyS0 >/dev/ttyS0 2>&1
stty -echo -opost
if [ "$vm_trial" ]; then
  echo "a kernel runs"
  poweroff -f
fi
while read -r module; do insmod "/modules/$module"; done </modules/order
ip link set lo up
ip link set eth0 up
ip address add "$vm_address" dev eth0

# Nobody writes there: to wait for it is to sleep, without the process that sleep would be. What
# a tick costs counts, where a processor is emulated by one that is emulated.
mkfifo /tmp/never
exec 9<>/tmp/never

count() {
  number=0
  while :; do
    read -r uptime rest </proc/uptime
    echo "tick $number $uptime"
    number=$((number + 1))
    read -r -t 0.02 -u 9 never
  done
}

talk() {
  number=0
  echo "$vm_name"
  while :; do
    echo "$number"
    number=$((number + 1))
    read -r -t 0.1 -u 9 never
  done
}

# One TCP session for the guest's whole life; a second one tells that the first was lost.
session() {
  while :; do
    talk | nc "$vm_peer" "$vm_port" | while read -r echoed; do
      [ "$echoed" = 0 ] && echo "session begun"
    done
    echo "session lost"
    sleep 0.5
  done
}

# Goes round in a file in memory, ten times a second; no page may be zero, QEMU would not send it.
dirty() {
  mount -t tmpfs -o "size=$((vm_area + 2))m" tmp /tmp
  dd if=/dev/urandom of=/tmp/seed bs=64k count=16 2>/dev/null
  at=0
  while [ $at -lt "$vm_area" ]; do
    cat /tmp/seed >>/tmp/area
    at=$((at + 1))
  done
  echo "memory is busy"
  steps=$(((vm_dirty * 16 + 9) / 10))
  at=0
  while :; do
    left=$steps
    while [ $left -gt 0 ]; do
      now=$left
      [ $now -gt 16 ] && now=16
      [ $at -gt $((vm_area * 16 - now)) ] && at=0
      dd if=/tmp/seed of=/tmp/area bs=64k count=$now seek=$at conv=notrunc 2>/dev/null
      at=$((at + now))
      left=$((left - now))
    done
    read -r -t 0.1 -u 9 never
  done
}

session &
[ "$vm_dirty" = 0 ] || dirty &
count

#!/usr/bin/env bash
# Tries the project on a fresh Debian 12: makes a minimal root with debootstrap, puts a clone of this repository in it, and
# runs COMMAND (default: ./dev build) there with a stopwatch. Needs root and the package debootstrap.
#
#   tools/fresh_machine.sh FOLDER [COMMAND...]
#
# FOLDER/base is made once and kept as Debian made it; FOLDER/trial is a new copy of it each time, unless KEEP=yes asks for
# the one that the last trial left. Only what is committed is cloned, unless TREE=yes asks for the files as they lie here.
# The mirror, resolver, certificates and pip settings are this machine's own, so that the trial reaches what it reaches.
set -euo pipefail
folder=$(readlink -m -- "${1:?a folder for the root}")
shift
(($# > 0)) || set -- ./dev build
repository=$(git -C "$(dirname -- "${BASH_SOURCE[0]}")" rev-parse --show-toplevel)
base=$folder/base
trial=$folder/trial
clone=$trial/srv/loci

leave() {
  local at
  for at in "$trial/dev/pts" "$trial/proc"; do ! mountpoint -q "$at" || umount "$at"; done
}
trap leave EXIT

apt_mirror() {
  sed -nE 's/^(URIs: *|deb +(\[[^]]*\] +)?)([^ ]+).*/\3/p' /etc/apt/sources.list /etc/apt/sources.list.d/*.{list,sources} \
    2>/dev/null | grep -m1 '/debian/*$' || true
}

make_base() {
  local mirror
  mirror=$(apt_mirror)
  mkdir -p "$folder"
  debootstrap --variant=minbase --include=git,ca-certificates bookworm "$base" ${mirror:+"$mirror"}
}

make_trial() {
  leave
  rm -rf --one-file-system -- "$trial"
  cp -a -- "$base" "$trial"
  cp -L /etc/resolv.conf "$trial/etc/resolv.conf"
  cp -aL /usr/local/share/ca-certificates/. "$trial/usr/local/share/ca-certificates/" 2>/dev/null || true
  [[ ! -f /etc/pip.conf ]] || cp /etc/pip.conf "$trial/etc/pip.conf"
  chroot "$trial" /usr/sbin/update-ca-certificates >/dev/null
  if [[ ${TREE:-no} == yes ]]; then
    mkdir -p "$clone"
    git -C "$repository" ls-files -z --cached --others --exclude-standard |
      tar -C "$repository" --null --ignore-failed-read -cf - -T - | tar -C "$clone" -xf -
  else
    git clone --quiet --no-hardlinks "$repository" "$clone"
  fi
}

[[ -f $base/etc/debian_version ]] || make_base
[[ ${KEEP:-no} == yes && -d $trial ]] || make_trial
mountpoint -q "$trial/proc" || mount -t proc proc "$trial/proc"
# Terminals, which a machine has and debootstrap's root has not.
mkdir -p "$trial/dev/pts"
mountpoint -q "$trial/dev/pts" || mount -t devpts -o ptmxmode=666 devpts "$trial/dev/pts"
[[ -e $trial/dev/ptmx ]] || ln -s pts/ptmx "$trial/dev/ptmx"

echo "fresh machine: $(git -C "$repository" log -1 --format=%h), $(nproc) cores, load $(cut -d' ' -f1 /proc/loadavg): $*"
start=$SECONDS
status=0
env -i HOME=/srv TERM="${TERM:-dumb}" LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
  chroot "$trial" /bin/bash -c 'cd /srv/loci && exec "$@"' bash "$@" || status=$?
echo "fresh machine: exit $status after $((SECONDS - start)) s"
exit "$status"

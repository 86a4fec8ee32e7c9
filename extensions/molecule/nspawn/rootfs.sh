#!/usr/bin/env bash
# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Make the base rootfs of each SUITE (default: $NSPAWN_SUITE), once. --force makes it again.
# Needs mmdebstrap, or debootstrap as the slower fallback. NSPAWN_EXTRA_PACKAGES adds packages (comma separated).
# shellcheck disable=SC1091,SC2154  # common.sh sets them
. "$(dirname "$0")/common.sh"

packages=systemd,systemd-sysv,dbus,openssh-server,python3,python3-apt,iproute2,ca-certificates,sudo,procps
packages+=${NSPAWN_EXTRA_PACKAGES:+,$NSPAWN_EXTRA_PACKAGES}
: "${NSPAWN_MIRROR:=}"   # empty: the bootstrap tool's own default, with mmdebstrap security updates included

force=
[ "${1:-}" = --force ] && { force=1; shift; }
mkdir -p "$NSPAWN_STATE/base"
exec 8>"$NSPAWN_STATE/base/.lock"
flock 8

make_base() {
    local suite=$1 base=$NSPAWN_STATE/base/$1
    [ -n "$force" ] && rm -rf --one-file-system "$base"
    if [ -e "$base/.complete" ]; then
        return 0
    fi
    rm -rf --one-file-system "$base"
    log "making $base"

    if command -v mmdebstrap >/dev/null; then
        mmdebstrap --variant=minbase --skip=cleanup/apt/lists --include="$packages" \
            --aptopt='Acquire::Languages "none"' \
            --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
            --dpkgopt='path-exclude=/usr/share/doc/*' \
            "$suite" "$base" ${NSPAWN_MIRROR:+"$NSPAWN_MIRROR"} >&2
    else
        debootstrap --variant=minbase --include="$packages" "$suite" "$base" ${NSPAWN_MIRROR:+"$NSPAWN_MIRROR"} >&2
    fi

    # What all hosts share. Identity (hostname, machine-id, host keys) is given to each by create.sh.
    rm -f "$base"/etc/ssh/ssh_host_*_key*
    : >"$base/etc/machine-id"
    rm -f "$base"/var/cache/apt/archives/*.deb
    chroot "$base" useradd --create-home --shell /bin/bash ansible
    echo 'ansible ALL=(ALL) NOPASSWD: ALL' >"$base/etc/sudoers.d/ansible"
    chmod 0440 "$base/etc/sudoers.d/ansible"
    local unit
    for unit in apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
        dpkg-db-backup.timer systemd-firstboot.service; do
        ln -sf /dev/null "$base/etc/systemd/system/$unit"
    done
    printf 'UseDNS no\nPrintMotd no\nPasswordAuthentication no\n' >"$base/etc/ssh/sshd_config.d/molecule.conf"
    # dpkg's fsyncs are worth nothing in a throw-away host; nor are apt's translations
    echo force-unsafe-io >"$base/etc/dpkg/dpkg.cfg.d/molecule"
    echo 'Acquire::Languages "none";' >"$base/etc/apt/apt.conf.d/99molecule"
    touch "$base/.complete"
    log "$base ready: $(du -sh "$base" | cut -f1)"
}

for suite in "${@:-$NSPAWN_SUITE}"; do make_base "$suite"; done

#!/usr/bin/env bash
# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Boot the hosts of NSPAWN_HOSTS on a bridge of their own and wait until ssh answers.
# Prints nothing on stdout but one line per host: NAME ADDRESS.
# shellcheck disable=SC1091,SC2154  # common.sh sets them
. "$(dirname "$0")/common.sh"
# shellcheck disable=SC2046  # one word per suite is what is wanted
"$(dirname "$0")/rootfs.sh" $(printf '%s\n' "${suite_of[@]}" | sort -u)
lock
[ ! -d "$run" ] || die "$run exists: destroy first"

trap '[ $? = 0 ] || { log "create failed, see $run/*/console.log; run destroy.sh"; }' EXIT
mkdir -p "$run/ssh"
chmod 0700 "$run/ssh"
ssh-keygen -q -t ed25519 -N '' -C molecule -f "$run/ssh/id"

# the bridge
ip link add "$bridge" type bridge
ip addr add "$NSPAWN_SUBNET.1/24" dev "$bridge"
ip link set "$bridge" up
if [ "$NSPAWN_NAT" = 1 ]; then
    forward_on
    nft -f - <<NFT
table inet $nat_table {
    chain forward {
        type filter hook forward priority 0; policy accept;
        iifname "$bridge" tcp flags syn tcp option maxseg size set rt mtu
        iifname != "$bridge" oifname "$bridge" ct state new drop
    }
    chain postrouting {
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr $NSPAWN_SUBNET.0/24 oifname != "$bridge" masquerade
    }
}
NFT
fi

hosts_file() {
    echo "127.0.0.1 localhost"
    local h
    for h in $hosts; do echo "${ip_of[$h]} $h.choria.test $h"; done
    echo "$NSPAWN_SUBNET.1 controller.choria.test controller"
}

n=0
for host in $hosts; do
    n=$((n + 1))
    d=$run/$host
    base=$NSPAWN_STATE/base/${suite_of[$host]}
    netns=$NSPAWN_ID-$host
    veth=$NSPAWN_ID-$n
    mkdir -p "$d/root" "$d/rw"
    if [ "$NSPAWN_UPPER" = tmpfs ]; then
        mount -t tmpfs -o size=2G,mode=755 "$NSPAWN_ID-$host" "$d/rw"
    fi
    mkdir -p "$d/rw/upper" "$d/rw/work"
    mount -t overlay overlay -o "lowerdir=$base,upperdir=$d/rw/upper,workdir=$d/rw/work" "$d/root"

    # identity
    echo "$host" >"$d/root/etc/hostname"
    tr -d - </proc/sys/kernel/random/uuid >"$d/root/etc/machine-id"
    hosts_file >"$d/root/etc/hosts"
    rm -f "$d/root/etc/resolv.conf"
    resolv=/etc/resolv.conf
    [ -e /run/systemd/resolve/resolv.conf ] && resolv=/run/systemd/resolve/resolv.conf
    cat "$resolv" >"$d/root/etc/resolv.conf"
    ssh-keygen -q -t ed25519 -N '' -C "$host" -f "$d/root/etc/ssh/ssh_host_ed25519_key"
    echo "${ip_of[$host]} $(cut -d' ' -f1,2 "$d/root/etc/ssh/ssh_host_ed25519_key.pub")" >>"$run/ssh/known_hosts"
    for home in root home/ansible; do
        install -d -m 0700 "$d/root/$home/.ssh"
        install -m 0600 "$run/ssh/id.pub" "$d/root/$home/.ssh/authorized_keys"
        chown -R --reference="$d/root/$home" "$d/root/$home/.ssh"
    done
    if [ "$NSPAWN_TRUST" = 1 ] && [ -e /etc/ssl/certs/ca-certificates.crt ]; then
        cp /etc/ssl/certs/ca-certificates.crt "$d/root/etc/ssl/certs/ca-certificates.crt"
        printf '[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n' >"$d/root/etc/pip.conf"
    fi
    if [ -n "$NSPAWN_APT_PROXY" ]; then
        echo "Acquire::http::Proxy \"$NSPAWN_APT_PROXY\";" >"$d/root/etc/apt/apt.conf.d/00molecule-proxy"
    fi

    # network: made here, so the address is up before the host boots and needs no networkd inside
    ip netns add "$netns"
    ip link add "$veth" type veth peer name host0 netns "$netns"
    ip link set "$veth" master "$bridge" up
    ip -n "$netns" link set lo up
    ip -n "$netns" addr add "${ip_of[$host]}/24" dev host0
    ip -n "$netns" link set host0 up
    ip -n "$netns" route add default via "$NSPAWN_SUBNET.1"

    binds=()
    for b in $NSPAWN_BIND_RO; do
        binds+=("--bind-ro=$b")
        case $b in
        *:/srv/debs) echo 'deb [trusted=yes] file:/srv/debs ./' >"$d/root/etc/apt/sources.list" ;;
        esac
    done
    # nspawn ends with 133 when the host reboots and expects to be started again. It takes CAP_NET_ADMIN away from hosts
    # whose network it did not make itself, and the role's firewall needs that.
    cat >"$d/boot" <<BOOT
#!/usr/bin/env bash
while :; do
    systemd-nspawn --quiet --boot --register=no --keep-unit \\
        --directory='$d/root' --machine='$NSPAWN_ID-$host' --hostname='$host' \\
        --network-namespace-path='/run/netns/$netns' \\
        --capability=CAP_NET_ADMIN \\
        --resolv-conf=off --timezone=off --link-journal=no --console=read-only ${binds[*]} &
    echo \$! >'$d/pid'
    wait \$!
    [ \$? = 133 ] || break
done
BOOT
    (
        exec 9>&-   # not the lock
        cgroup_enter "$host"
        exec setsid bash "$d/boot" </dev/null >"$d/console.log" 2>&1
    ) &
    disown
    until [ -s "$d/pid" ]; do sleep 0.01; done
done
log "started"
deadline=$(($(date +%s) + NSPAWN_BOOT_TIMEOUT))

for host in $hosts; do
    until timeout 1 bash -c "read -r -n 4 b </dev/tcp/${ip_of[$host]}/22 && [ \"\$b\" = SSH- ]" 2>/dev/null; do
        nspawn_alive "$host" || die "$host died while booting: $(tail -n 5 "$run/$host/console.log")"
        [ "$(date +%s)" -lt "$deadline" ] || die "$host did not come up"
        sleep 0.1
    done
    log "$host: ssh answers"
    echo "$host ${ip_of[$host]}"
done

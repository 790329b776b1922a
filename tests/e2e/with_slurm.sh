#!/usr/bin/env bash
# with_slurm.sh COMMAND…: runs the command beside a Slurm cluster of one node that exists for as long as it runs. That
# needs root on Linux with slurm-wlm, or with apt-get, which installs it. Elsewhere, or where the node does not start, the
# command runs without Slurm, and a line says so. A cluster that answers already is used as it is.
#
# Cluster and command see processes and an /etc/slurm of their own (namespaces): another configuration stays as it is,
# and no process is left. They share the network with the machine, whose ports 6817 and 6818 they need.
set -euo pipefail

have() {
    for name; do command -v "$name" >/dev/null || return; done
}

without() {
    echo "Slurm: not tested, because $1." >&2
    exec "${@:2}"
}

start() {  # FOLDER, whose etc/ is mounted at /etc/slurm
    mkdir "$1/etc" "$1/munge" "$1/state" "$1/spool"
    mount --bind "$1/etc" /etc/slurm
    mount --bind "$1/munge" /run/munge
    head -c 1024 /dev/urandom > "$1/key"
    chmod 400 "$1/key"
    local host
    host=$(uname -n)
    host=${host%%.*}
    cat > /etc/slurm/slurm.conf <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
StateSaveLocation=$1/state
SlurmdSpoolDir=$1/spool
SlurmctldLogFile=$1/slurmctld.log
SlurmdLogFile=$1/slurmd.log
SlurmctldPidFile=$1/slurmctld.pid
SlurmdPidFile=$1/slurmd.pid
MailProg=/bin/true
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(getconf _NPROCESSORS_ONLN) RealMemory=$(awk '/MemTotal/ { print int($2 / 1024 * 0.8) }' /proc/meminfo)
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
    munged --force --key-file="$1/key" --pid-file="$1/munge/pid" --seed-file="$1/seed" --log-file="$1/munged.log"
    slurmctld
    slurmd
    until sinfo -h -o %T | grep -q idle; do sleep 1; done
}

if [ "$1" = --start ]; then
    start "$2"
    exit
elif [ "$1" = --inside ]; then
    unset SLURM_CONF
    timeout 60 "$0" --start "$2" >"$2/said" 2>&1 || exit 1
    touch "$2/started"
    "${@:3}"
    exit
fi

have sinfo && timeout 20 sinfo >/dev/null 2>&1 && exec "$@"
[ "$(id -u)" = 0 ] || without "only root can start it" "$@"
if ! have slurmctld slurmd munged; then
    have apt-get || without "slurm-wlm is not installed, and there is no apt-get" "$@"
    export DEBIAN_FRONTEND=noninteractive
    { timeout 120 apt-get update && timeout 300 apt-get install -y slurm-wlm munge; } </dev/null >/dev/null \
        || without "apt-get does not install slurm-wlm" "$@"
fi
mkdir -p /etc/slurm /run/munge || without "there are no folders for it" "$@"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
status=0
setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child --mount-proc "$0" --inside "$folder" "$@" || status=$?
[ ! -e "$folder/started" ] || exit "$status"
tail -n 20 "$folder"/said "$folder"/*.log >&2 2>/dev/null || true
rm -rf "$folder"
without "the node did not start; what it said is above" "$@"

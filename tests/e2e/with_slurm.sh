#!/usr/bin/env bash
# with_slurm.sh COMMAND…: runs the command beside a Slurm cluster of one node, which is started before it and stopped
# after it. That needs root and Debian or Ubuntu. Elsewhere, or where the node does not start, the command runs without,
# and a line says so. A cluster that answers already is used as it is.
set -euo pipefail

without() {
    echo "Slurm: not tested, because $1." >&2
    exec "${@:2}"
}

command -v sinfo >/dev/null && timeout 20 sinfo >/dev/null 2>&1 && exec "$@"
[ "$(id -u)" = 0 ] || without "only root can start it" "$@"
if ! command -v slurmctld slurmd munged >/dev/null; then
    command -v apt-get >/dev/null || without "slurm-wlm is not installed, and there is no apt-get" "$@"
    { timeout 120 apt-get update && timeout 300 apt-get install -y slurm-wlm munge; } >/dev/null 2>&1 \
        || without "apt-get does not install slurm-wlm" "$@"
fi

folder=$(mktemp -d)
host=$(hostname -s)
memory=$(awk '/MemTotal/ { print int($2 / 1024 * 0.8) }' /proc/meminfo)
export SLURM_CONF="$folder/slurm.conf"  # all of Slurm reads it, so a file of the system's stays as it is
cat > "$SLURM_CONF" <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$folder/munge/socket
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
ReturnToService=2
MailProg=/bin/true
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$memory State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF

stop() {
    timeout 20 scancel --user=root >/dev/null 2>&1 || true
    for name in slurmd slurmctld munge/munged; do
        process=$(cat "$folder/$name.pid" 2>/dev/null) || continue
        kill "$process" 2>/dev/null || continue
        for _ in $(seq 50); do kill -0 "$process" 2>/dev/null && sleep 0.2 || break; done
        kill -KILL "$process" 2>/dev/null || true
    done
    rm -rf "$folder"
}
trap stop EXIT

start() {
    mkdir "$folder/munge" "$folder/state" "$folder/spool" || return
    head -c 1024 /dev/urandom > "$folder/munge/key" && chmod 400 "$folder/munge/key" || return
    munged --force --key-file="$folder/munge/key" --socket="$folder/munge/socket" --pid-file="$folder/munge/munged.pid" \
        --seed-file="$folder/munge/seed" --log-file="$folder/munge/log" || return
    slurmctld && slurmd || return
    for _ in $(seq 30); do
        ! timeout 20 sinfo -h -o %T 2>/dev/null | grep -q idle || return 0
        sleep 1
    done
    return 1
}
if start >"$folder/said" 2>&1; then
    "$@"
else
    cat "$folder"/said "$folder"/*.log "$folder"/munge/log >&2 2>/dev/null || true
    stop
    trap - EXIT
    unset SLURM_CONF
    without "the node did not start, as said above" "$@"
fi

#!/usr/bin/env bash
# A Slurm of one node on this machine, to try launcher=slurm: nothing of the system is changed, no cgroups are needed.
#
#   apt-get install slurm-wlm munge                       # Debian, Ubuntu
#   scripts/slurm_on_this_machine.sh start /tmp/slurm     # then: export SLURM_CONF=/tmp/slurm/slurm.conf
#   scripts/slurm_on_this_machine.sh stop /tmp/slurm
#
# All its files are in that directory; it listens on 127.0.0.1 alone, and its jobs run as the user who started it.
set -euo pipefail
export PATH="$PATH:/usr/sbin"

usage() {
  sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
  exit 2
}

[ $# = 2 ] || usage
action=$1
mkdir -p "$2"
here=$(cd "$2" && pwd)
export SLURM_CONF="$here/slurm.conf"

configure() {
  local node cpus memory_mb
  node=$(hostname -s)
  cpus=$(nproc --all)
  memory_mb=$(($(awk '/MemTotal/ {print $2}' /proc/meminfo) / 1024 * 9 / 10))
  mkdir -p "$here/state" "$here/spool"
  cat >"$SLURM_CONF" <<CONF
ClusterName=this-machine
SlurmctldHost=$node(127.0.0.1)
SlurmctldPort=${SLURM_PORT:-16817}
SlurmdPort=$((${SLURM_PORT:-16817} + 1))
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
AuthInfo=socket=$here/munge.socket
CredType=cred/munge
StateSaveLocation=$here/state
SlurmdSpoolDir=$here/spool
SlurmctldPidFile=$here/slurmctld.pid
SlurmdPidFile=$here/slurmd.pid
SlurmctldLogFile=$here/slurmctld.log
SlurmdLogFile=$here/slurmd.log
# neither cgroups nor a database: one node in a container has to do
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
NodeName=$node NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=$memory_mb State=UNKNOWN
PartitionName=here Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
}

start() {
  local missing
  for missing in munged slurmctld slurmd sinfo; do
    command -v $missing >/dev/null || { echo "$missing is not installed: apt-get install slurm-wlm munge" >&2; exit 1; }
  done
  configure
  # as the user who starts the rest, and with a key and a socket of its own
  [ -s "$here/munge.key" ] || (umask 077 && head -c 128 /dev/urandom >"$here/munge.key")
  munged --force --key-file="$here/munge.key" --socket="$here/munge.socket" --pid-file="$here/munged.pid" \
    --log-file="$here/munged.log" --seed-file="$here/munge.seed"
  slurmctld -c
  slurmd
  for _ in $(seq 100); do
    if sinfo --noheader --states=idle,mixed,allocated --format=%n 2>/dev/null | grep -q .; then
      echo "export SLURM_CONF=$SLURM_CONF"
      return
    fi
    sleep 0.2
  done
  echo "Slurm does not answer; see $here/*.log" >&2
  stop
  exit 1
}

stop() {
  local daemon
  for daemon in slurmd slurmctld munged; do # by the ids that they wrote down, never by name
    if [ -s "$here/$daemon.pid" ]; then
      kill "$(cat "$here/$daemon.pid")" 2>/dev/null || true
      rm -f "$here/$daemon.pid"
    fi
  done
}

case $action in
  start) start ;;
  stop) stop ;;
  *) usage ;;
esac

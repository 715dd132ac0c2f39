#!/bin/bash
# A real SLURM cluster inside one machine: a head and two nodes, alive for as long as standard input stays open.
#
#     cluster.sh DIRECTORY          (as root; Ctrl-D stops it)
#
# Head and nodes are processes with their own network, host name and process table that share the file system. Nothing gets a name
# outside of them, so several clusters can run side by side, and everything ends with the process that this script becomes.
# Prints "ready" once both nodes are idle. The first process of the head is the only child of the process that was started:
# `nsenter --target THAT_CHILD --mount --net --uts --pid COMMAND` runs a command on the head, with SLURM_CONF=DIRECTORY/slurm.conf.
# Each node says that it has eight processors and eight GPUs, whatever the machine has.
# Made for Debian's packages slurmctld, slurmd, slurm-client, munge and iproute2 (SLURM 22.05).
set -euo pipefail

script=$(realpath "$0")
directory=$(realpath "$1")
role=${2:-outside}
nodes="node1 node2"
export SLURM_CONF=$directory/slurm.conf

address() { case $1 in head) echo 10.99.0.1 ;; node1) echo 10.99.0.11 ;; node2) echo 10.99.0.12 ;; esac; }

isolated() { # ROLE: this script again, as the first process of a machine of its own
    exec unshare --mount --net --uts --pid --fork --kill-child --mount-proc bash "$script" "$directory" "$1"
}

keep_running() { # NODE: start it, plug its cable in, and do so again when it has crashed
    while :; do
        (isolated "$1") < /dev/null >> "$1.log" 2>&1 &
        until machine=$(pgrep --parent $!); do
            kill -0 $!
            sleep 0.05
        done
        echo "$machine" > "$1.pid" # as the head counts: killing it is pulling the node's plug
        ip link delete "to-$1" 2> /dev/null || true # a dead machine's network goes a moment after it
        ip link add "to-$1" type veth peer name eth0 netns "$machine"
        ip link set "to-$1" master bridge0 up
        wait $! || true
        while [ -e "$1.down" ]; do sleep 0.1; done # a test that wants it to stay away
    done
}

write_settings() {
    {
        echo "127.0.0.1 localhost"
        for machine in head $nodes; do echo "$(address "$machine") $machine"; done
    } > hosts
    dd if=/dev/urandom of=munge.key bs=128 count=1 status=none
    chmod 600 munge.key
    # Debian's slurmd loads a cgroup plugin even where nothing uses one; this one asks for no mounted hierarchy.
    printf 'CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n' > cgroup.conf
    for number in 0 1 2 3 4 5 6 7; do mknod "gpu$number" c 1 3; done # to be asked for; no job finds one
    echo "NodeName=node[1-2] Name=gpu File=$directory/gpu[0-7]" > gres.conf
    cat > slurm.conf <<SETTINGS
ClusterName=made-up
SlurmctldHost=head($(address head))
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$directory/munge.socket,cred_expire=10
StateSaveLocation=$directory/state
SlurmdSpoolDir=$directory/%n
SlurmctldPidFile=$directory/slurmctld.pid
SlurmdPidFile=$directory/slurmd.%n.pid
SlurmctldLogFile=$directory/slurmctld.log
SlurmdLogFile=$directory/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1,requeue_delay=1
SlurmdParameters=config_overrides
SlurmctldParameters=node_reg_mem_percent=0
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
SlurmdTimeout=10
KillWait=2
MinJobAge=3600
MailProg=/bin/true
GresTypes=gpu
NodeName=node1 NodeAddr=$(address node1) CPUs=8 RealMemory=12000 Gres=gpu:8
NodeName=node2 NodeAddr=$(address node2) CPUs=8 RealMemory=12000 Gres=gpu:8
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=main Nodes=ALL Default=YES MaxTime=24:00:00 State=UP
PartitionName=urgent Nodes=ALL PriorityTier=10 MaxTime=24:00:00 State=UP
SETTINGS
}

case $role in
outside)
    isolated head
    ;;
node*)
    hostname "$role"
    until ip link show eth0 > /dev/null 2>&1; do sleep 0.05; done # the head plugs the cable in
    ip link set lo up
    ip address add "$(address "$role")/24" dev eth0
    ip link set eth0 up
    slurmd -D -N "$role" &
    while :; do wait -n || sleep 1; done # the first process of a machine reaps orphans
    ;;
head)
    cd "$directory"
    mkdir -p state $nodes small
    mount -t tmpfs -o size=24m tmpfs small # a disk that is soon full; mounted before the nodes start, so that they share it
    write_settings
    hostname head
    mount --bind hosts /etc/hosts
    ip link set lo up
    ip link add bridge0 type bridge
    ip address add "$(address head)/24" dev bridge0
    ip link set bridge0 up
    munged --force --key-file=munge.key --socket="$directory/munge.socket" --pid-file="$directory/munged.pid" \
        --log-file="$directory/munged.log" --seed-file="$directory/munge.seed"
    slurmctld -c
    for node in $nodes; do keep_running "$node" & done
    for _ in $(seq 100); do
        [ "$(timeout 5 sinfo --noheader --partition=main --Node --format %T 2> /dev/null | grep -c '^idle$')" = 2 ] && break
        sleep 0.1
    done
    sinfo --noheader --partition=main --Node --format '%N %T' >&2
    [ "$(sinfo --noheader --partition=main --Node --format %T | grep -c '^idle$')" = 2 ]
    echo "ready"
    cat > /dev/null # until whoever started the cluster closes its standard input, or dies
    ;;
esac

#!/usr/bin/env bash
# Runs jaxreason on a Cloud TPU slice (v2 to v6e) by queued resources. A session:
#
#   launch/tpu_vm.sh up      --name demo --zone us-east5-a --accelerator-type v6e-16 --spot
#   launch/tpu_vm.sh run     --name demo --zone us-east5-a -- jaxreason evaluate configs/quickstart.yaml --out runs/pod
#   launch/tpu_vm.sh logs    --name demo --zone us-east5-a --worker 0 --follow
#   launch/tpu_vm.sh status  --name demo --zone us-east5-a
#   launch/tpu_vm.sh collect --name demo --zone us-east5-a --out runs/pod
#   launch/tpu_vm.sh delete  --name demo --zone us-east5-a
#
# Commands
#   create   requests the slice unless it exists, and waits until it is ACTIVE; again: goes on waiting
#   setup    copies this checkout to every worker (no hidden files, runs, build, dist) and installs it there with '.[tpu]'
#   up       create, then setup
#   run      starts the command after -- on every worker, detached, in the copied checkout; JAX finds the other workers itself
#   status   state of the slice, and of the run on every worker
#   logs     the end of every worker's log; with --follow until the run ends, exiting with its exit status
#   stop     SIGTERM to the run on every worker: finished questions are kept; a second stop ends it at once
#   collect  brings the run folder --out of every worker into one local folder: all of worker 0; from the others every file
#            that is new by its name (journals); one that differs goes to workers/N/. Logs go to logs/.
#   delete   deletes slice and request, running or not, without asking; nothing there: nothing to do
#
# Flags of every command
#   --name NAME              of the slice and of its request: a-z, 0-9, -; a letter first; at most 61 characters
#   --zone ZONE
#   --project PROJECT        default: gcloud's own
#   --dry-run                prints the commands, quoted for a shell, and runs nothing; needs no gcloud
# create, up
#   --accelerator-type TYPE  v6e-N and v5litepod-N count chips; v5p-N, v4-N, v3-N and v2-N count cores, two a chip
#   --runtime-version NAME   default by family: v2-alpha-tpuv6e, v2-alpha-tpuv5, v2-alpha-tpuv5-lite, tpu-ubuntu2204-base
#   --spot | --reserved      default: on demand
#   --valid-until-duration T the request fails if nothing is free by then, for example 6h
#   --create-flag FLAG       handed to gcloud as it is, for example --create-flag=--network=NAME; repeatable
#   --timeout SECONDS        how long to wait (default 3600); --poll SECONDS between two looks (default 20)
# setup, up
#   --python COMMAND         on the workers; default: the first of 3.11, 3.12, 3.13 there, else 3.11 through uv
# run
#   --env KEY=VALUE          a variable of the command; repeatable; printed, so not for secrets
#   --pass-env NAME          a variable of this shell, for example HF_TOKEN; repeatable. It travels in a file that only its
#                            owner can read, deleted as the command starts; on no command line and never printed.
# logs
#   --follow                 --worker N (default all)   --lines N (default 50)
# collect
#   --out DIR                the run folder as the command called it; --into DIR, the local folder (default: the same)
#   --workers N              default: asked of gcloud
# setup, up, run, status, logs, stop, collect
#   --connect-flag FLAG      handed to gcloud ssh and scp as it is, for example --internal-ip; repeatable
#
# With several workers gcloud wants its key in an agent: ssh-add ~/.ssh/google_compute_engine.
# A spot slice that was taken away is SUSPENDED: delete, up and the same run again. What was on its disks is gone, so collect
# often, or keep the run folder in a bucket that is mounted; a run folder that is still there resumes.
# Exit status: 0; 2 wrong usage; 1 the slice cannot become ACTIVE, or a folder is in the way; 124 --timeout; 127 no gcloud;
# else gcloud's own, which is the remote command's where that failed.
# Tested against a stand-in for gcloud only: nothing in this file has run against a real TPU yet.

set -euo pipefail

source_root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
remote_root=jaxreason-launch # below the home directory of every worker
remote_script=$remote_root/checkout/launch/worker.sh

# shellcheck source=/dev/null
. "$source_root/launch/shell.sh"

verb='' name='' zone='' project='' accelerator_type='' runtime_version='' tier='' valid_until_duration=''
timeout=3600 poll=20 python='' worker=all lines=50 follow=show out='' into='' workers='' dry_run=''
create_flags=() connect_flags=() env=() pass_env=() command=()
scratch='' state='' reason=''

main() {
  parse "$@"
  check
  if [[ -z $dry_run ]] && ! command -v gcloud >/dev/null; then
    fail 127 'gcloud is not on PATH; install the Google Cloud CLI, or add --dry-run.'
  fi
  scratch=$(mktemp -d)
  trap 'rm -rf -- "$scratch"' EXIT
  "$verb"
}

# ---------------------------------------------------------------------------------------------------------------- commands

create() {
  read_state
  if [[ -z $state ]]; then
    local flags=("--node-id=$name" "--accelerator-type=$accelerator_type" "--runtime-version=$runtime_version")
    if [[ -n $tier ]]; then flags+=("$tier"); fi
    if [[ -n $valid_until_duration ]]; then flags+=("--valid-until-duration=$valid_until_duration"); fi
    # Arrays that may be empty are expanded with a guard: to bash before 4.4 they are unset variables.
    tpus queued-resources create "$name" "${flags[@]}" ${create_flags[@]+"${create_flags[@]}"} --quiet
  else
    note "$name exists already; its accelerator and runtime stay as they are."
  fi
  wait_until_active
}

up() {
  create
  setup
}

wait_until_active() {
  if [[ -n $dry_run ]]; then
    note "then describe, as above, every $poll s until the state is ACTIVE, for at most $timeout s."
    return
  fi
  local until=$((SECONDS + timeout)) before=''
  note "waiting until $name is ACTIVE, at most $timeout s."
  while :; do
    read_state
    [[ $state == "$before" ]] || note "$name is ${state:-gone}."
    before=$state
    case $state in
      ACTIVE) return ;;
      FAILED | SUSPENDING | SUSPENDED) fail 1 "$name is $state${reason:+: $reason}; delete it, then create it again." ;;
      DELETING | '') fail 1 "$name is being deleted or gone; create it again once status says that there is none." ;;
    esac
    ((SECONDS < until)) || fail 124 "$name is still $state after $timeout s; create goes on waiting, delete gives up."
    sleep "$poll"
  done
}

setup() {
  # Relative names from here on: gcloud would take a colon in a path for a host.
  cd "$scratch"
  local skip=('./.*' ./runs ./build ./dist __pycache__ '*.egg-info')
  COPYFILE_DISABLE=1 call tar -czf source.tgz "${skip[@]/#/--exclude=}" -C "$source_root" .
  # Source that is in use by a run is not replaced under it.
  local busy="{ echo 'a run is going on; wait for it or stop it' >&2; exit 1; }"
  ssh_all "umask 077; mkdir -p $remote_root/checkout && { flock -n $remote_root/lock true || $busy; }"
  copy --worker=all source.tgz "$name:$remote_root/source.tgz"
  # Modules that no longer exist go; everything else, run folders above all, stays.
  local unpack="cd $remote_root && rm -rf checkout/jaxreason && tar -xzf source.tgz -C checkout"
  ssh_all "$unpack && $(quote bash checkout/launch/worker.sh install "$python")"
}

run() {
  local secrets=none variable
  cd "$scratch"
  if ((${#pass_env[@]})); then
    secrets=secrets
    if [[ -n $dry_run ]]; then
      note "secrets is a file with the values of: ${pass_env[*]}"
    else
      umask 077
      for variable in "${pass_env[@]}"; do printf '%s=%s\0' "$variable" "$(printenv "$variable")"; done >secrets
    fi
    copy --worker=all secrets "$name:$remote_root/secrets"
  fi
  on_worker all start "$secrets" ${env[@]+"${env[@]}"} "${command[@]}"
}

status() {
  read_state
  if [[ -n $dry_run ]]; then
    on_worker all state
    return
  fi
  note "$name is ${state:-not there: create makes it}${reason:+: $reason}."
  case $state in
    ACTIVE) on_worker all state ;;
    SUSPEND*) note 'the slice was taken away (spot) or shut down: delete, up, and the same run again.' ;;
    FAILED) note 'delete it, then create it again.' ;;
  esac
}

logs() {
  on_worker "$worker" log "$lines" "$follow"
}

stop() {
  on_worker all stop
}

collect() {
  case ${into:=$out} in /*) ;; *) into=$PWD/$into ;; esac
  cd "$scratch"
  on_worker all pack "$out"
  count_workers
  local i
  for ((i = 0; i < workers; i++)); do
    call mkdir -p "$i/files" merged
    # gcloud copies to here from one worker at a time only.
    copy "--worker=$i" "$name:$remote_root/collect.tgz" "$name:$remote_root/collect.log" "./$i"
    call tar -xzf "$i/collect.tgz" -C "$i/files"
    [[ -n $dry_run ]] || merge "$i"
  done
  [[ -n $dry_run ]] || deliver
}

count_workers() {
  [[ -z $workers ]] || return 0
  local query=(tpu-vm describe "$name" '--format=value(networkEndpoints.len())')
  if [[ -n $dry_run ]]; then
    tpus "${query[@]}"
    note 'then as for worker 0 for every other worker; --workers N prints them all.'
    workers=1
    return
  fi
  workers=$(tpus "${query[@]}")
  is_number "$workers" || fail 1 "gcloud gave '$workers' for the number of workers; give --workers."
}

# merge I: the files of worker I into merged/, never over those of an earlier worker. Links are left out: they would be
# followed here. Worker 0 is first and so keeps its names.
merge() {
  local i=$1 file target
  (cd "$i/files" && find . -type f -print0) | while IFS= read -r -d '' file; do
    target=merged/${file#./}
    if [[ -e $target ]]; then
      cmp -s "$i/files/$file" "$target" && continue
      target=merged/workers/$i/${file#./}
    fi
    mkdir -p "${target%/*}"
    cp -p "$i/files/$file" "$target"
  done
  [[ $i != 0 || -n $(ls merged) ]] || fail 1 "worker 0 has no run folder '$out'; give --out as the command called it."
  mkdir -p merged/logs
  cp "$i/collect.log" "merged/logs/worker-$i.log"
}

deliver() {
  if [[ -e $into/config.yaml ]] && ! cmp -s "$into/config.yaml" merged/config.yaml; then
    fail 1 "$into holds a run of another configuration; give another --into."
  fi
  mkdir -p "$into"
  cp -R merged/. "$into/"
  note "collected from $workers worker(s) into $into"
}

delete() {
  if [[ -n $dry_run ]]; then
    tpus queued-resources delete "$name" --force --quiet
    return
  fi
  local code=0
  tpus queued-resources delete "$name" --force --quiet 2>"$scratch/error" || code=$?
  cat "$scratch/error" >&2
  ((code)) || return 0
  grep -q NOT_FOUND "$scratch/error" || exit "$code"
  note "there is no $name in $zone: nothing to delete."
}

# ------------------------------------------------------------------------------------------------------------------ gcloud

tpus() {
  local place=("--zone=$zone")
  if [[ -n $project ]]; then place+=("--project=$project"); fi
  call gcloud compute tpus "$@" "${place[@]}"
}

ssh_all() {
  connect ssh "$name" --worker=all "--command=$1"
}

copy() {
  connect scp "$@"
}

# on_worker N|all WORD...: the words to worker.sh there. The remote shell splits what was quoted here, and nothing else.
on_worker() {
  connect ssh "$name" "--worker=$1" "--command=$(quote bash "$remote_script" "${@:2}")"
}

connect() {
  local code=0
  tpus tpu-vm "$@" ${connect_flags[@]+"${connect_flags[@]}"} || code=$?
  ((code != 127)) || note 'exit 127: a command was not found there; on a new slice, setup comes first.'
  ((code == 0)) || exit "$code"
}

# read_state: sets state ('' where there is no such request) and reason.
read_state() {
  local query=(queued-resources describe "$name" '--format=value(state.state,state.failedData.error.message)') text code=0
  if [[ -n $dry_run ]]; then
    tpus "${query[@]}"
    return
  fi
  text=$(tpus "${query[@]}" 2>"$scratch/error") || code=$?
  if ((code)); then
    grep -q NOT_FOUND "$scratch/error" || { cat "$scratch/error" >&2 && exit "$code"; }
    text=''
  fi
  state=${text%%$'\t'*} reason=''
  [[ $text != *$'\t'* ]] || reason=$(printf '%s' "${text#*$'\t'}" | tr '[:cntrl:]' ' ')
}

# ------------------------------------------------------------------------------------------------------------------- flags

parse() {
  case ${1:-} in
    create | setup | up | run | status | logs | stop | collect | delete) verb=$1 ;;
    help | --help | -h) show_help && exit 0 ;;
    *) usage "expected create, setup, up, run, status, logs, stop, collect or delete, received '${1:-}'" ;;
  esac
  shift
  while (($#)); do
    case $1 in
      --help | -h) show_help && exit 0 ;;
      --) command=("${@:2}") && break ;;
      --dry-run) dry_run=yes && shift && continue ;;
    esac
    is_flag_of_verb "${1%%=*}" || usage "$verb takes no '$1'"
    case $1 in
      --spot | --reserved)
        [[ ${tier:-$1} == "$1" ]] || usage '--spot and --reserved exclude each other'
        tier=$1 && shift && continue
        ;;
      --follow) follow=follow && shift && continue ;;
      --*=*) take "${1%%=*}" "${1#*=}" && shift ;;
      *) (($# > 1)) || usage "$1 needs a value" && take "$1" "$2" && shift 2 ;;
    esac
  done
}

is_flag_of_verb() {
  local known='--name --zone --project'
  local request='--accelerator-type --runtime-version --spot --reserved --valid-until-duration --create-flag --timeout --poll'
  case $verb in create | up) known+=" $request" ;; esac
  case $verb in setup | up) known+=' --python' ;; esac
  case $verb in
    run) known+=' --env --pass-env' ;;
    logs) known+=' --follow --worker --lines' ;;
    collect) known+=' --out --into --workers' ;;
  esac
  case $verb in create | delete) ;; *) known+=' --connect-flag' ;; esac
  [[ $1 != *' '* && " $known " == *" $1 "* ]]
}

take() {
  local flag=$1 value=$2
  case $flag in
    --create-flag) create_flags+=("$value") ;;
    --connect-flag) connect_flags+=("$value") ;;
    --env) env+=("$value") ;;
    --pass-env) pass_env+=("$value") ;;
    --spot | --reserved | --follow) usage "$flag takes no value" ;;
    *)
      [[ -n $value ]] || usage "$flag needs a value"
      flag=${flag#--}
      printf -v "${flag//-/_}" '%s' "$value"
      ;;
  esac
}

check() {
  local pair variable
  [[ $name =~ ^[a-z]([a-z0-9-]{0,59}[a-z0-9])?$ ]] ||
    usage "--name: expected 1 to 61 of a-z, 0-9 and -, a letter first, no - last; received '$name'"
  [[ -n $zone ]] || usage '--zone is missing; for example --zone us-east5-a'
  case $verb in create | up) check_accelerator ;; esac
  for pair in ${env[@]+"${env[@]}"}; do
    [[ $pair =~ ^[A-Za-z_][A-Za-z0-9_]*= ]] || usage "--env: expected KEY=VALUE, received '${pair%%=*}'"
    [[ ! ${pair%%=*} =~ (TOKEN|SECRET|PASSWORD|API_KEY)$ ]] || usage "--env would print ${pair%%=*}; use --pass-env ${pair%%=*}"
  done
  for variable in ${pass_env[@]+"${pass_env[@]}"}; do
    [[ $variable =~ ^[A-Z_][A-Z0-9_]*$ ]] || usage "--pass-env: expected a name in A-Z, 0-9 and _, received '${variable%%=*}'"
    printenv "$variable" >/dev/null || usage "--pass-env: $variable is not set; export it first"
  done
  for variable in timeout poll lines; do
    is_number "${!variable}" || usage "--$variable: expected a whole number, received '${!variable}'"
  done
  [[ $worker == all ]] || is_number "$worker" || usage "--worker: expected a number or all, received '$worker'"
  [[ -z $workers ]] || { is_number "$workers" && ((workers)); } || usage "--workers: expected 1 or more, received '$workers'"
  [[ $verb != collect || -n $out ]] || usage 'collect needs --out, the run folder as the command called it'
  if [[ $verb == run ]]; then
    ((${#command[@]})) || usage 'run needs a command; for example: -- jaxreason evaluate configs/quickstart.yaml --out runs/pod'
  elif ((${#command[@]})); then
    usage "$verb takes no command after --"
  fi
}

check_accelerator() {
  [[ -n $accelerator_type ]] || usage '--accelerator-type is missing; for example v6e-8, v5litepod-16, v5p-8'
  local family_default
  case $accelerator_type in
    v6e-*) family_default=v2-alpha-tpuv6e ;;
    v5p-*) family_default=v2-alpha-tpuv5 ;;
    v5litepod-*) family_default=v2-alpha-tpuv5-lite ;;
    v5e-*) usage "--accelerator-type: Cloud TPU calls it v5litepod-${accelerator_type#v5e-}" ;;
    v[234]-*) family_default=tpu-ubuntu2204-base ;;
    tpu7* | v7*) usage 'TPU7x is not served by queued resources; use GKE' ;;
    *) family_default='' ;;
  esac
  : "${runtime_version:=$family_default}"
  [[ -n $runtime_version ]] || usage "no default --runtime-version for '$accelerator_type'; give one"
}

# The comment at the top of this file.
show_help() {
  sed -n -e '2,/^$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
}

main "$@"

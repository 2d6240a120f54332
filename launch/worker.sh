#!/usr/bin/env bash
# What one TPU worker does for launch/tpu_vm.sh, which copies the checkout here and calls this file over ssh.
#
# One folder in the home directory holds everything: checkout/ (the source; commands run there, so relative run folders are
# below it), venv/, job/ (command, pid, log and exit status of the present or last run) and lock. The lock is inherited by the
# job and its children and freed by the kernel with the last of them: "running" is never the word of a stale file.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
job=$root/job
worker=${HOSTNAME##*-} # a TPU VM is called t1v-n-1234abcd-w-3
worker=${worker//[!a-zA-Z0-9]/}

say() {
  printf 'worker %s: %s\n' "$worker" "$*"
}

fail() {
  say "$*" >&2
  exit 1
}

is_running() {
  ! flock -n "$root/lock" true
}

# install [PYTHON]: a fresh environment with the package. The images' own Python may be older than 3.11: uv brings one then.
install() {
  exec 9>>"$root/lock"
  flock -n 9 || fail 'a run is going on; wait for it or stop it, then set up again.'
  local python=${1:-} candidate
  for candidate in python3.11 python3.12 python3.13 python3; do
    [[ -z $python ]] && is_suitable "$candidate" && python=$candidate
  done
  rm -rf "$root/venv"
  if [[ -n $python ]]; then
    is_suitable "$python" || fail "$python is not Python 3.11 or newer with venv; give another --python."
    "$python" -m venv "$root/venv"
  else
    python3 -m pip install --quiet --user uv
    PATH=$HOME/.local/bin:$PATH uv venv --quiet --seed --python 3.11 "$root/venv"
  fi
  cd "$root/checkout"
  "$root/venv/bin/python" -m pip install --quiet --disable-pip-version-check --constraint constraints.txt '.[tpu]'
  "$root/venv/bin/jaxreason" --help >/dev/null
  say "ready, $("$root/venv/bin/python" --version)"
}

is_suitable() {
  "$1" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

# start secrets|none COMMAND...: starts the command, detached. The same command again while it runs changes nothing: gcloud
# repeats a command whose connection broke, and a user may too.
start() {
  [[ -x $root/venv/bin/python ]] || { rm -f "$root/secrets" && fail 'not set up; run setup first.'; }
  exec 9>>"$root/lock"
  if ! flock -n 9; then
    rm -f "$root/secrets"
    [[ "$(printf '%q ' "${@:2}")" == "$(cat "$job/command" 2>/dev/null)" ]] || fail 'another run is going on; stop it first.'
    say 'this command is running already.'
    return
  fi
  [[ $1 == secrets ]] || rm -f "$root/secrets"
  rm -rf "$job"
  mkdir -p "$job"
  printf '%q ' "${@:2}" >"$job/command"
  setsid nohup bash "${BASH_SOURCE[0]}" work "${@:2}" </dev/null >"$job/log" 2>&1 &
  printf '%s\n' "$!" >"$job/pid"
  say 'started.'
}

# work COMMAND...: the detached part. Secrets come from a file that only this user can read, and that is gone before the
# command starts: they are on no command line.
work() {
  trap : TERM # the command ends on SIGTERM, and its exit status is still written
  if [[ -f $root/secrets ]]; then
    local pair
    while IFS= read -r -d '' pair; do export "${pair?}"; done <"$root/secrets"
    rm -f "$root/secrets"
  fi
  export PATH="$root/venv/bin:$PATH"
  cd "$root/checkout"
  local code=0
  env -- "$@" || code=$?
  printf '%s\n' "$code" >"$job/exit"
}

state() {
  if [[ ! -f $job/pid ]]; then
    say 'no run yet.'
  elif is_running; then
    say "running since $(date -r "$job/pid" '+%Y-%m-%d %H:%M:%S %Z')."
  elif [[ -f $job/exit ]]; then
    say "ended with exit status $(cat "$job/exit")."
  else
    say 'killed before it could write an exit status (reboot, memory); run the same command again: a run folder resumes.'
  fi
}

# log LINES show|follow: the end of the log, without terminal control sequences: model text may be in it. A followed log ends
# with the job, and with the job's exit status.
log() {
  [[ -f $job/log ]] || fail 'no run yet.'
  local follow=()
  if [[ $2 == follow ]] && is_running; then follow=(--follow "--pid=$(cat "$job/pid")" --sleep-interval=0.5); fi
  # Expanded with a guard: to bash before 4.4 an empty array is an unset variable.
  tail --lines="$1" ${follow[@]+"${follow[@]}"} "$job/log" | clean
  [[ $2 == follow ]] || return 0
  state
  return "$(cat "$job/exit" 2>/dev/null || echo 1)"
}

# Progress lines that overwrite each other become lines; other control characters but the tab are dropped.
clean() {
  local controls='s/[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]//g'
  LC_ALL=C sed -u -e 's/\r$//' -e 's/\r/\n/g' | LC_ALL=C sed -u -E -e "$controls" -e "s/^/worker $worker: /"
}

# stop: SIGTERM to the job, as Ctrl-C does: the first ends it at the next boundary, the second at once.
stop() {
  is_running || { say 'nothing is running.' && return; }
  kill -TERM -- "-$(cat "$job/pid")"
  say 'told to stop.'
}

# pack DIR: the run folder and the log as two files with fixed names, so that no name of a user's reaches scp.
pack() {
  rm -f "$root/collect.tgz"
  if [[ -f $job/log ]]; then cp "$job/log" "$root/collect.log"; else : >"$root/collect.log"; fi
  cd "$root/checkout"
  if [[ ! -d $1 ]]; then # as on a worker that leaves all writing to worker 0
    tar -czf "$root/collect.tgz" --files-from=/dev/null
    return
  fi
  # 1: a file grew while it was read, as a journal does during a run; its last line may be torn, which a reader allows for.
  tar -czf "$root/collect.tgz" --exclude=./.lock -C "$1" . || (($? == 1))
}

case ${1:-} in
  install | start | work | state | log | stop | pack) "$@" ;;
  *) fail "unknown command ${1:-}; this file is called by launch/tpu_vm.sh." ;;
esac

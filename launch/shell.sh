# shellcheck shell=bash
# What the launch scripts share: quoting, printing commands, errors in one line. Sourced, not run.

# quote WORD...: the words for any POSIX shell, so that each arrives as it is. Not printf %q: its $'...' is bash's own, and a
# command in backslashes is one that nobody reads before it runs.
quote() {
  local word done_part separator=''
  for word; do
    printf '%s' "$separator"
    separator=' '
    if [[ -n $word && $word != *[!A-Za-z0-9_./:=@%+,-]* ]]; then
      printf '%s' "$word"
      continue
    fi
    done_part=''
    while [[ $word == *\'* ]]; do
      done_part+="${word%%\'*}'\\''"
      word=${word#*\'}
    done
    printf "'%s'" "$done_part$word"
  done
}

# call WORD...: prints the command and, unless this is a dry run, runs it.
call() {
  if [[ -n ${dry_run:-} ]]; then
    printf '%s\n' "$(quote "$@")"
  else
    printf '+ %s\n' "$(quote "$@")" >&2
    "$@"
  fi
}

is_number() {
  [[ $1 =~ ^(0|[1-9][0-9]{0,8})$ ]]
}

# note WORD...: one line on stderr, whatever was in a value that it repeats.
note() {
  printf '%s: %s\n' "${0##*/}" "$(printf '%s' "$*" | tr '[:cntrl:]' ' ')" >&2
}

# fail STATUS WORD...
fail() {
  note "${*:2}"
  exit "$1"
}

usage() {
  fail 2 "$*; see --help."
}

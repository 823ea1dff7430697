#!/bin/sh
# A session from the terminal, as the session tracking guide has it: joins a session (or
# makes one), prints each message as one JSON line, and sends each line that is typed or
# piped into it. It stays until Ctrl-C; at the end of a pipe, until all is answered.
#
#   tests/test_session.sh [--session-id ID] [any option of `companion-ws connect`]
#
# With nothing to read (</dev/null) it walks through the guide by itself: one connection
# makes (or joins) a session, sends an update and sets state; a second one joins it by
# id, sees the state, and is sent what it missed. Leaves with 0 when all is well.
#
# Needs a running server (companion-ws), and nothing else; COMPANION_WS names another
# program to use.
set -eu

session_id=""
if [ "${1:-}" = "--session-id" ]; then
    session_id="${2:?--session-id needs an id}"
    shift 2
fi

here=$(dirname "$0")/..
if [ -n "${COMPANION_WS:-}" ]; then
    companion="$COMPANION_WS"
elif [ -x "$here/.venv/bin/companion-ws" ]; then
    companion="$here/.venv/bin/companion-ws"
elif command -v companion-ws >/dev/null; then
    companion="companion-ws"
else
    companion="python3 $here/run.py"
fi

if [ -t 0 ] || [ -p /dev/stdin ] || [ -S /dev/stdin ] || [ -s /dev/stdin ]; then
    # shellcheck disable=SC2086 # COMPANION_WS may be a program and its arguments
    exec $companion connect ${session_id:+--session-id "$session_id"} "$@"
fi

say() { printf '\n== %s\n' "$1"; }
fail() { printf 'FAILED: %s\n' "$1" >&2; exit 1; }

# The value of a string field in the first line of a type; messages are compact JSON.
field() { printf '%s\n' "$1" | grep "\"type\":\"$2\"" | head -n 1 | sed -n "s/.*\"$3\":\"\([^\"]*\)\".*/\1/p"; }
has() { printf '%s\n' "$1" | grep -q -- "$2"; }

connect() { $companion connect "$@"; }

say "First connection: ${session_id:-a new session}"
first=$(
    printf '%s\n' \
        '{"type":"contextual_update","text":"quote_ready","data":{"carrier":"FedEx","service":"Ground","cost":12.99},"requestId":"first-1"}' \
        '{"type":"state_update","key":"selected_shipping_option","value":{"carrier":"FedEx"},"requestId":"first-2"}' |
        connect ${session_id:+--session-id "$session_id"} "$@"
) || fail "the first connection was refused"
printf '%s\n' "$first"

joined_id=$(field "$first" session_joined session_id)
[ -n "$joined_id" ] || fail "no session_joined came"
if [ -n "$session_id" ] && [ "$session_id" != "$joined_id" ]; then
    say "Session $session_id is not available; the server made $joined_id"
fi
has "$first" '"text":"quote_ready"' || fail "the update was not acknowledged"
has "$first" '"type":"state_updated"' || fail "the state was not acknowledged"

say "Second connection: joins $joined_id from the beginning"
second=$(printf '%s\n' '{"type":"ping"}' | connect --session-id "$joined_id" --after 0 "$@") ||
    fail "the second connection was refused"
printf '%s\n' "$second"

[ "$(field "$second" session_joined session_id)" = "$joined_id" ] || fail "it joined another session"
has "$second" '"selected_shipping_option"' || fail "the state is not shared"
has "$second" '"text":"quote_ready"' || fail "the update was not replayed"

say "All is well. Join this session yourself:"
printf '  %s connect --session-id %s\n' "companion-ws" "$joined_id"

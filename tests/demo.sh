#!/usr/bin/env bash
# The main job in one go: a mail with an attachment goes through a relay at home to its smarthost (a
# second relay here), which puts it into a Maildir. The smarthost starts late on purpose, so that the
# message is seen waiting in the queue.
set -euo pipefail
cd "$(dirname "$0")/.."
program=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)/debug/pillarbox
mkdir -p "${CARGO_TARGET_DIR:-target}/tmp"
folder=$(mktemp -d "$(cd "${CARGO_TARGET_DIR:-target}" && pwd)/tmp/demo.XXXXXX")
home='' smarthost=''
# Called by the trap: whatever happens, nothing is left running and nothing left behind.
finish() {
    local result=$?
    local pid
    for pid in $home $smarthost; do kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null; done
    if [ $result = 0 ]; then rm -rf "$folder"; else echo "demo: failed; see $folder" >&2; fi
    exit $result
}
trap finish EXIT

title() { printf '\n== %s\n' "$*"; }
run() {
    printf '$ %s\n' "$(sed "s|$folder/||g; s|$program|pillarbox|g" <<<"$*")"
    "$@"
}
# until COMMAND...: asks again, for 20 seconds at most.
until_true() {
    for _ in $(seq 200); do
        "$@" >/dev/null 2>&1 && return 0
        sleep 0.1
    done
    echo "demo: waited in vain for: $*" >&2
    return 1
}
# Below the ports that the system hands out by itself: no client's socket can have it meanwhile.
free_port() {
    local port
    while port=$((10000 + RANDOM % 10000)) && listens "$port"; do :; done
    echo "$port"
}
listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

home_port=$(free_port)
smarthost_port=$(free_port)
user=$(id -un)
cat >"$folder/home.toml" <<EOF
hostname = "home.test"
local_domains = ["home.test"]

[spool]
directory = "$folder/home-spool"
cells_size = "1MiB"

[[listen]]
address = "127.0.0.1:$home_port"

[[route]]
via = "smarthost"
hosts = ["127.0.0.1:$smarthost_port"]
tls = "none"

[run]
user = "$user"
control = "$folder/home.control"
submit = "$folder/home.submit"
EOF
cat >"$folder/smarthost.toml" <<EOF
hostname = "smarthost.test"
local_domains = ["example.test"]

[spool]
directory = "$folder/smarthost-spool"
cells_size = "1MiB"

[[listen]]
address = "127.0.0.1:$smarthost_port"

[[route]]
via = "maildir"
directory = "$folder/mail/{user}"
recipients = "any"

[run]
user = "$user"
control = "$folder/smarthost.control"
submit = "$folder/smarthost.submit"
EOF
cat >"$folder/mail.eml" <<EOF
From: Printer <printer@home.test>
To: Anna <anna@example.test>
Subject: Your scan
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="demo"

--demo
Content-Type: text/plain; charset=utf-8

The scan is attached.
--demo
Content-Type: application/octet-stream; name="scan.bin"
Content-Disposition: attachment; filename="scan.bin"
Content-Transfer-Encoding: base64

$(head -c 3000 "$program" | base64)
--demo--
EOF

title "The relay at home starts; its smarthost is not there yet"
run "$program" check -c "$folder/home.toml"
"$program" serve -c "$folder/home.toml" 2>"$folder/home.log" &
home=$!
until_true listens "$home_port"

title "A mail with an attachment is submitted"
run "$program" sendmail -c "$folder/home.toml" -t -i <"$folder/mail.eml"
until_true grep -q ' deferred ' "$folder/home.log"

title "It is safe, and waits"
run "$program" queue list -c "$folder/home.toml"

title "The smarthost starts, and the queue is tried again"
"$program" serve -c "$folder/smarthost.toml" 2>"$folder/smarthost.log" &
smarthost=$!
until_true listens "$smarthost_port"
run "$program" queue retry --all -c "$folder/home.toml"
until_true sh -c "ls '$folder'/mail/anna/new/*"

title "Delivered"
delivered=$(ls "$folder"/mail/anna/new/*)
sed -n '1,/^--demo/p' "$delivered"
echo "... $(wc -c <"$delivered") octets in mail/anna/new"

# Cutting the attachment out of the delivered file again shows that it came through whole.
sed -n '/base64/,/--demo--/p' "$delivered" | tr -d '\r' | sed '1,2d; $d' | base64 -d >"$folder/scan.bin"
head -c 3000 "$program" | cmp - "$folder/scan.bin"
echo "... the attachment is the same to the octet"

title "Both stop"
kill "$home" && wait "$home"
kill "$smarthost" && wait "$smarthost"
home='' smarthost=''
title "What the relay at home logged"
cat "$folder/home.log"
title "What the smarthost logged"
cat "$folder/smarthost.log"

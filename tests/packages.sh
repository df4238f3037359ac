#!/usr/bin/env bash
# Tries the packages and service files: what a board's owner installs. Needs packages that were built
# (`make deb BOARD=server`, `make ipk BOARD=openwrt-mt7621`) and the peers busybox and debian.
#
#   tests/packages.sh          with PILLARBOX_PEERS=required nothing may be skipped
set -euo pipefail
cd "$(dirname "$0")/.."
out=${CARGO_TARGET_DIR:-target}
peers=$out/peers
work=$(mktemp -d "$out/packages.XXXXXX")
work=$(cd "$work" && pwd)
program=$(cd "$out/boards/server" && pwd)/pillarbox
trap 'rm -rf "$work"' EXIT

say() { echo "packages: $*"; }
fail() {
    say "FAILED: $*" >&2
    exit 1
}
skip() {
    [ "${PILLARBOX_PEERS:-}" != required ] || fail "$* is missing and PILLARBOX_PEERS=required"
    say "SKIPPED: $* is missing"
}
has() { # TEXT WORD...: TEXT holds each
    local text=$1 word
    shift
    for word in "$@"; do
        grep -qF -- "$word" <<<"$text" || fail "no '$word' in: $text"
    done
}

# systemd judges the unit without running it: below 2.0 of 10.
unit() {
    command -v systemd-analyze >/dev/null || { skip systemd-analyze; return; }
    local said
    said=$(systemd-analyze security --no-pager --offline=true --threshold=19 boards/debian/pillarbox.service) ||
        fail "the unit is too open: $(tail -n 1 <<<"$said")"
    say "unit: $(tail -n 1 <<<"$said")"
}

# Every board's configuration is one that the relay takes (users and folders are the package's business).
configurations() {
    local file
    for file in boards/*/pillarbox.toml; do
        { sed '/^\[run\]/d; /^control/d; /^submit/d' "$file"; printf '\n[run]\nuser = ""\n'; } >"$work/board.toml"
        "$program" check -c "$work/board.toml" >"$work/said" 2>&1 || fail "$file: $(cat "$work/said")"
    done
    say "configurations: all boards'"
}

# The shell that OpenWrt has.
openwrt() {
    local ash=$peers/bin/ash file
    [ -x "$ash" ] || { skip "busybox ash"; return; }
    ash=$(cd "$peers/bin" && pwd)/ash
    for file in boards/openwrt/uci2toml boards/openwrt/pillarbox.init boards/openwrt/postinst boards/openwrt/prerm; do
        "$ash" -n "$file" || fail "$file is no script for ash"
    done
    for file in boards/openwrt-*/; do
        "$ash" boards/openwrt/uci2toml <"$file/pillarbox.uci" | cmp - "$file/pillarbox.toml" ||
            fail "$file/pillarbox.toml is not what its UCI file says"
    done
    "$ash" boards/openwrt/uci2toml <tests/packages/odd.uci | cmp - tests/packages/odd.toml ||
        fail "tests/packages/odd.uci is not turned into odd.toml"
    "$program" check -c tests/packages/odd.toml >"$work/said" 2>&1 || fail "odd.toml: $(cat "$work/said")"
    service "$ash"
    say "openwrt: UCI becomes TOML, the service starts by it"
}

# The init script, between stubs of what OpenWrt brings: procd's functions write down what they are told.
service() { # ASH
    local root=$work/openwrt said
    mkdir -p "$root"
    sed -e "s|/usr/lib/pillarbox/uci2toml|$1 boards/openwrt/uci2toml|; s|/usr/sbin/pillarbox check|$program check|" \
        -e "s|^MADE=.*|MADE=$root/etc/pillarbox.toml|" boards/openwrt/pillarbox.init >"$root/init"
    cat >"$root/stubs" <<'EOF'
config_load() { [ "$1" = pillarbox ]; }
value() { sed -n "s/^[[:space:]]*option $1 '\(.*\)'/\1/p" "$UCI"; }
config_get() { eval "$1=\$(value $3)"; }
config_get_bool() { eval "$1=\$(value $3)"; eval ": \${$1:=$4}"; }
uci() { cat "$UCI"; }
logger() { echo "log: $*"; }
procd_open_instance() { echo open; }
procd_set_param() { echo "param $*"; }
procd_close_instance() { echo close; }
procd_send_signal() { echo "signal $*"; }
EOF
    run() { (cd "$PWD" && UCI=$1 "$ash" -c ". $root/stubs; . $root/init; $2"); }
    local ash=$1
    # No user of that name stands on this machine.
    sed "s/^config run 'run'/&\n\toption user ''/" boards/openwrt/pillarbox.uci >"$root/good.uci"
    said=$(run "$root/good.uci" start_service) || fail "the service does not start: $said"
    has "$said" open "param command /usr/sbin/pillarbox serve -c $root/etc/pillarbox.toml" "param respawn" close
    cp "$root/etc/pillarbox.toml" "$root/before"
    sed "s/option sessions '12'/option sessions 'many'/" "$root/good.uci" >"$root/bad.uci"
    if said=$(run "$root/bad.uci" start_service); then fail "it starts with a mistake"; fi
    has "$said" "log: -t pillarbox -p mail.err /etc/config/pillarbox:" "pillarbox.toml.new:"
    cmp "$root/before" "$root/etc/pillarbox.toml" || fail "a mistake replaced what was good"
    if run "$root/bad.uci" reload_service >/dev/null; then fail "it reloads with a mistake"; fi
    has "$(run "$root/good.uci" reload_service)" "signal pillarbox * HUP"
    sed "s/option enabled '1'/option enabled '0'/" "$root/good.uci" >"$root/off.uci"
    [ -z "$(run "$root/off.uci" start_service)" ] || fail "it starts though it is disabled"
    printf "config pillarbox 'main'\n\toption config_file '/etc/own.toml'\n" >"$root/own.uci"
    has "$(run "$root/own.uci" start_service)" "param command /usr/sbin/pillarbox serve -c /etc/own.toml"
}

ipk() {
    local package said
    package=$(ls "$out"/boards/openwrt-mt7621/*.ipk 2>/dev/null | head -n 1 || :)
    [ -n "$package" ] || { skip "the ipk of openwrt-mt7621"; return; }
    mkdir -p "$work/ipk"
    tar -xzf "$package" -C "$work/ipk"
    [ "$(cat "$work/ipk/debian-binary")" = 2.0 ] || fail "$package is none"
    said=$(tar -xzOf "$work/ipk/control.tar.gz" ./control)
    has "$said" "Package: pillarbox" "Architecture: mipsel_24kc" "Require-User: pillarbox"
    said=$(tar -tzvf "$work/ipk/data.tar.gz")
    has "$said" ./usr/sbin/pillarbox ./etc/init.d/pillarbox ./etc/config/pillarbox ./usr/lib/pillarbox/uci2toml
    say "ipk: $(basename "$package"), $(stat -c %s "$package") octets"
}

# in_root COMMAND...: in the Debian root, in a network and with processes of its own.
in_root() {
    unshare --net --pid --fork --mount --kill-child chroot "$root" /bin/sh -c 'mount -t proc proc /proc && "$@"' sh "$@"
}

# debian_root: a fresh one as $root, with the package in it.
debian_root() {
    package=$(ls "$out"/boards/server/*.deb 2>/dev/null | head -n 1 || :)
    [ -n "$package" ] || { skip "the deb of server"; return 1; }
    [ "$(id -u)" = 0 ] || { skip "root, to install into a Debian root,"; return 1; }
    [ -e "$peers/debian-root/.complete-systemd" ] || { skip "a Debian root"; return 1; }
    root=$work/root
    rm -rf "$root"
    cp -a "$peers/debian-root" "$root"
    cp "$package" "$root/pillarbox.deb"
}

# Where no systemd runs, and none makes users.
deb() {
    local said
    debian_root || return 0
    rm "$root/bin/systemd-sysusers"
    in_root dpkg -i /pillarbox.deb >"$work/said" 2>&1 || fail "dpkg -i: $(cat "$work/said")"
    in_root id pillarbox >/dev/null || fail "there is no user"
    has "$(in_root readlink -f /usr/sbin/sendmail /usr/bin/mailq /usr/bin/newaliases)" /usr/sbin/pillarbox
    has "$(in_root stat -c %U:%a /var/spool/pillarbox)" pillarbox:700
    has "$(in_root dpkg-query -W -f '${Conffiles}' pillarbox)" /etc/pillarbox.toml
    has "$(ls "$root/etc/systemd/system/multi-user.target.wants")" pillarbox.service
    in_root pillarbox check || fail "the configuration of the package has mistakes"
    # Started as root in place of systemd; sendmail hands it a message for the postmaster.
    cp tests/packages/use.sh "$root/use.sh"
    said=$(in_root /bin/sh /use.sh) || fail "it does not run: $said"
    has "$said" "user=pillarbox" "Subject: from the package" "ended 0"
    # An update keeps what was changed in the configuration.
    echo '# mine' >>"$root/etc/pillarbox.toml"
    in_root dpkg -i /pillarbox.deb >"$work/said" 2>&1 || fail "update: $(cat "$work/said")"
    has "$(tail -n 1 "$root/etc/pillarbox.toml")" '# mine'
    in_root dpkg -r pillarbox >"$work/said" 2>&1 || fail "dpkg -r: $(cat "$work/said")"
    [ ! -e "$root/usr/sbin/pillarbox" ] && [ ! -L "$root/usr/sbin/sendmail" ] || fail "something is left"
    [ -e "$root/etc/pillarbox.toml" ] && [ -d "$root/var/spool/pillarbox" ] || fail "too much is gone"
    in_root dpkg -P pillarbox >"$work/said" 2>&1 || fail "dpkg -P: $(cat "$work/said")"
    [ ! -e "$root/etc/pillarbox.toml" ] && [ ! -e "$root/var/spool/pillarbox" ] || fail "a purge leaves something"
    [ -n "$(ls "$root/var/lib/pillarbox/mail")" ] || fail "a purge takes mailboxes"
    say "deb: installed, run, updated, removed, purged: $(basename "$package"), $(stat -c %s "$package") octets"
}

# Where one does: tests/packages/booted.sh says what is to be seen.
booted() {
    local status=0
    debian_root || return 0
    cp tests/packages/booted.sh "$root/"
    cp tests/packages/booted.service "$root/etc/systemd/system/"
    timeout -k 5 300 tests/packages/boot "$root" booted.service </dev/null >"$work/console" 2>&1 || status=$?
    if [ $status = 75 ]; then
        # No package brings what is missing here.
        say "SKIPPED: systemd is not booted: $(tail -n 1 "$work/console")"
        return
    fi
    [ $status = 0 ] || fail "under systemd ($status): $(cat "$work/console" "$root/said")"
    has "$(tail -n 1 "$root/said")" "- done"
    say "deb: under a booted systemd: $(grep -c '^- ' "$root/said") steps"
}

installed() {
    make -s install DESTDIR="$work/dest" PREFIX=/usr PROGRAM="$program" || fail "make install"
    has "$("$work/dest/usr/sbin/pillarbox" --version)" pillarbox
    for link in sbin/sendmail bin/mailq bin/newaliases; do
        [ "$(readlink -f "$work/dest/usr/$link")" = "$work/dest/usr/sbin/pillarbox" ] || fail "$link leads elsewhere"
    done
    say "make install: the program and its names"
}

tarball() {
    local package
    package=$(ls "$out"/boards/server/*.tar.gz 2>/dev/null | head -n 1 || :)
    [ -n "$package" ] || { skip "the tarball of server"; return; }
    has "$(tar -tzf "$package")" /pillarbox /pillarbox.toml /pillarbox.service /README.md
    say "tarball: $(basename "$package"), $(stat -c %s "$package") octets"
}

unit
configurations
openwrt
ipk
installed
tarball
deb
booted

#!/bin/sh
# Brings the real mail programs that the tests talk to, below target/peers. No root is needed and
# nothing is installed: Debian's packages are downloaded and unpacked, Python's go into a venv, and
# the Rust client is built in a package of its own. What is there already is left alone.
#
#   tests/support/peers.sh            every peer
#   tests/support/peers.sh swaks ...  only these
#
# Every peer becomes one program in target/peers/bin. What cannot be had is named aloud; with
# PILLARBOX_PEERS=required that is an error.
set -eu
cd "$(dirname "$0")/../.."
peers=${CARGO_TARGET_DIR:-target}/peers
mkdir -p "$peers/bin" "$peers/debian"
peers=$(cd "$peers" && pwd -P)
root=$peers/root
debian=$peers/debian
. tests/support/debian.sh
missing=

say() { echo "peers: $*" >&2; }

# unpack PACKAGE: it and the libraries and Perl parts it needs, below root. False if it cannot be had.
unpack() {
    [ ! -e "$root/.$1" ] || return 0
    debian_lists || return 1
    say "unpacking $1"
    debian_unpack "$1" "$root" || return 1
    for package in $(debian_missing '^(lib|perl)' "$1"); do
        # A virtual package has no file; what provides it is in the list as well.
        debian_unpack "$package" "$root" || :
    done
    touch "$root/.$1"
}

# wrap NAME COMMAND...: target/peers/bin/NAME runs COMMAND with the unpacked libraries.
wrap() {
    name=$1 && shift
    machine=$(gcc -print-multiarch 2>/dev/null || echo "$(uname -m)-linux-gnu")
    perl=$(find "$root/usr/share/perl" "$root/usr/lib/$machine/perl" "$root/usr/share/perl5" \
        "$root/usr/lib/$machine/perl5" -mindepth 0 -maxdepth 1 -type d 2>/dev/null | tr '\n' ':' || :)
    cat >"$peers/bin/$name.new" <<EOF
#!/bin/sh
LD_LIBRARY_PATH=$root/usr/lib/postfix:$root/usr/lib/dovecot:$root/usr/lib/$machine:$root/lib/$machine\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}
PERL5LIB=$perl
export LD_LIBRARY_PATH PERL5LIB
exec $* "\$@"
EOF
    chmod +x "$peers/bin/$name.new"
    mv "$peers/bin/$name.new" "$peers/bin/$name"
}

bring_postfix() {
    unpack postfix || return 1
    wrap smtp-source "$root/usr/sbin/smtp-source"
    wrap smtp-sink "$root/usr/sbin/smtp-sink"
}

# Dovecot looks for its modules where Debian installs them: here that is below its base_dir, by a path
# of the same length. It reads its configuration by doveconf, as its own first step does.
bring_dovecot() {
    for package in core imapd pop3d lmtpd; do
        unpack "dovecot-$package" || return 1
    done
    find "$root/usr/lib/dovecot" "$root/usr/bin/doveconf" -type f \
        -exec env LC_ALL=C sed -i 's#/usr/lib/dovecot/modules#modules/././././././././#g' {} +
    wrap dovecot "$root/usr/bin/doveconf" -c '"$1"' -e "$root/usr/sbin/dovecot" -F -c
}

# The shell of OpenWrt.
bring_busybox() {
    unpack busybox-static || return 1
    ln -sf "$root/bin/busybox" "$peers/bin/ash"
    "$peers/bin/ash" -c :
}

# A minimal Debian below a folder, to install packages into; its packages come from where this system's do.
bring_debian() {
    [ ! -e "$peers/debian-root/.complete-systemd" ] || return 0
    if [ "$(id -u)" != 0 ]; then
        say "a Debian root needs root"
        return 1
    fi
    unpack debootstrap || return 1
    place=$(apt-get indextargets --format '$(SITE) $(CODENAME) $(IDENTIFIER)' |
        awk '$3 == "Packages" && $2 !~ /-/ { print $1, $2; exit }')
    say "unpacking a minimal Debian ${place#* } into $peers/debian-root"
    rm -rf "$peers/debian-root"
    DEBOOTSTRAP_DIR=$root/usr/share/debootstrap "$root/usr/sbin/debootstrap" --variant=minbase \
        --include=init-system-helpers,systemd "${place#* }" "$peers/debian-root" "${place% *}" >"$peers/debootstrap.log" 2>&1 || {
        tail -n 5 "$peers/debootstrap.log" >&2
        return 1
    }
    touch "$peers/debian-root/.complete-systemd"
}

bring_swaks() {
    unpack swaks || return 1
    unpack libnet-ssleay-perl || return 1
    interpreter=perl
    command -v perl >/dev/null || interpreter=$root/usr/bin/perl
    wrap swaks "$interpreter" "$root/usr/bin/swaks"
    "$peers/bin/swaks" --version >/dev/null
}

bring_dnsmasq() {
    unpack dnsmasq-base || return 1
    wrap dnsmasq "$root/usr/sbin/dnsmasq"
    "$peers/bin/dnsmasq" --version >/dev/null
}

bring_unbound() {
    unpack unbound || return 1
    wrap unbound "$root/usr/sbin/unbound"
    "$peers/bin/unbound" -V >/dev/null
}

bring_curl() {
    if command -v curl >/dev/null && curl --version | grep -qw smtp; then
        ln -sf "$(command -v curl)" "$peers/bin/curl"
    else
        unpack curl || return 1
        wrap curl "$root/usr/bin/curl"
    fi
}

# It speaks SCRAM-SHA-256, by GNU SASL.
bring_msmtp() {
    unpack msmtp || return 1
    wrap msmtp "$root/usr/bin/msmtp"
    "$peers/bin/msmtp" --version >/dev/null
}

bring_python() {
    command -v python3 >/dev/null || return 1
    if [ ! -x "$peers/venv/bin/aiosmtpd" ]; then
        say "making a Python venv with aiosmtpd"
        python3 -m venv "$peers/venv" >&2 &&
            "$peers/venv/bin/pip" install -q --disable-pip-version-check aiosmtpd >&2 || return 1
    fi
    ln -sf "$(command -v python3)" "$peers/bin/python3"
    ln -sf "$peers/venv/bin/aiosmtpd" "$peers/bin/aiosmtpd"
}

# What Prometheus itself says of metrics: the parser of its Python client.
bring_prometheus() {
    bring_python || return 1
    "$peers/venv/bin/python3" -c 'import prometheus_client.parser' 2>/dev/null ||
        "$peers/venv/bin/python3" -m pip install -q --disable-pip-version-check prometheus-client >&2 || return 1
    printf '#!/bin/sh\nexec %s "$@"\n' "$peers/venv/bin/python3" >"$peers/bin/prometheus-python"
    chmod +x "$peers/bin/prometheus-python"
}

# The library alone: the tests preload it.
bring_faketime() {
    unpack libfaketime || return 1
    ln -sf "$(find "$root/usr/lib" -name libfaketime.so.1 | head -n 1)" "$peers/bin/libfaketime.so.1"
}

bring_snail() {
    unpack s-nail || return 1
    wrap s-nail "$root/usr/bin/s-nail"
    "$peers/bin/s-nail" -V >/dev/null
}

# Judges a server's TLS from outside.
bring_sslyze() {
    [ -x "$peers/venv/bin/python" ] || bring_python || return 1
    if [ ! -x "$peers/venv/bin/sslyze" ]; then
        say "adding sslyze to the Python venv"
        "$peers/venv/bin/pip" install -q --disable-pip-version-check sslyze >&2 || return 1
    fi
    ln -sf "$peers/venv/bin/sslyze" "$peers/bin/sslyze"
}

bring_lettre() {
    source=tests/peers/lettre
    if [ ! -x "$peers/lettre/debug/lettre-send" ] ||
        [ -n "$(find "$source" -newer "$peers/lettre/debug/lettre-send" -name '*.rs')" ]; then
        say "building the lettre client"
        CARGO_TARGET_DIR=$peers/lettre cargo build -q -j2 --manifest-path "$source/Cargo.toml" >&2 || return 1
        touch "$peers/lettre/debug/lettre-send"
    fi
    ln -sf "$peers/lettre/debug/lettre-send" "$peers/bin/lettre-send"
}

[ $# -gt 0 ] || set -- postfix swaks dnsmasq unbound curl msmtp snail python sslyze lettre dovecot prometheus faketime
for peer in "$@"; do
    "bring_$peer" || missing="$missing $peer"
done
[ -z "$missing" ] && exit 0
say "SKIPPED, cannot be had here:$missing. The tests that need them will say so."
[ "${PILLARBOX_PEERS:-}" != required ]

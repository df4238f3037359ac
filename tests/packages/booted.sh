# Run by tests/packages.sh as a service under a booted systemd, in a Debian root of its own: what a
# service manager that really runs shows of the package.
set -eu

fail() {
    echo "FAILED: $*"
    systemctl status --no-pager --lines=0 pillarbox
    journalctl --no-pager -n 30 -u pillarbox
    exit 1
}
await() { # COMMAND...: until it succeeds
    tries=0
    until "$@"; do
        tries=$((tries + 1))
        [ $tries -lt 300 ] || fail "waited in vain: $*"
        sleep 0.1
    done
}
fact() { systemctl show pillarbox --value -p "$1"; }
is() { # FACT VALUE
    [ "$(fact "$1")" = "$2" ] || fail "$1 is $(fact "$1"), not $2"
}
logged() { # PRIORITY TEXT: a line of at least this priority says so
    journalctl --sync
    journalctl --no-pager -o cat -u pillarbox -p "$1" | grep -qF -- "$2"
}
nobody() { setpriv --reuid=nobody --regid=nogroup --clear-groups "$@"; }
settings=/etc/systemd/system/pillarbox.service.d/test.conf
box=/var/lib/pillarbox/mail/postmaster/new

echo "- installing starts it"
dpkg -i /pillarbox.deb
systemd-analyze verify --man=no pillarbox.service || fail "systemd finds a mistake in the unit"
id pillarbox
is ActiveState active
is StatusText "Taking mail"
is UnitFileState enabled
main=$(fact MainPID)
status=$(grep -E '^(Uid|CapEff|CapPrm|NoNewPrivs|Seccomp):' "/proc/$main/status" | tr -s '\t\n' ' ')
user=$(id -u pillarbox)
[ "$status" = "Uid: $user $user $user $user CapPrm: 0000000000000000 CapEff: 0000000000000000 NoNewPrivs: 1 Seccomp: 2 " ] ||
    fail "it has more rights than it needs: $status"

echo "- anyone may send, its group may look"
printf 'Subject: from nobody\n\ntext\n' | nobody sendmail postmaster
await grep -qsr '^Subject: from nobody' "$box"
grep -qr "^Received: .*userid $(id -u nobody)" "$box" || fail "who sent it stands nowhere"
mailq >/dev/null
code=0
nobody mailq >/dev/null 2>&1 || code=$?
[ $code = 77 ] || fail "mailq of somebody else ended with $code"

echo "- the journal knows severities"
logged info "accepted from=<nobody@"
! logged warning accepted || fail "all is well, and it warns"
! logged debug "<6>" || fail "a severity stands in the text"

echo "- reload"
systemctl reload pillarbox
await logged info "/etc/pillarbox.toml read again"
cp /etc/pillarbox.toml /etc/good.toml
sed -i '1i nonsense = 1' /etc/pillarbox.toml
! systemctl reload pillarbox || fail "a mistake was reloaded"
is ActiveState active
is MainPID "$main"
logged err "/etc/pillarbox.toml:1:1:" || fail "the mistake is no error in the journal"

echo "- a restart with a mistake is not tried again and again"
! systemctl restart pillarbox || fail "it started with a mistake"
is ActiveState failed
is ExecMainStatus 78
is NRestarts 0

echo "- mailboxes of a group; a sign of life now and then"
usermod -aG mail pillarbox
{ sed '/^# hostname/d' /etc/good.toml; printf '[[route]]\nvia = "maildir"\ngroup = "mail"\nrecipients = "any"\n'; } >/etc/pillarbox.toml
mkdir -p "${settings%/*}"
printf '[Service]\nWatchdogSec=5\nRestartSec=0\n' >$settings
systemctl daemon-reload
systemctl start pillarbox
printf 'Subject: for a group\n\ntext\n' | nobody /usr/lib/sendmail "someone@$(hostname)"
await grep -qsr '^Subject: for a group' /var/lib/pillarbox/mail/someone/new
[ "$(stat -c %G /var/lib/pillarbox/mail/someone/new/*)" = mail ] || fail "the mailbox is not its group's"
sign=$(fact WatchdogTimestampMonotonic)
later() { [ "$(fact WatchdogTimestampMonotonic)" != "$sign" ]; }
await later
kill -STOP "$(fact MainPID)"
replaced() { [ "$(fact NRestarts)" != 0 ] && [ "$(fact ActiveState)" = active ]; }
await replaced
rm $settings
mv /etc/good.toml /etc/pillarbox.toml

echo "- stop leaves nothing in /run"
systemctl daemon-reload
systemctl restart pillarbox
systemctl stop pillarbox
is Result success
is ExecMainStatus 0
[ ! -e /run/pillarbox ] || fail "/run/pillarbox is left"

echo "- the socket of the example starts it"
sed -i 's/^address = .*/address = "0.0.0.0:25"/' /etc/pillarbox.toml
cp /usr/share/doc/pillarbox/examples/pillarbox.socket /etc/systemd/system/
systemctl enable --now pillarbox.socket
is ActiveState inactive
bash -c 'exec 3<>/dev/tcp/127.0.0.1/25; echo QUIT >&3; cat <&3' | grep '^220 '
is ActiveState active

echo "- an update restarts it"
main=$(fact MainPID)
dpkg -i --force-confold /pillarbox.deb
is ActiveState active
[ "$(fact MainPID)" != "$main" ] || fail "the old program still runs"

echo "- removed and purged"
systemctl disable --now pillarbox.socket
rm /etc/systemd/system/pillarbox.socket
dpkg -r pillarbox
is ActiveState inactive
is LoadState masked
dpkg -P pillarbox
is LoadState not-found
left=$(find / -xdev -name '*pillarbox*' ! -path '/pillarbox.deb' ! -path "${settings%/*}" ! -path '/var/lib/pillarbox*')
[ -z "$left" ] || fail "a purge leaves $left"
[ -n "$(ls "$box")" ] || fail "a purge takes mailboxes"
echo "- done"

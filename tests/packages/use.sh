# Run by tests/packages.sh inside a Debian root: starts the relay, submits a message, shows it.
ip link set lo up 2>/dev/null || :
pillarbox serve 2>/log &
relay=$!
tries=0
until [ -S /run/pillarbox/submit ]; do
    tries=$((tries + 1))
    [ $tries -lt 300 ] || { cat /log; exit 1; }
    sleep 0.1
done
# The folder of a process that leaves no core dumps belongs to root; its status does tell.
echo "user=$(id -nu "$(awk '/^Uid:/ { print $2 }' /proc/$relay/status)")"
printf 'Subject: from the package\n\ntext\n' | sendmail postmaster || { cat /log; exit 1; }
until cat /var/lib/pillarbox/mail/postmaster/new/* 2>/dev/null; do
    tries=$((tries + 1))
    [ $tries -lt 300 ] || { cat /log; exit 1; }
    sleep 0.1
done
mailq
kill -TERM $relay
wait $relay
echo "ended $?"

"""The two mail servers under test, each started by hand on a free loopback port, none installed."""

import os
import pathlib
import random
import signal
import socket
import subprocess
import time

TICKS = os.sysconf("SC_CLK_TCK")


def free_port():
    """Below the ports that the system hands out by itself: no client's socket can have it meanwhile."""
    while True:
        port = random.randrange(10000, 20000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass


def wait_greeting(port, process):
    for _ in range(600):
        if process.poll() is not None:
            raise SystemExit(f"bench: a server ended with {process.returncode}")
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as peer:
                if peer.recv(512).startswith(b"220"):
                    peer.sendall(b"QUIT\r\n")
                    return
        except OSError:
            pass
        time.sleep(0.05)
    raise SystemExit("bench: a server does not greet")


def stat_of(pid):
    """Parent, own CPU seconds and those of ended children, of a process."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[1]), sum(map(int, fields[11:13])) / TICKS, sum(map(int, fields[13:15])) / TICKS


def cpu_of_tree(root):
    """CPU seconds of a process, its living descendants, and those that have ended."""
    stats = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stats[int(entry.name)] = stat_of(entry.name)
            except (FileNotFoundError, ProcessLookupError):
                pass
    tree, grown = {root}, True
    while grown:
        more = {pid for pid, (parent, _, _) in stats.items() if parent in tree and pid not in tree}
        tree |= more
        grown = bool(more)
    return sum(stats[pid][1] + stats[pid][2] for pid in tree if pid in stats)


class Server:
    def __init__(self, command, environment=None):
        log = open(self.folder / "log", "wb")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                        env=environment, start_new_session=True)
        wait_greeting(self.port, self.process)

    def cpu_s(self):
        return cpu_of_tree(self.process.pid)

    def resident_kib(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))

    def close(self):
        """Ends the server and all it started, so that the disk under it can be unmounted."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            pass
        for _ in range(200):
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                break
            time.sleep(0.05)
        self.process.wait()


class Pillarbox(Server):
    """Every message stays in the queue: its smarthost answers nothing and is asked once an hour."""

    name = "pillarbox"

    def __init__(self, program, folder, route=None, sessions=128, small=False, more=""):
        self.folder, self.port = folder, free_port()
        folder.mkdir(parents=True, exist_ok=True)
        route = route or f'via = "smarthost"\nhosts = ["127.0.0.1:{free_port()}"]\ntls = "none"'
        user = "root" if os.geteuid() == 0 else os.environ.get("USER", "nobody")
        config = folder / "pillarbox.toml"
        # What is measured for memory has the defaults, what is measured for speed must never be full.
        sizes = "" if small else 'max_size = "128MiB"\nmax_messages = 20000\ncells_size = "64MiB"'
        config.write_text(f"""
hostname = "bench.test"
[spool]
directory = "{folder}/spool"
{sizes}
[[listen]]
address = "127.0.0.1:{self.port}"
[limits]
sessions = {sessions}
sessions_per_client = {sessions}
[queue]
retry = ["1h"]
[[route]]
{route}
[run]
user = "{user}"
control = "{folder}/control"
submit = "{folder}/submit"
{more}
""")
        super().__init__([program, "serve", "-c", config])


class Postfix(Server):
    """Unpacked, not installed, with users that every Debian has. Every message stays in the queue."""

    name = "Postfix"

    def __init__(self, root, folder):
        self.folder, self.port = folder, free_port()
        queue, config, data = folder / "queue", folder / "config", folder / "data"
        # Postfix's own processes go through here as another user.
        for path in (folder, queue, config, data):
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(0o755)
        for name in ("incoming active bounce corrupt defer deferred flush saved trace hold private "
                     "public maildrop").split():
            (queue / name).mkdir(exist_ok=True)
            subprocess.run(["chown", "mail", queue / name], check=True)
        (queue / "pid").mkdir(exist_ok=True)
        subprocess.run(["chown", "mail", data], check=True)
        (config / "main.cf").write_text(f"""
compatibility_level = 3.6
queue_directory = {queue}
data_directory = {data}
daemon_directory = {root}/usr/lib/postfix/sbin
command_directory = {root}/usr/sbin
shlib_directory = {root}/usr/lib/postfix
meta_directory = {config}
mail_owner = mail
setgid_group = uucp
myhostname = bench.test
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtpd_relay_restrictions = permit_mynetworks, reject
local_recipient_maps =
alias_maps =
alias_database =
# Accepting is measured: every message stays in the queue, and nothing slows its coming in.
defer_transports = smtp
in_flow_delay = 0
smtpd_client_connection_count_limit = 0
maillog_file = /dev/stdout
maillog_file_prefixes = /dev
import_environment = MAIL_CONFIG MAIL_DEBUG MAIL_LOGTAG TZ LANG=C POSTLOG_SERVICE POSTLOG_HOSTNAME LD_LIBRARY_PATH
export_environment = TZ LANG=C LD_LIBRARY_PATH
""")
        (config / "master.cf").write_text(f"""
127.0.0.1:{self.port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
proxymap unix - - n - - proxymap
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
""")
        libraries = f"{root}/usr/lib/postfix:{root}/usr/lib/{os.uname().machine}-linux-gnu"
        environment = {**os.environ, "MAIL_CONFIG": str(config), "LD_LIBRARY_PATH": libraries}
        super().__init__([f"{root}/usr/lib/postfix/sbin/master", "-c", config, "-d"], environment)

"""Where the spools of a run lie: a folder of this machine, or a disk whose flush takes 10 ms."""

import pathlib
import subprocess
import time

FLUSH_MS = 10
DISK_MIB = 1024


def sh(*words, **more):
    return subprocess.run([str(word) for word in words], check=True, stdout=subprocess.PIPE, text=True, **more).stdout


class Folder:
    """A plain folder: whatever disk this machine has."""

    name = "this machine's disk"

    def __init__(self, path):
        self.path = path
        path.mkdir(parents=True, exist_ok=True)

    def flushes(self):
        """Flushes of the block device so far (Linux 5.5 and later); none if it cannot be told."""
        device = self.path.stat().st_dev
        major, minor = str(device >> 8 & 0xFFF), str(device & 0xFF)
        for line in pathlib.Path("/proc/diskstats").read_text().splitlines():
            fields = line.split()
            if fields[:2] == [major, minor] and len(fields) > 18:
                return int(fields[18])
        return None

    def close(self):
        sh("rm", "-rf", self.path)


class SlowDisk:
    """ext4 in a loop device on the file of `slow_disk`. Needs root, /dev/fuse and a free loop."""

    name = f"ext4, a flush takes {FLUSH_MS} ms"

    def __init__(self, program, folder):
        self.under, self.path = folder / "under", folder / "mounted"
        self.loop = None
        self.mounted = False
        for path in (self.under, self.path):
            path.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen([str(program), str(self.under), str(DISK_MIB), str(FLUSH_MS)],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            for _ in range(100):
                if (self.under / "disk").exists():
                    break
                time.sleep(0.05)
            self.loop = sh("losetup", "--find", "--show", self.under / "disk").strip()
            # Initialised now: ext4 must not do it later, in the middle of a measurement.
            sh("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", self.loop)
            sh("mount", "-o", "noatime", self.loop, self.path)
            self.mounted = True
        except BaseException:
            self.close()
            raise

    def flushes(self):
        return int((self.under / "flushes").read_text())

    def close(self):
        try:
            if self.mounted:
                sh("umount", self.path)
            if self.loop:
                sh("losetup", "--detach", self.loop)
        finally:
            # Lazily: the loop lets go of its file a moment after it was detached.
            subprocess.run(["umount", "--lazy", str(self.under)], check=False)
            self.process.terminate()
            self.process.wait()

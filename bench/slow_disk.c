/*
 * A disk of a known speed: a file system with the file "disk", kept in memory, whose flush takes
 * exactly as long as it is told. An ext4 image in a loop device on it stands for an SD card, and
 * makes runs on different machines comparable. "flushes" is a file too: how many there were.
 *
 *     slow_disk MOUNTPOINT MEBIBYTES MILLISECONDS
 */
#define FUSE_USE_VERSION 31
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

static char *disk;
static off_t disk_octets;
static long flush_ns;
static atomic_ulong flushes;

static int slow_getattr(const char *path, struct stat *found, struct fuse_file_info *file) {
    (void)file;
    memset(found, 0, sizeof *found);
    if (strcmp(path, "/") == 0) {
        found->st_mode = S_IFDIR | 0700;
        found->st_nlink = 2;
    } else if (strcmp(path, "/disk") == 0) {
        found->st_mode = S_IFREG | 0600;
        found->st_nlink = 1;
        found->st_size = disk_octets;
    } else if (strcmp(path, "/flushes") == 0) {
        found->st_mode = S_IFREG | 0400;
        found->st_nlink = 1;
        found->st_size = 32;
    } else {
        return -ENOENT;
    }
    return 0;
}

static int slow_open(const char *path, struct fuse_file_info *file) {
    /* The count changes by itself: it must not come from the page cache. */
    file->direct_io = strcmp(path, "/flushes") == 0;
    return 0;
}

static int slow_read(const char *path, char *into, size_t octets, off_t at, struct fuse_file_info *file) {
    char count[32] = {0};
    const char *from = disk;
    off_t end = disk_octets;
    (void)file;
    if (strcmp(path, "/flushes") == 0) {
        end = snprintf(count, sizeof count, "%lu\n", atomic_load(&flushes));
        from = count;
    }
    if (at >= end) return 0;
    if ((off_t)octets > end - at) octets = end - at;
    memcpy(into, from + at, octets);
    return octets;
}

static int slow_write(const char *path, const char *from, size_t octets, off_t at, struct fuse_file_info *file) {
    (void)path;
    (void)file;
    if (at < 0 || at > disk_octets || (off_t)octets > disk_octets - at) return -ENOSPC;
    memcpy(disk + at, from, octets);
    return octets;
}

static int slow_fsync(const char *path, int only_data, struct fuse_file_info *file) {
    struct timespec until;
    (void)path;
    (void)only_data;
    (void)file;
    clock_gettime(CLOCK_MONOTONIC, &until);
    atomic_fetch_add(&flushes, 1);
    until.tv_nsec += flush_ns;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR) {}
    return 0;
}

static const struct fuse_operations operations = {
    .getattr = slow_getattr, .open = slow_open, .read = slow_read, .write = slow_write, .fsync = slow_fsync,
};

int main(int count, char **words) {
    char *arguments[] = {words[0], "-f", words[1], NULL};
    if (count != 4) {
        fprintf(stderr, "usage: slow_disk MOUNTPOINT MEBIBYTES MILLISECONDS\n");
        return 64;
    }
    disk_octets = atol(words[2]) << 20;
    flush_ns = atol(words[3]) * 1000000;
    disk = mmap(NULL, disk_octets, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (disk == MAP_FAILED) {
        perror("slow_disk");
        return 71;
    }
    return fuse_main(3, arguments, &operations, NULL);
}

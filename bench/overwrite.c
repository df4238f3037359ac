/*
 * The bare loop: what the disk allows. Overwrites a pre-written file, one block a message, and syncs
 * it after every BATCH messages; prints messages a second.
 *
 *     overwrite FILE MESSAGES BATCH
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 4096, BLOCKS = 2048 };

static double now_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

int main(int count, char **words) {
    static char block[BLOCK];
    if (count != 4) {
        fprintf(stderr, "usage: overwrite FILE MESSAGES BATCH\n");
        return 64;
    }
    long messages = atol(words[2]), batch = atol(words[3]);
    int file = open(words[1], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0) goto failed;
    memset(block, 'x', sizeof block);
    for (long at = 0; at < BLOCKS; at++)
        if (pwrite(file, block, BLOCK, at * BLOCK) != BLOCK) goto failed;
    if (fsync(file) != 0) goto failed;
    double start = now_s();
    for (long done = 0; done < messages; done++) {
        memset(block, 'a' + done % 26, sizeof block);
        if (pwrite(file, block, BLOCK, done % BLOCKS * BLOCK) != BLOCK) goto failed;
        if ((done + 1) % batch == 0 && fdatasync(file) != 0) goto failed;
    }
    if (fdatasync(file) != 0) goto failed;
    printf("%.1f\n", messages / (now_s() - start));
    return 0;
failed:
    perror("overwrite");
    return 74;
}

/* Loaded before libc: the files below one directory are on a disk of which a file says what is wrong.
   The file holds the numbers below. Calls on other files pass. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { FULL, ROOM, READ_ONLY, SYNC_FAILS, SYNC_MS, MET, NUMBERS };

static volatile int64_t nothing[NUMBERS];
static volatile int64_t *told = nothing;
static char dir[2 * PATH_MAX];

__attribute__((constructor)) static void open_disk(void) {
    const char *path = getenv("FAULTS_DISK"), *below = getenv("FAULTS_DISK_DIR");
    char here[PATH_MAX];
    int file = path && below && getcwd(here, sizeof here) ? open(path, O_RDWR) : -1;
    if (file < 0) return;
    snprintf(dir, sizeof dir, "%s/%s", here, below);
    void *map = mmap(NULL, sizeof nothing, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (map != MAP_FAILED) told = map;
    close(file);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int is_below(const char *path) {
    size_t length = strlen(dir);
    return length && !strncmp(path, dir, length) && (path[length] == '/' || !path[length]);
}

static int is_on_disk(int file) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return is_below(path);
}

static void met(void) { __sync_add_and_fetch(&told[MET], 1); }

static int fails(int why) {
    met();
    errno = why;
    return -1;
}

/* How much of a write the disk takes; -1 where it fails. */
static ssize_t taken(int file, size_t count) {
    if (!(told[FULL] || told[READ_ONLY]) || !is_on_disk(file)) return (ssize_t)count;
    if (told[READ_ONLY]) return fails(EROFS);
    int64_t left = __sync_sub_and_fetch(&told[ROOM], (int64_t)count);
    if (left >= 0) return (ssize_t)count;
    if (left + (int64_t)count <= 0) return fails(ENOSPC);
    met();
    return (ssize_t)(left + (int64_t)count);
}

ssize_t write(int file, const void *bytes, size_t count) {
    ssize_t fits = taken(file, count);
    return fits < 0 ? -1 : REAL(write)(file, bytes, (size_t)fits);
}

ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t at) {
    ssize_t fits = taken(file, count);
    return fits < 0 ? -1 : REAL(pwrite64)(file, bytes, (size_t)fits, at);
}

ssize_t writev(int file, const struct iovec *parts, int count) {
    size_t all = 0;
    for (int part = 0; part < count; part++) all += parts[part].iov_len;
    ssize_t fits = taken(file, all);
    if (fits == (ssize_t)all) return REAL(writev)(file, parts, count);
    if (fits < 0) return -1;
    size_t first = parts[0].iov_len < (size_t)fits ? parts[0].iov_len : (size_t)fits;
    return REAL(write)(file, parts[0].iov_base, first);
}

int ftruncate64(int file, off64_t length) {
    if (told[READ_ONLY] && is_on_disk(file)) return fails(EROFS);
    return REAL(ftruncate64)(file, length);
}

int ftruncate(int file, off_t length) { return ftruncate64(file, length); }

static int opened(const char *path, int how, mode_t mode) {
    char whole[2 * PATH_MAX] = "";
    if (path[0] != '/' && getcwd(whole, PATH_MAX)) strcat(whole, "/");
    if (strlen(path) < PATH_MAX) strcat(whole, path);
    int writes = (how & O_ACCMODE) != O_RDONLY || how & O_CREAT;
    if (told[READ_ONLY] && writes && is_below(whole)) return fails(EROFS);
    return REAL(open64)(path, how, mode);
}

#define OPENS(name)                                         \
    int name(const char *path, int how, ...) {              \
        va_list more;                                       \
        va_start(more, how);                                \
        mode_t mode = how & O_CREAT ? va_arg(more, mode_t) : 0; \
        va_end(more);                                       \
        return opened(path, how, mode);                     \
    }

OPENS(open)
OPENS(open64)

static int synced(int file) {
    if (!(told[SYNC_FAILS] || told[SYNC_MS]) || !is_on_disk(file)) return 0;
    if (told[SYNC_FAILS]) return fails(EIO);
    met();
    const struct timespec step = {0, 5 * 1000 * 1000};
    for (int64_t waited = 0; waited < told[SYNC_MS]; waited += 5) nanosleep(&step, NULL);
    return 0;
}

int fsync(int file) { return synced(file) ? -1 : REAL(fsync)(file); }

int fdatasync(int file) { return synced(file) ? -1 : REAL(fdatasync)(file); }

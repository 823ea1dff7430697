/* Steps the clocks, and refuses, holds or ends in the middle system calls on one folder's files, as a
 * script wishes.
 *
 * HOSTILE_CONTROL names a file of 64-bit slots, mapped by both sides; HOSTILE_FOLDER the folder.
 * Source of the slots: hostile.py. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

enum { REALTIME_NS, BOOTTIME_NS, KINDS, ERRNO, LET_THROUGH, REFUSE, HOLD, SEEN, REFUSED, HELD };
enum { OPEN = 1, READ = 2, WRITE = 4, SYNC = 8, TRUNCATE = 16, MODE = 32, REMOVE = 64,
       LOCK = 128, MAP = 256, ALLOCATE = 512, STAT = 1024, ACCEPT = 2048 };

static volatile int64_t *slots;
static const char *folder;
static size_t folder_length;

__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("HOSTILE_CONTROL");
    folder = getenv("HOSTILE_FOLDER");
    if (name == NULL || folder == NULL) return;
    folder_length = strlen(folder);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, name, O_RDWR | O_CLOEXEC, 0);
    if (fd < 0) return;
    void *got = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (got != MAP_FAILED) slots = got;
    close(fd);
}

enum { KILL = -1, KILL_HALF_WAY = -2 };
/* In place of an errno: the process dies instead of the call, or when half of a write is done. */

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* Whether this call is to fail; errno is set then. */
static int is_refused(int64_t kind) {
    if (slots == NULL) return 0;
    if (slots[HOLD] & kind) {
        __sync_fetch_and_add(&slots[HELD], 1);
        while (slots[HOLD] & kind) usleep(1000);
        __sync_fetch_and_sub(&slots[HELD], 1);
    }
    if (!(slots[KINDS] & kind)) return 0;
    __sync_fetch_and_add(&slots[SEEN], 1);
    if (__sync_fetch_and_sub(&slots[LET_THROUGH], 1) > 0) return 0;
    if (__sync_fetch_and_sub(&slots[REFUSE], 1) <= 0) return 0;
    __sync_fetch_and_add(&slots[REFUSED], 1);
    errno = (int)slots[ERRNO];
    if (errno == KILL || (errno == KILL_HALF_WAY && kind != WRITE)) die();
    return 1;
}

static int is_ours(const char *path) {
    return slots != NULL && path != NULL && strncmp(path, folder, folder_length) == 0;
}

static int is_fd_ours(int fd) {
    char link[64], path[4096];
    if (slots == NULL || !((slots[KINDS] | slots[HOLD]) & ~ACCEPT)) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t got = readlink(link, path, sizeof path - 1);
    if (got <= 0) return 0;
    path[got] = 0;
    return is_ours(path);
}

#define REAL(name, type, ...) static type (*real)(__VA_ARGS__); if (!real) real = dlsym(RTLD_NEXT, #name)

int clock_gettime(clockid_t id, struct timespec *at) {
    REAL(clock_gettime, int, clockid_t, struct timespec *);
    int result = real(id, at);
    int64_t step = 0;
    if (slots != NULL && id == CLOCK_REALTIME) step = slots[REALTIME_NS];
    if (slots != NULL && id == CLOCK_BOOTTIME) step = slots[BOOTTIME_NS];
    if (result == 0 && step != 0) {
        int64_t ns = (int64_t)at->tv_sec * 1000000000 + at->tv_nsec + step;
        at->tv_sec = ns / 1000000000;
        at->tv_nsec = ns % 1000000000;
    }
    return result;
}

#define OPENS(name)                                                         \
    int name(const char *path, int flags, ...) {                            \
        REAL(name, int, const char *, int, ...);                            \
        va_list more;                                                       \
        va_start(more, flags);                                              \
        int mode = va_arg(more, int);                                       \
        va_end(more);                                                       \
        if (is_ours(path) && is_refused(OPEN)) return -1;                   \
        return real(path, flags, mode);                                     \
    }
OPENS(open)
OPENS(open64)

#define ON_FD(type, name, kind, arguments, values)                          \
    type name arguments {                                                   \
        static type(*real) arguments;                                       \
        if (!real) real = dlsym(RTLD_NEXT, #name);                          \
        if (is_fd_ours(fd) && is_refused(kind)) return -1;                  \
        return real values;                                                 \
    }
ON_FD(ssize_t, pread, READ, (int fd, void *to, size_t n, off_t at), (fd, to, n, at))
ON_FD(ssize_t, pread64, READ, (int fd, void *to, size_t n, off64_t at), (fd, to, n, at))
ON_FD(ssize_t, read, READ, (int fd, void *to, size_t n), (fd, to, n))
#define WRITES(name, arguments, values, half)                               \
    ssize_t name arguments {                                                \
        static ssize_t(*real) arguments;                                    \
        if (!real) real = dlsym(RTLD_NEXT, #name);                          \
        if (is_fd_ours(fd) && is_refused(WRITE)) {                          \
            if (errno != KILL_HALF_WAY) return -1;                          \
            real half;                                                      \
            die();                                                          \
        }                                                                   \
        return real values;                                                 \
    }
WRITES(pwrite, (int fd, const void *from, size_t n, off_t at), (fd, from, n, at), (fd, from, n / 2, at))
WRITES(pwrite64, (int fd, const void *from, size_t n, off64_t at), (fd, from, n, at), (fd, from, n / 2, at))
WRITES(write, (int fd, const void *from, size_t n), (fd, from, n), (fd, from, n / 2))
ON_FD(int, fsync, SYNC, (int fd), (fd))
ON_FD(int, fdatasync, SYNC, (int fd), (fd))
ON_FD(int, ftruncate, TRUNCATE, (int fd, off_t size), (fd, size))
ON_FD(int, ftruncate64, TRUNCATE, (int fd, off64_t size), (fd, size))
ON_FD(int, fchmod, MODE, (int fd, mode_t mode), (fd, mode))
ON_FD(int, fallocate, ALLOCATE, (int fd, int mode, off_t at, off_t size), (fd, mode, at, size))

#define ON_PATH(name, kind, arguments, values)                              \
    int name arguments {                                                    \
        static int(*real) arguments;                                        \
        if (!real) real = dlsym(RTLD_NEXT, #name);                          \
        if (is_ours(path) && is_refused(kind)) return -1;                   \
        return real values;                                                 \
    }
ON_PATH(chmod, MODE, (const char *path, mode_t mode), (path, mode))
ON_PATH(unlink, REMOVE, (const char *path), (path))
ON_PATH(rename, REMOVE, (const char *path, const char *to), (path, to))
ON_PATH(mkdir, OPEN, (const char *path, mode_t mode), (path, mode))
ON_PATH(stat, STAT, (const char *path, struct stat *to), (path, to))
ON_PATH(stat64, STAT, (const char *path, struct stat64 *to), (path, to))
ON_PATH(lstat, STAT, (const char *path, struct stat *to), (path, to))
ON_PATH(lstat64, STAT, (const char *path, struct stat64 *to), (path, to))

void *mmap64(void *at, size_t n, int how, int flags, int fd, off64_t offset) {
    REAL(mmap64, void *, void *, size_t, int, int, int, off64_t);
    if (fd >= 0 && is_fd_ours(fd) && is_refused(MAP)) return MAP_FAILED;
    return real(at, n, how, flags, fd, offset);
}

#define LOCKS(name)                                                         \
    int name(int fd, int command, ...) {                                    \
        REAL(name, int, int, int, ...);                                     \
        va_list more;                                                       \
        va_start(more, command);                                            \
        void *value = va_arg(more, void *);                                 \
        va_end(more);                                                       \
        if (command == F_SETLK && is_fd_ours(fd) && is_refused(LOCK)) return -1; \
        return real(fd, command, value);                                    \
    }
LOCKS(fcntl)
LOCKS(fcntl64)

int accept4(int fd, struct sockaddr *from, socklen_t *size, int flags) {
    REAL(accept4, int, int, struct sockaddr *, socklen_t *, int);
    if (is_refused(ACCEPT)) return -1;
    return real(fd, from, size, flags);
}

/* Stands between a program and its disk and clock (LD_PRELOAD), for the tests of spool and sink. Only files below
 * FAULT_FOLDER count.
 *
 * FAULT_AT=n    the n-th write, sync, truncation, rename, link or removal fails, once
 * FAULT_ERRNO=e with this errno
 * FAULT_LOG=f   every operation is written to f, so that what was synced can be told from what was not:
 *                 C path, W path offset length + bytes, T path length, S path, R from to, U path,
 *                 P length + bytes: what the program printed, so that it is known what it had said by then
 * FAULT_CONTROL=f  f is a `struct control`, which the test may change while the program runs
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define REAL(type, name, ...)                                        \
    static type (*real)(__VA_ARGS__);                                \
    if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

static long operations;
static int log_fd = -2;

/* What a test asks for; each number is eight bytes in the machine's order. */
struct control {
    int64_t clock;  /* seconds that the wall clock is ahead */
    int64_t fault;  /* one of the below */
    int64_t at;     /* at which operation, counted from 1 */
    int64_t error;  /* errno, for ONCE and ON */
    int64_t count;  /* operations so far; set to 0 by the test when it asks for another fault */
    int64_t met;    /* 1 once the fault was met */
};
enum { NOTHING, ONCE, ON, KILL, KILL_TORN };

static struct control nobody;

static struct control *control(void) {
    static struct control *control;
    if (control) return control;
    const char *path = getenv("FAULT_CONTROL");
    int (*really_open)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open64");
    int fd = path ? really_open(path, O_RDWR | O_CLOEXEC) : -1;
    void *map = fd >= 0 ? mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
    if (fd >= 0) close(fd);
    if (path && map == MAP_FAILED) _exit(97);
    return control = path ? map : &nobody;
}

static const char *folder(void) {
    const char *folder = getenv("FAULT_FOLDER");
    return folder ? folder : "/nowhere";
}

/* The path of fd if it lies below the folder, relative to it; "." for the folder itself. */
static const char *name_of(int fd, char *buffer, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, buffer, size - 1);
    if (length <= 0) return NULL;
    buffer[length] = 0;
    size_t prefix = strlen(folder());
    if (strncmp(buffer, folder(), prefix) != 0) return NULL;
    if (buffer[prefix] == 0) return ".";
    return buffer[prefix] == '/' ? buffer + prefix + 1 : NULL;
}

static const char *name_at(const char *path) {
    size_t prefix = strlen(folder());
    return strncmp(path, folder(), prefix) == 0 && path[prefix] == '/' ? path + prefix + 1 : NULL;
}

/* The shared memory of SQLite is rebuilt after a loss of power and never synced. */
static int counts(const char *name) {
    size_t length = name ? strlen(name) : 0;
    return name && !(length > 4 && strcmp(name + length - 4, "-shm") == 0);
}

/* Kinds of operations: a full disk refuses what needs more room, and nothing else. */
enum kind { GROWS, CHANGES, SYNCS };

static int fails(enum kind kind, int *torn) {
    struct control *wanted = control();
    if (wanted != &nobody) {
        int64_t count = __atomic_add_fetch(&wanted->count, 1, __ATOMIC_SEQ_CST);
        int64_t fault = __atomic_load_n(&wanted->fault, __ATOMIC_SEQ_CST);
        if (fault == NOTHING || (fault == ON ? count < wanted->at : count != wanted->at)) return 0;
        if (fault == ON && wanted->error == ENOSPC && kind != GROWS) return 0;
        __atomic_store_n(&wanted->met, 1, __ATOMIC_SEQ_CST);
        if (fault == KILL_TORN && torn) {
            *torn = 1;
            return 0;
        }
        if (fault == KILL || fault == KILL_TORN) {
            kill(getpid(), SIGKILL);
            for (;;) pause();
        }
        errno = (int)wanted->error;
        return 1;
    }
    const char *at = getenv("FAULT_AT"), *code = getenv("FAULT_ERRNO");
    if (++operations != (at ? atol(at) : -1)) return 0;
    int error = code ? atoi(code) : EIO;
    /* Says to the parent that the fault was met. */
    dprintf(2, "fault at operation %ld\n", operations);
    errno = error;
    return 1;
}

/* Whether the disk is read-only by now, so that not even opening a file to write it works. */
static int closed_to_writers(void) {
    struct control *wanted = control();
    return wanted != &nobody && __atomic_load_n(&wanted->fault, __ATOMIC_SEQ_CST) == ON && wanted->error == EROFS &&
           __atomic_load_n(&wanted->count, __ATOMIC_SEQ_CST) + 1 >= wanted->at;
}

/* The shared memory of SQLite needs room, too; only a disk that stays full or closed is asked about it. */
static int no_room_for_shared_memory(const char *name) {
    struct control *wanted = control();
    return name && wanted != &nobody && __atomic_load_n(&wanted->fault, __ATOMIC_SEQ_CST) == ON &&
           __atomic_load_n(&wanted->count, __ATOMIC_SEQ_CST) + 1 >= wanted->at;
}

static ssize_t (*real_write)(int, const void *, size_t);

static void note(const char *text, const void *bytes, size_t length) {
    if (log_fd == -2) {
        const char *path = getenv("FAULT_LOG");
        log_fd = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    }
    if (log_fd < 0) return;
    if (!real_write) real_write = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    int kept = errno;
    if (real_write(log_fd, text, strlen(text)) < 0 || (length && real_write(log_fd, bytes, length) < 0)) _exit(98);
    errno = kept;
}

/* Ends the process in the middle of a write. */
static void tear(ssize_t written) {
    (void)written;
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

#define NOTE(bytes, length, ...)                      \
    do {                                              \
        char text[9000];                              \
        snprintf(text, sizeof text, __VA_ARGS__);     \
        note(text, bytes, length);                    \
    } while (0)

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
    REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t);
    char buffer[4096];
    const char *name = name_of(fd, buffer, sizeof buffer);
    if (!counts(name) && no_room_for_shared_memory(name)) {
        errno = (int)control()->error;
        return -1;
    }
    if (!counts(name)) return real(fd, bytes, length, offset);
    struct stat status;
    int grows = fstat(fd, &status) != 0 || offset + (off64_t)length > status.st_size, torn = 0;
    if (fails(grows ? GROWS : CHANGES, &torn)) return -1;
    if (torn) tear(real(fd, bytes, length / 2, offset));
    ssize_t written = real(fd, bytes, length, offset);
    if (written > 0) NOTE(bytes, (size_t)written, "W %s %lld %zd\n", name, (long long)offset, written);
    return written;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) { return pwrite64(fd, bytes, length, offset); }

ssize_t write(int fd, const void *bytes, size_t length) {
    if (!real_write) real_write = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    char buffer[4096];
    const char *name = fd > 2 ? name_of(fd, buffer, sizeof buffer) : NULL;
    if (fd == 1) NOTE(bytes, length, "P %zu\n", length);
    if (!counts(name)) return real_write(fd, bytes, length);
    int torn = 0;
    if (fails(GROWS, &torn)) return -1;
    if (torn) tear(real_write(fd, bytes, length / 2));
    off_t offset = lseek(fd, 0, SEEK_CUR);
    ssize_t written = real_write(fd, bytes, length);
    if (written > 0) NOTE(bytes, (size_t)written, "W %s %lld %zd\n", name, (long long)offset, written);
    return written;
}

int ftruncate64(int fd, off64_t length) {
    REAL(int, ftruncate64, int, off64_t);
    char buffer[4096];
    const char *name = name_of(fd, buffer, sizeof buffer);
    if (!counts(name)) return real(fd, length);
    if (fails(CHANGES, NULL)) return -1;
    int result = real(fd, length);
    if (result == 0) NOTE("", 0, "T %s %lld\n", name, (long long)length);
    return result;
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

#define SYNC(call)                                          \
    int call(int fd) {                                      \
        REAL(int, call, int);                               \
        char buffer[4096];                                  \
        const char *name = name_of(fd, buffer, sizeof buffer); \
        if (!counts(name)) return real(fd);                 \
        if (fails(SYNCS, NULL)) return -1;                  \
        NOTE("", 0, "S %s\n", name);                        \
        return real(fd);                                    \
    }

SYNC(fsync)
SYNC(fdatasync)

int rename(const char *from, const char *to) {
    REAL(int, rename, const char *, const char *);
    if (!counts(name_at(from))) return real(from, to);
    if (fails(CHANGES, NULL)) return -1;
    int result = real(from, to);
    if (result == 0) NOTE("", 0, "R %s %s\n", name_at(from), name_at(to));
    return result;
}

int link(const char *from, const char *to) {
    REAL(int, link, const char *, const char *);
    if (control() != &nobody && counts(name_at(to)) && fails(CHANGES, NULL)) return -1;
    return real(from, to);
}

int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags) {
    REAL(int, linkat, int, const char *, int, const char *, int);
    if (control() != &nobody && counts(name_at(to)) && fails(CHANGES, NULL)) return -1;
    return real(from_folder, from, to_folder, to, flags);
}

int unlink(const char *path) {
    REAL(int, unlink, const char *);
    if (!counts(name_at(path))) return real(path);
    struct stat status;
    if (stat(path, &status) != 0) return real(path);
    if (fails(CHANGES, NULL)) return -1;
    int result = real(path);
    if (result == 0) NOTE("", 0, "U %s\n", name_at(path));
    return result;
}

static int opens(int (*real)(const char *, int, ...), const char *path, int flags, mode_t mode) {
    const char *name = name_at(path);
    struct stat status;
    int makes = counts(name) && (flags & O_CREAT) && stat(path, &status) != 0;
    if (makes && fails(GROWS, NULL)) return -1;
    if (name && (flags & O_ACCMODE) != O_RDONLY && closed_to_writers()) {
        __atomic_store_n(&control()->met, 1, __ATOMIC_SEQ_CST);
        errno = EROFS;
        return -1;
    }
    int fd = real(path, flags, mode);
    if (makes && fd >= 0) NOTE("", 0, "C %s\n", name);
    return fd;
}

int open64(const char *path, int flags, ...) {
    static int (*real)(const char *, int, ...);
    if (!real) real = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open64");
    va_list list;
    va_start(list, flags);
    mode_t mode = (flags & O_CREAT) ? va_arg(list, mode_t) : 0;
    va_end(list);
    return opens(real, path, flags, mode);
}

int open(const char *path, int flags, ...) {
    static int (*real)(const char *, int, ...);
    if (!real) real = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
    va_list list;
    va_start(list, flags);
    mode_t mode = (flags & O_CREAT) ? va_arg(list, mode_t) : 0;
    va_end(list);
    return opens(real, path, flags, mode);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    REAL(int, clock_gettime, clockid_t, struct timespec *);
    int result = real(clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += control()->clock;
    return result;
}

int gettimeofday(struct timeval *now, void *zone) {
    REAL(int, gettimeofday, struct timeval *, void *);
    int result = real(now, zone);
    if (result == 0) now->tv_sec += control()->clock;
    return result;
}

time_t time(time_t *now) {
    REAL(time_t, time, time_t *);
    time_t result = real(NULL) + control()->clock;
    if (now) *now = result;
    return result;
}

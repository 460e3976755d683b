/* Loaded before libc, fails one call that writes or syncs a file below a folder, whichever library makes it. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum { PASS, FAIL, SHORT };

static char below[4096], made[1 << 16];
static long asked, seen;
static int error;

/* From now on the `number`-th call below `folder` fails with `code`, or writes half if `code` is 0. */
void arm(const char *folder, long number, int code) {
  asked = number;
  seen = 0;
  error = code;
  memset(made, 0, sizeof made);
  snprintf(below, sizeof below, "%s/", folder);
}

/* A letter for every call since then: write, pwrite, writev (v) or sync. */
const char *calls(void) { return made; }

static int judge(int fd, char letter) {
  char link[64], path[4096];
  if (!below[0]) return PASS;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 2);
  if (length < 0) return PASS;
  memcpy(path + length, "/", 2);
  if (strncmp(path, below, strlen(below))) return PASS;
  long number = __sync_add_and_fetch(&seen, 1);
  if (number < (long)sizeof made) made[number - 1] = letter;
  if (number != asked) return PASS;
  errno = error;
  return error ? FAIL : SHORT;
}

static size_t half(size_t size) { return size > 1 ? size / 2 : size; }

#define REAL(type, name, ...) ((type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *data, size_t size) {
  int what = judge(fd, 'w');
  if (what == FAIL) return -1;
  return REAL(ssize_t, write, int, const void *, size_t)(fd, data, what == SHORT ? half(size) : size);
}

#define PWRITE(name, offset)                                                                   \
  ssize_t name(int fd, const void *data, size_t size, offset at) {                             \
    int what = judge(fd, 'p');                                                                 \
    if (what == FAIL) return -1;                                                               \
    if (what == SHORT) size = half(size);                                                      \
    return REAL(ssize_t, name, int, const void *, size_t, offset)(fd, data, size, at);         \
  }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

ssize_t writev(int fd, const struct iovec *parts, int count) {
  int what = judge(fd, 'v');
  if (what == FAIL) return -1;
  return REAL(ssize_t, writev, int, const struct iovec *, int)(fd, parts, what == SHORT ? (int)half(count) : count);
}

#define SYNC(name)                         \
  int name(int fd) {                       \
    if (judge(fd, 's') == FAIL) return -1; \
    return REAL(int, name, int)(fd);       \
  }
SYNC(fsync)
SYNC(fdatasync)

/* Loaded before libc: one call that changes a file or a name below a folder fails, or is the process's last, whichever
   library makes it. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { PASS, FAIL, SHORT };

static char below[4096], made[1 << 16];
static long asked, seen;
static int error, lasting;

/* From now on the `number`-th call below `folder` fails with `code` (writes half if that is 0, gets the signal -`code`
   if it is negative); so do all later ones if `for_good`. */
void arm(const char *folder, long number, int code, int for_good) {
  asked = number;
  seen = 0;
  error = code;
  lasting = for_good;
  memset(made, 0, sizeof made);
  snprintf(below, sizeof below, "%s/", folder);
}

/* A letter for every call since then: write, pwrite, writev (v), sync; rename, link, unlink, mkdir. */
const char *calls(void) { return made; }

static int judge(const char *path, char letter) {
  if (strncmp(path, below, strlen(below))) return PASS;
  int bytes = strchr("wpvs", letter) != NULL;
  long number = __sync_add_and_fetch(&seen, 1);
  if (number < (long)sizeof made) made[number - 1] = letter;
  if (!asked || (number != asked && !(lasting && bytes && number > asked))) return PASS;
  if (error < 0) kill(getpid(), -error);
  if (error < 0 || !bytes) return PASS;
  errno = error;
  return error ? FAIL : SHORT;
}

static int judge_fd(int fd, char letter) {
  char link[64], path[4096];
  if (!below[0]) return PASS;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 2);
  if (length < 0) return PASS;
  memcpy(path + length, "/", 2);
  return judge(path, letter);
}

static void judge_at(int fd, const char *name, char letter) {
  if (!below[0]) return;
  if (name[0] == '/' || fd == AT_FDCWD) judge(name, letter);
  else judge_fd(fd, letter);
}

static size_t half(size_t size) { return size > 1 ? size / 2 : size; }

#define REAL(type, name, ...) ((type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *data, size_t size) {
  int what = judge_fd(fd, 'w');
  if (what == FAIL) return -1;
  return REAL(ssize_t, write, int, const void *, size_t)(fd, data, what == SHORT ? half(size) : size);
}

#define PWRITE(name, offset)                                                                   \
  ssize_t name(int fd, const void *data, size_t size, offset at) {                             \
    int what = judge_fd(fd, 'p');                                                              \
    if (what == FAIL) return -1;                                                               \
    if (what == SHORT) size = half(size);                                                      \
    return REAL(ssize_t, name, int, const void *, size_t, offset)(fd, data, size, at);         \
  }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

ssize_t writev(int fd, const struct iovec *parts, int count) {
  int what = judge_fd(fd, 'v');
  if (what == FAIL) return -1;
  return REAL(ssize_t, writev, int, const struct iovec *, int)(fd, parts, what == SHORT ? (int)half(count) : count);
}

#define SYNC(name)                            \
  int name(int fd) {                          \
    if (judge_fd(fd, 's') == FAIL) return -1; \
    return REAL(int, name, int)(fd);          \
  }
SYNC(fsync)
SYNC(fdatasync)

#define ONE(name, letter)                                \
  int name(const char *path) {                           \
    judge_at(AT_FDCWD, path, letter);                    \
    return REAL(int, name, const char *)(path);          \
  }
ONE(unlink, 'u')
ONE(rmdir, 'u')

int unlinkat(int fd, const char *path, int flags) {
  judge_at(fd, path, 'u');
  return REAL(int, unlinkat, int, const char *, int)(fd, path, flags);
}

int mkdir(const char *path, mode_t mode) {
  judge_at(AT_FDCWD, path, 'm');
  return REAL(int, mkdir, const char *, mode_t)(path, mode);
}

#define TWO(name, letter)                                                  \
  int name(const char *from, const char *to) {                             \
    judge_at(AT_FDCWD, to, letter);                                        \
    return REAL(int, name, const char *, const char *)(from, to);          \
  }
TWO(rename, 'r')
TWO(link, 'l')

int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags) {
  judge_at(to_fd, to, 'r');
  return REAL(int, renameat2, int, const char *, int, const char *, unsigned)(from_fd, from, to_fd, to, flags);
}

int linkat(int from_fd, const char *from, int to_fd, const char *to, int flags) {
  judge_at(to_fd, to, 'l');
  return REAL(int, linkat, int, const char *, int, const char *, int)(from_fd, from, to_fd, to, flags);
}

// A disk that is slow to read pictures, fails at one of them once, and is full once: loaded before the C library's own functions.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

enum { FILES = 65536, FAILS_AT = 9, SLOW_US = 500 };
enum { OTHER, PICTURE, PARTIAL };
static _Atomic char kinds[FILES];
static atomic_int picture_reads, partial_writes;

static int ends_with(const char *text, const char *end) {
  size_t a = strlen(text), b = strlen(end);
  return a >= b && strcmp(text + a - b, end) == 0;
}

static int opened(int file, const char *path) {
  if (file >= 0 && file < FILES)
    kinds[file] = ends_with(path, ".png") ? PICTURE : ends_with(path, ".safetensors.partial") ? PARTIAL : OTHER;
  return file;
}

static int kind(int file) { return file >= 0 && file < FILES ? kinds[file] : OTHER; }

#define OPEN(name)                                                        \
  int name(const char *path, int flags, ...) {                            \
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, #name);        \
    va_list rest;                                                         \
    va_start(rest, flags);                                                \
    mode_t mode = (flags & O_CREAT) ? va_arg(rest, mode_t) : 0;           \
    va_end(rest);                                                         \
    return opened(real(path, flags, mode), path);                         \
  }
OPEN(open)
OPEN(open64)

ssize_t read(int file, void *to, size_t bytes) {
  ssize_t (*real)(int, void *, size_t) = dlsym(RTLD_NEXT, "read");
  if (kind(file) == PICTURE) {
    usleep(SLOW_US);
    if (atomic_fetch_add(&picture_reads, 1) == FAILS_AT) {
      errno = EIO;
      return -1;
    }
  }
  return real(file, to, bytes);
}

ssize_t write(int file, const void *from, size_t bytes) {
  ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
  if (kind(file) == PARTIAL && atomic_fetch_add(&partial_writes, 1) == 0) {
    errno = ENOSPC;
    return -1;
  }
  return real(file, from, bytes);
}

// Preloaded into the unmodified daemon: ends the process, or makes a call fail or wait, at one exact place in its
// writing of the journal. strace can inject the same, but counts its calls per thread, and the journal is written by
// whichever thread is free; and it can't tell by what is written.
//
// Never touches a call on another file than those of the journal.
//
// JOURNAL_FAULT_ACT    kill | fail | full | slow | none
// JOURNAL_FAULT_AT     call N: before the Nth call on the journal's files since the start, or
//                      torn | written | synced | acknowledged | next TEXT: the append whose record holds TEXT:
//                      half written, written, synced, acknowledged, or before the append after it begins
// JOURNAL_FAULT_UNTIL  a file: fail, full and slow go on until it is there; without it they happen once
// JOURNAL_FAULT_LOG    a file: each call on the journal's files is noted there, and each record that is acknowledged
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

// NEW is the journal while it is being made, with its log.
enum file { OTHER, NEW, DATABASE, LOG, ACKNOWLEDGED, PROBE };
enum call { OPEN, WRITE, SYNC, CUT };
// The append that is waited for: not seen yet, its record is written, it is synced, it is acknowledged.
enum progress { WAITING, WRITTEN, SYNCED, ACKNOWLEDGED_BY_NOW, OVER };

static const char *const FILES[] = {"other", "new", "database", "log", "acknowledged", "probe"};
static const char *const CALLS[] = {"open", "write", "sync", "cut"};

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static char until[512];
static const char *act = "none", *point = "", *text;
static long wanted_call, calls;
static enum progress progress = WAITING;
static int reached, events = -1;

static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_write)(int, const void *, size_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_ftruncate)(int, off_t);
static int (*real_open)(const char *, int, ...);

static void *real(const char *name) {
  void *found = dlsym(RTLD_NEXT, name);
  if (!found) abort();
  return found;
}

__attribute__((constructor)) static void begin(void) {
  real_pwrite = real("pwrite64");
  real_write = real("write");
  real_fsync = real("fsync");
  real_fdatasync = real("fdatasync");
  real_ftruncate = real("ftruncate64");
  real_open = real("open64");
  const char *at = getenv("JOURNAL_FAULT_AT"), *what = getenv("JOURNAL_FAULT_ACT"), *end = getenv("JOURNAL_FAULT_UNTIL");
  const char *log = getenv("JOURNAL_FAULT_LOG");
  if (log) events = real_open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  static char kept[16];
  snprintf(kept, sizeof kept, "%s", what ? what : "none");
  act = kept;
  snprintf(until, sizeof until, "%s", end ? end : "");
  if (at) {
    static char copy[512];
    snprintf(copy, sizeof copy, "%s", at);
    char *space = strchr(copy, ' ');
    if (!space) abort();
    *space = 0;
    text = space + 1;
    point = copy;
    if (!strcmp(point, "call")) wanted_call = atol(text);
  }
  // The commands that the daemon starts are left alone.
  unsetenv("LD_PRELOAD");
}

static enum file named(const char *path) {
  const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
  if (!strncmp(name, "journal.db.new", strlen("journal.db.new"))) return NEW;
  if (!strcmp(name, "journal.db")) return DATABASE;
  if (!strcmp(name, "journal.db-wal")) return LOG;
  if (!strcmp(name, "journal.acknowledged")) return ACKNOWLEDGED;
  if (!strcmp(name, "journal.probe")) return PROBE;
  return OTHER;
}

static enum file file_of(int fd) {
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t size = readlink(link, path, sizeof path - 1);
  if (size <= 0) return OTHER;
  path[size] = 0;
  return named(path);
}

static void note(const char *when, enum call call, enum file file, int fd) {
  char line[128];
  int size = snprintf(line, sizeof line, "%ld %s %s %s %d\n", calls, CALLS[call], FILES[file], when, fd);
  if (events >= 0) real_write(events, line, (size_t)size);
}

static int is(const char *one, const char *other) { return !strcmp(one, other); }

// Notes up to which record all is acknowledged by what is written: the number that it begins with.
static void note_acknowledged(const char *data, size_t size) {
  char line[128];
  int digits = 0;
  while ((size_t)digits < size && digits < 20 && data[digits] >= '0' && data[digits] <= '9') digits++;
  int written = snprintf(line, sizeof line, "acknowledged %.*s\n", digits, data);
  if (events >= 0) real_write(events, line, (size_t)written);
}

// Whether this call, which has not run yet, is the place.
static int is_before(enum call call, enum file file, const void *data, size_t size) {
  if (wanted_call) return calls == wanted_call;
  if (!text || file == OTHER) return 0;
  if (file == LOG && call == WRITE) {
    if (progress == WAITING && memmem(data, size, text, strlen(text))) {
      progress = WRITTEN;
      return is(point, "torn");
    }
    if (progress == ACKNOWLEDGED_BY_NOW) {
      progress = OVER;
      return is(point, "next");
    }
  }
  return file == LOG && call == SYNC && progress == WRITTEN && is(point, "written");
}

// Whether this call, which has run, was the place.
static int is_after(enum call call, enum file file) {
  if (wanted_call || !text) return 0;
  if (file == LOG && call == SYNC && progress == WRITTEN) {
    progress = SYNCED;
    return is(point, "synced");
  }
  if (file == ACKNOWLEDGED && call == WRITE && progress == SYNCED) {
    progress = ACKNOWLEDGED_BY_NOW;
    return is(point, "acknowledged");
  }
  return 0;
}

static void die(enum call call, enum file file, int fd) {
  note("killed", call, file, fd);
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

// Whether a fault that was begun goes on.
static int goes_on(void) { return reached && *until && access(until, F_OK) != 0; }

// Gives 0 where the call has to run, or the error that it has to give.
static int before(enum call call, enum file file, int fd, const void *data, size_t size) {
  pthread_mutex_lock(&turn);
  calls++;
  int here = is_before(call, file, data, size), first = here && !reached;
  if (here) reached = 1;
  if (here && is(act, "kill")) die(call, file, fd);
  int meant = (is(act, "fail") && call == SYNC) || (is(act, "full") && call == WRITE && file != ACKNOWLEDGED);
  int error = meant && (first || goes_on()) ? (is(act, "full") ? ENOSPC : EIO) : 0;
  int slow = is(act, "slow") && call == SYNC && (first || goes_on());
  note(error ? "failed" : slow ? "slow" : "done", call, file, fd);
  if (!error && file == ACKNOWLEDGED && call == WRITE) note_acknowledged(data, size);
  pthread_mutex_unlock(&turn);
  if (slow) {
    nanosleep(&(struct timespec){.tv_sec = 2}, NULL);
    pthread_mutex_lock(&turn);
    note("done", call, file, fd);
    pthread_mutex_unlock(&turn);
  }
  return error;
}

static void after(enum call call, enum file file, int fd) {
  pthread_mutex_lock(&turn);
  if (is_after(call, file)) {
    reached = 1;
    if (is(act, "kill")) die(call, file, fd);
  }
  pthread_mutex_unlock(&turn);
}

#define ROUND(call, fd, data, size, result, run)           \
  enum file file = file_of(fd);                            \
  if (file == OTHER) return run;                           \
  int error = before(call, file, fd, data, size);          \
  if (error) {                                             \
    errno = error;                                         \
    return -1;                                             \
  }                                                        \
  result done = run;                                       \
  int kept = errno;                                        \
  after(call, file, fd);                                   \
  errno = kept;                                            \
  return done

ssize_t pwrite64(int fd, const void *data, size_t size, off_t at) {
  ROUND(WRITE, fd, data, size, ssize_t, real_pwrite(fd, data, size, at));
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
  ROUND(WRITE, fd, data, size, ssize_t, real_pwrite(fd, data, size, at));
}
ssize_t write(int fd, const void *data, size_t size) {
  ROUND(WRITE, fd, data, size, ssize_t, real_write(fd, data, size));
}
int fsync(int fd) { ROUND(SYNC, fd, "", 0, int, real_fsync(fd)); }
int fdatasync(int fd) { ROUND(SYNC, fd, "", 0, int, real_fdatasync(fd)); }
int ftruncate(int fd, off_t size) { ROUND(CUT, fd, "", 0, int, real_ftruncate(fd, size)); }
int ftruncate64(int fd, off_t size) { ROUND(CUT, fd, "", 0, int, real_ftruncate(fd, size)); }

static int opened(const char *path, int flags, unsigned mode) {
  enum file file = named(path);
  int fd = real_open(path, flags, mode);
  if (file != OTHER) {
    pthread_mutex_lock(&turn);
    note("done", OPEN, file, fd);
    pthread_mutex_unlock(&turn);
  }
  return fd;
}

#define OPENED                            \
  unsigned mode = 0;                      \
  if (flags & (O_CREAT | O_TMPFILE)) {    \
    va_list more;                         \
    va_start(more, flags);                \
    mode = va_arg(more, unsigned);        \
    va_end(more);                         \
  }                                       \
  return opened(path, flags, mode)

int open(const char *path, int flags, ...) { OPENED; }
int open64(const char *path, int flags, ...) { OPENED; }

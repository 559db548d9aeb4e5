/* A loopback HTTP/1.1 sink that is never the bottleneck: one thread, epoll, keep-alive.
 *
 *   cc -O3 -o sink sink.c && ./sink [-l MS] [-c N] [-r N] [-w FILE]
 *
 * Listens on 127.0.0.1, on a port the kernel picks and it prints as its first line.
 *   POST …/v1/batch   reads the whole body, counts "messageId" in it, answers 200 {}
 *                     (after MS milliseconds with -l), and writes it to FILE behind its length
 *                     (uint64_t) with -w, for send.c; with -c it answers 429 at once, and counts
 *                     no message, while N others wait for their answers, with -r to the one after
 *                     N that were taken within a second
 *   GET /stats        JSON: requests, messages, bytes, connections, refused, too_many (429),
 *                     at_once_max (waiting for their answers), body_bytes_max, cpu_s, first_s (when
 *                     the first POST began, by CLOCK_MONOTONIC; 0: none did), span_s (from then to
 *                     the end of the last)
 *   GET /reset        the same, then all are zero (cpu_s goes on)
 *
 * A body is held whole before it is counted, so no read boundary can hide a message. What the real
 * API would not take is refused and counted, so that a benchmark cannot pass on it: other paths
 * (404), bodies without a length (411), of more than 500,000 bytes (413), or compressed (415).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEAD_MAX = 32 * 1024, BODY_MAX = 500 * 1000, BUFFER = HEAD_MAX + BODY_MAX };

typedef struct conn {
  int fd, is_waiting, is_closing, has_posted;
  size_t held;       /* bytes in the buffer */
  size_t head, body; /* sizes of the request being read; head 0: not parsed yet */
  int status;        /* what the answer will be */
  int is_post;
  char path[64];
  double due_s;
  struct conn *next;
  char buffer[BUFFER + 1];
} conn;

static uint64_t requests, messages, bytes, connections, refused, too_many, body_bytes_max;
static uint64_t waiting, at_once_max, at_once = UINT64_MAX, per_s, taken;
static double delay_s, first_s, last_s;
static double *taken_s; /* when the last per_s requests were taken, a ring */
static FILE *record;
static conn *first, *last; /* answers that wait, oldest first: the delay is the same for all */

static double now_s(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* memchr for the rare letter runs at memory speed; memmem for the whole word does not. */
static uint64_t count(const char *text, size_t n) {
  static const char word[] = "\"messageId\"";
  const size_t length = sizeof word - 1, before = 8; /* `"message` stands before the I */
  uint64_t found = 0;
  if (n < length) return 0;
  const char *p = text + before, *end = text + n - (length - before) + 1;
  while (p < end && (p = memchr(p, 'I', (size_t)(end - p)))) {
    found += !memcmp(p - before, word, length);
    p++;
  }
  return found;
}

static void drop(conn *c) {
  close(c->fd);
  free(c);
}

/* Answers are far smaller than a socket's buffer: one send takes them, or the peer is gone. */
static int answer(conn *c, int status, const char *json) {
  char text[1024];
  int n = snprintf(text, sizeof text,
                   "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n%s\r\n%s",
                   status, status == 200 ? "OK" : status == 429 ? "Too Many Requests" : "Refused", strlen(json),
                   c->is_closing ? "Connection: close\r\n" : "", json);
  return send(c->fd, text, (size_t)n, MSG_NOSIGNAL) == n && !c->is_closing;
}

static int answer_get(conn *c) {
  char json[640];
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  if (record) fflush(record); /* who asks may read it now, and ends us by a signal */
  snprintf(json, sizeof json,
           "{\"requests\":%lu,\"messages\":%lu,\"bytes\":%lu,\"connections\":%lu,\"refused\":%lu,"
           "\"too_many\":%lu,\"at_once_max\":%lu,\"body_bytes_max\":%lu,\"first_s\":%.6f,"
           "\"span_s\":%.6f,\"cpu_s\":%.4f}",
           requests, messages, bytes, connections, refused, too_many, at_once_max, body_bytes_max,
           first_s, last_s - first_s,
           (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
               (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6);
  if (!strcmp(c->path, "/stats")) return answer(c, 200, json);
  if (strcmp(c->path, "/reset")) return answer(c, 404, "{}");
  requests = messages = bytes = connections = refused = too_many = at_once_max = body_bytes_max = 0;
  first_s = last_s = 0;
  return answer(c, 200, json);
}

/* The value of a header, or NULL. The head ends in an empty line and holds a NUL after it. */
static const char *header(const char *head, const char *name) {
  const char *p = strcasestr(head, name);
  if (!p) return NULL;
  p += strlen(name);
  return p + strspn(p, " \t");
}

/* 1: a head is there and parsed; 0: more bytes are needed; -1: this is not HTTP. */
static int parse(conn *c) {
  c->buffer[c->held] = 0;
  char *end = memmem(c->buffer, c->held, "\r\n\r\n", 4);
  if (!end) return c->held > HEAD_MAX ? -1 : 0;
  c->head = (size_t)(end - c->buffer) + 4;
  char after = c->buffer[c->head];
  c->buffer[c->head] = 0;
  char method[8] = "";
  if (sscanf(c->buffer, "%7s %63s", method, c->path) != 2) return -1;
  c->is_post = !strcmp(method, "POST");
  if (c->is_post && first_s == 0) first_s = now_s();
  const char *length = header(c->buffer, "\r\nContent-Length:");
  c->body = length ? strtoull(length, NULL, 10) : 0;
  const char *option = header(c->buffer, "\r\nConnection:");
  c->is_closing = option && !strncasecmp(option, "close", 5);
  size_t path = strlen(c->path);
  c->status = 200;
  if (path < 9 || strcmp(c->path + path - 9, "/v1/batch")) c->status = 404;
  else if (!length) c->status = 411;
  else if (c->body > BODY_MAX) c->status = 413;
  else if (header(c->buffer, "\r\nContent-Encoding:")) c->status = 415;
  c->buffer[c->head] = after;
  return c->head > HEAD_MAX ? -1 : 1;
}

/* A whole POST is in the buffer: count it. */
static void take(conn *c) {
  last_s = now_s();
  requests++;
  connections += !c->has_posted;
  c->has_posted = 1;
  if (c->status != 200) {
    refused++;
    c->is_closing = 1; /* its body may not have been read */
    return;
  }
  if (waiting >= at_once || (per_s && taken >= per_s && taken_s[taken % per_s] > last_s - 1)) {
    too_many++;
    c->status = 429;
    return;
  }
  if (per_s) taken_s[taken++ % per_s] = last_s;
  if (waiting + 1 > at_once_max) at_once_max = waiting + 1;
  if (record) {
    uint64_t length = c->body;
    if (fwrite(&length, sizeof length, 1, record) != 1 || fwrite(c->buffer + c->head, 1, length, record) != length) {
      perror("record"); /* a disk that is full: figures without it would be wrong */
      exit(1);
    }
  }
  bytes += c->body;
  if (c->body > body_bytes_max) body_bytes_max = c->body;
  messages += count(c->buffer + c->head, c->body);
}

/* Serve every whole request in the buffer; 0: the connection is gone. */
static int serve(conn *c) {
  while (!c->is_waiting) {
    if (!c->head) {
      int parsed = parse(c);
      if (parsed < 0) { drop(c); return 0; }
      if (!parsed) return 1;
    }
    int is_whole = c->held >= c->head + c->body;
    if (!is_whole && !(c->is_post && c->status != 200)) return 1;
    int is_kept = 1;
    if (c->is_post) take(c);
    if (!c->is_post) is_kept = answer_get(c);
    else if (c->status == 200 && delay_s > 0) {
      c->is_waiting = 1;
      waiting++;
      c->due_s = now_s() + delay_s;
      c->next = NULL;
      if (first) last->next = c; else first = c;
      last = c;
    } else is_kept = answer(c, c->status, "{}");
    if (!is_kept) { drop(c); return 0; }
    size_t done = c->head + c->body;
    memmove(c->buffer, c->buffer + done, c->held - done);
    c->held -= done;
    c->head = c->body = 0;
  }
  return 1;
}

static void readable(conn *c) {
  for (;;) {
    ssize_t n = recv(c->fd, c->buffer + c->held, BUFFER - c->held, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) { drop(c); return; }
    c->held += (size_t)n;
    if (!serve(c)) return;
    if (c->is_waiting || c->held < BUFFER / 2) return; /* level-triggered: epoll says if more is there */
  }
}

static void welcome(int listener, int poll) {
  int fd, one = 1;
  while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    conn *c = malloc(sizeof *c);
    if (!c) { close(fd); continue; }
    memset(c, 0, offsetof(conn, buffer));
    c->fd = fd;
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(poll, EPOLL_CTL_ADD, fd, &e);
  }
}

static void answer_due(void) {
  while (first && first->due_s <= now_s()) {
    conn *c = first;
    first = c->next;
    c->is_waiting = 0;
    waiting--;
    if (!answer(c, 200, "{}")) drop(c);
    else serve(c);
  }
}

int main(int argc, char **argv) {
  for (int option; (option = getopt(argc, argv, "l:c:r:w:")) >= 0;) {
    if (option == 'l') delay_s = atof(optarg) / 1000;
    else if (option == 'c') at_once = strtoull(optarg, NULL, 10);
    else if (option == 'r') per_s = strtoull(optarg, NULL, 10);
    else if (option != 'w' || !(record = fopen(optarg, "wb"))) {
      fprintf(stderr, "usage: sink [-l MS] [-c N] [-r N] [-w FILE]\n");
      return 2;
    }
  }
  if (per_s && !(taken_s = malloc(per_s * sizeof *taken_s))) return 1;
  signal(SIGPIPE, SIG_IGN);
  prctl(PR_SET_PDEATHSIG, SIGTERM); /* never outlive the benchmark that started it */
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof a;
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), poll = epoll_create1(0);
  int window = 4 << 20;
  setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &window, sizeof window);
  if (bind(listener, (void *)&a, sizeof a) || listen(listener, 256) ||
      getsockname(listener, (void *)&a, &size)) {
    perror("sink");
    return 1;
  }
  printf("%d\n", ntohs(a.sin_port));
  fflush(stdout);
  struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL}, ready[64];
  epoll_ctl(poll, EPOLL_CTL_ADD, listener, &e);
  for (;;) {
    double wait_s = first ? first->due_s - now_s() : 0;
    int n = epoll_wait(poll, ready, 64, !first ? -1 : wait_s <= 0 ? 0 : (int)(wait_s * 1000) + 1);
    for (int i = 0; i < n; i++) {
      conn *c = ready[i].data.ptr;
      if (!c) welcome(listener, poll);
      else if (!c->is_waiting) readable(c);
    }
    answer_due();
  }
}

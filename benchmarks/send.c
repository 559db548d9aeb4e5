/* The bytes that backfill sent, sent again by C over one connection: half of the floor.
 *
 *   cc -O3 -o send send.c && ./send PORT FILE
 *
 * FILE is what `sink -w` wrote: each body behind its length (uint64_t). Every body is posted to
 * 127.0.0.1:PORT/v1/batch and its answer awaited before the next. Prints JSON: wall_s and cpu_s from
 * the connection to the last answer (the file is in memory by then), requests and bytes. Exits 1
 * when an answer is not 200.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static int server;

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static double now_s(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double cpu_s(void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
         (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}

/* Head and body in as few calls as the kernel takes. */
static void post(char *body, uint64_t length) {
  char head[256];
  int n = snprintf(head, sizeof head,
                   "POST /v1/batch HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Basic YmVuY2g6\r\n"
                   "Content-Type: application/json\r\nContent-Length: %lu\r\n\r\n", length);
  struct iovec parts[2] = {{head, (size_t)n}, {body, length}};
  for (int first = 0; first < 2;) {
    ssize_t sent = writev(server, parts + first, 2 - first);
    if (sent <= 0) fail("send");
    size_t left = (size_t)sent;
    while (first < 2 && left >= parts[first].iov_len) left -= parts[first++].iov_len;
    if (first < 2) {
      parts[first].iov_base = (char *)parts[first].iov_base + left;
      parts[first].iov_len -= left;
    }
  }
}

/* The sink's answers come in one piece, far smaller than this. */
static void answered(void) {
  char text[1024];
  ssize_t n = recv(server, text, sizeof text - 1, 0);
  if (n <= 0) fail("answer");
  text[n] = 0;
  if (strncmp(text, "HTTP/1.1 200", 12)) {
    fprintf(stderr, "refused: %.60s\n", text);
    exit(1);
  }
}

int main(int argc, char **argv) {
  if (argc != 3) { fprintf(stderr, "usage: send PORT FILE\n"); return 2; }
  int file = open(argv[2], O_RDONLY), one = 1;
  struct stat about;
  if (file < 0 || fstat(file, &about)) fail(argv[2]);
  size_t size = (size_t)about.st_size;
  char *all = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
  if (all == MAP_FAILED) fail(argv[2]);
  double wall_s = now_s(), before_s = cpu_s();
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1])),
                           .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  server = socket(AF_INET, SOCK_STREAM, 0);
  if (server < 0 || connect(server, (void *)&to, sizeof to)) fail("connect");
  setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  uint64_t requests = 0, bytes = 0, length;
  for (size_t at = 0; at + sizeof length <= size; at += sizeof length + length) {
    memcpy(&length, all + at, sizeof length);
    if (length > size - at - sizeof length) { fprintf(stderr, "%s is cut off\n", argv[2]); return 1; }
    post(all + at + sizeof length, length);
    answered();
    requests++;
    bytes += length;
  }
  printf("{\"wall_s\":%.6f,\"cpu_s\":%.6f,\"requests\":%lu,\"bytes\":%lu}\n", now_s() - wall_s,
         cpu_s() - before_s, requests, bytes);
  return 0;
}

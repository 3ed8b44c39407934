/* How blocks get from the page cache into a socket: CPU seconds a GiB of the sending and of the receiving thread, over
   loopback TCP (Reno). Every block of 16 KiB has its header of 13 bytes before it, as BitTorrent wants it.
   cc -O2 -pthread -o send_path bench/send_path.c; ./send_path [file of 1 GiB, made if missing] [rounds]
   Each way is measured in every round, one after the other; medians are printed. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 16384, HEADER = 13, ROUNDS_MAX = 33, WAYS = 10 };
static const size_t SIZE = 1u << 30;
static char head[HEADER] = {0, 0, 64, 9, 7};
static int file;

static void die(const char *what) { perror(what); exit(1); }
static double cpu(void) {
    struct rusage r;
    getrusage(RUSAGE_THREAD, &r);
    return r.ru_utime.tv_sec + r.ru_stime.tv_sec + (r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}
static double wall(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void send_all(int to, const char *bytes, size_t len, int flags) {
    while (len) {
        ssize_t n = send(to, bytes, len, flags);
        if (n < 0) die("send");
        bytes += n, len -= n;
    }
}

/* `run` blocks are read, with their headers between them, and sent in one call: what Samara does with 16. */
static void copied(int to, int run) {
    char *buf = malloc((size_t)run * (BLOCK + HEADER));
    struct iovec v[256];
    for (int i = 0; i < run; i++) {
        char *at = buf + (size_t)i * (BLOCK + HEADER);
        memcpy(at, head, HEADER);
        v[i] = (struct iovec){at + HEADER, BLOCK};
    }
    for (off_t at = 0; at < (off_t)SIZE; at += (off_t)run * BLOCK) {
        if (preadv2(file, v, run, at, 0) != (ssize_t)run * BLOCK) die("preadv2");
        send_all(to, buf, (size_t)run * (BLOCK + HEADER), 0);
    }
    free(buf);
}

static void files(int to, off_t at, size_t len) {
    while (len) {
        ssize_t n = sendfile(to, file, &at, len);
        if (n <= 0) die("sendfile");
        len -= n;
    }
}
/* A header, and one sendfile for its block; corked: the kernel holds segments back until 16 blocks are there. */
static void by_sendfile(int to, int corked) {
    for (off_t at = 0; at < (off_t)SIZE; at += BLOCK) {
        int on = corked && at / BLOCK % 16 == 0;
        if (on) for (int flag = 0; flag < 2; flag++) setsockopt(to, IPPROTO_TCP, TCP_CORK, &flag, sizeof flag);
        send_all(to, head, HEADER, MSG_MORE);
        files(to, at, BLOCK);
    }
    int off = 0;
    setsockopt(to, IPPROTO_TCP, TCP_CORK, &off, sizeof off);
}
/* No headers at all: what no BitTorrent client can do. */
static void bare(int to, int unused) { (void)unused; for (off_t at = 0; at < (off_t)SIZE; at += 1 << 20) files(to, at, 1 << 20); }

/* Headers and file pages are gathered in a pipe, 16 blocks, and go to the socket in one splice. */
static void spliced(int to, int run) {
    int p[2];
    if (pipe(p) || fcntl(p[1], F_SETPIPE_SZ, 1 << 20) < 0) die("pipe");
    for (off_t at = 0; at < (off_t)SIZE;) {
        size_t in = 0;
        for (int i = 0; i < run; i++) {
            /* Not vmsplice: those pages would belong to the socket until the far end has acknowledged them. */
            if (write(p[1], head, HEADER) != HEADER) die("write");
            for (size_t left = BLOCK; left;) {
                ssize_t n = splice(file, &at, p[1], 0, left, 0);
                if (n <= 0) die("splice in");
                left -= n;
            }
            in += HEADER + BLOCK;
        }
        while (in) {
            ssize_t n = splice(p[0], 0, to, 0, in, 0);
            if (n <= 0) die("splice out");
            in -= n;
        }
    }
    close(p[0]), close(p[1]);
}

/* Headers and file pages as the vector of one sendmsg: the file is mapped whole. */
static void mapped(int to, int run) {
    char *map = mmap(0, SIZE, PROT_READ, MAP_SHARED, file, 0);
    if (map == MAP_FAILED) die("mmap");
    for (size_t at = 0; at < SIZE; at += (size_t)run * BLOCK) {
        struct iovec v[256];
        for (int i = 0; i < run; i++) {
            v[2 * i] = (struct iovec){head, HEADER};
            v[2 * i + 1] = (struct iovec){map + at + (size_t)i * BLOCK, BLOCK};
        }
        struct msghdr m = {.msg_iov = v, .msg_iovlen = 2 * (size_t)run};
        for (size_t left = (size_t)run * (BLOCK + HEADER); left;) {
            ssize_t n = sendmsg(to, &m, 0);
            if (n < 0) die("sendmsg");
            left -= n;
            while (left && (size_t)n >= m.msg_iov->iov_len) n -= m.msg_iov->iov_len, m.msg_iov++, m.msg_iovlen--;
            m.msg_iov->iov_base = (char *)m.msg_iov->iov_base + n, m.msg_iov->iov_len -= n;
        }
    }
    munmap(map, SIZE);
}

static double sender[WAYS][ROUNDS_MAX], receiver[WAYS][ROUNDS_MAX], took[WAYS][ROUNDS_MAX];
static const struct { const char *name; void (*go)(int, int); int arg; } ways[WAYS] = {
    {"read 16 blocks, send them at once", copied, 16}, {"read 1 block, send it", copied, 1},
    {"read 32 blocks, send them at once", copied, 32}, {"read 4 blocks, send them at once", copied, 4}, {"sendfile for each block", by_sendfile, 0},
    {"sendfile for each block, corked", by_sendfile, 1}, {"splice 16 blocks through a pipe", spliced, 16}, {"splice 4 blocks through a pipe", spliced, 4},
    {"sendmsg of 16 mapped blocks", mapped, 16}, {"sendfile without headers", bare, 0}};

static void *receive(void *arg) {
    int *at = arg;
    char *buf = malloc(256 << 10);
    double before = cpu();
    while (recv(at[0], buf, 256 << 10, 0) > 0) {}
    receiver[at[1]][at[2]] = cpu() - before;
    free(buf);
    return 0;
}

static int by_value(const void *a, const void *b) { return *(double *)a > *(double *)b ? 1 : -1; }
static double median(double *v, int n) { qsort(v, n, sizeof *v, by_value); return v[n / 2]; }

int main(int argc, char **argv) {
    const char *path = argc > 1 ? argv[1] : "/dev/shm/send_path.bin";
    int rounds = argc > 2 ? atoi(argv[2]) : 3;
    if (rounds < 1 || rounds > ROUNDS_MAX) return fprintf(stderr, "1 to %d rounds\n", ROUNDS_MAX), 1;
    file = open(path, O_RDWR | O_CREAT, 0600);
    struct stat s;
    if (file < 0 || fstat(file, &s)) die(path);
    if (s.st_size < (off_t)SIZE) {
        char *some = malloc(1 << 20);
        for (size_t i = 0; i < 1 << 20; i++) some[i] = (char)(i * 2654435761u >> 13);
        for (size_t at = 0; at < SIZE; at += 1 << 20) if (pwrite(file, some, 1 << 20, at) != 1 << 20) die("pwrite");
        free(some);
    }
    for (int round = 0; round < rounds; round++)
        for (int way = 0; way < WAYS; way++) {
            int l = socket(AF_INET, SOCK_STREAM, 0), to = socket(AF_INET, SOCK_STREAM, 0);
            struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
            socklen_t len = sizeof a;
            setsockopt(l, IPPROTO_TCP, TCP_CONGESTION, "reno", 4), setsockopt(to, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
            if (bind(l, (void *)&a, len) || listen(l, 1) || getsockname(l, (void *)&a, &len) || connect(to, (void *)&a, len)) die("loopback");
            int at[3] = {accept(l, 0, 0), way, round}, one = 1;
            setsockopt(to, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            pthread_t thread;
            pthread_create(&thread, 0, receive, at);
            double before = cpu(), began = wall();
            ways[way].go(to, ways[way].arg);
            sender[way][round] = cpu() - before;
            shutdown(to, SHUT_WR);
            pthread_join(thread, 0);
            took[way][round] = wall() - began;
            close(to), close(at[0]), close(l);
        }
    printf("%-36s %8s %8s %8s   (CPU s a GiB, medians of %d)\n", "", "sender", "receiver", "MiB/s", rounds);
    for (int way = 0; way < WAYS; way++)
        printf("%-36s %8.2f %8.2f %8.0f\n", ways[way].name, median(sender[way], rounds), median(receiver[way], rounds), 1024 / median(took[way], rounds));
}

// Load on an HTTP tracker: closed loop, so many announces at a time, over connections that stay (`keep`) or one for each (`close`).
//   cc -O2 -o http_load bench/http_load.c; ./http_load PORT SECONDS AT_A_TIME keep|close PEERS TORRENTS; ./http_load list TORRENTS
// Peer i is in torrent i % TORRENTS, at 127.0.0.1 and a port of its own there; nobody is a seed, so that every tracker may tell of everybody.
// First each announces once ("filled"), then random ones for SECONDS. `list` prints the info-hashes, for trackers that want to know them.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
enum { MOST = 4096, ROOM = 8192 };
static struct { int fd; size_t len; double asked; char in[ROOM]; } talks[MOST];
static int epoll, keep, torrents, peers, port;
static unsigned long next_peer, answers, refusals, failed, told, slow[10001]; // told: peers; slow: answers by tenths of a millisecond
static unsigned long long state = 1;

static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec / 1e9; }
static unsigned long long mix(unsigned long long x) { x += 0x9e3779b97f4a7c15; x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9; x = (x ^ x >> 27) * 0x94d049bb133111eb; return x ^ x >> 31; }
static void hash(char *out, int torrent, const char *before) {
    for (int n = 0; n < 20; n++) out += sprintf(out, "%s%02x", before, (unsigned)(mix(torrent * 20ull + n) & 255));
}
static void ask(int n) {
    char text[512], name[64];
    unsigned long peer = next_peer < (unsigned long)peers ? next_peer : mix(state++) % peers;
    next_peer++;
    if (talks[n].fd < 0) {
        struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
        int yes = 1;
        talks[n].fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        setsockopt(talks[n].fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = n};
        // On loopback a connection is there when the call returns, or it has been turned away.
        if (talks[n].fd < 0 || (connect(talks[n].fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS) || epoll_ctl(epoll, EPOLL_CTL_ADD, talks[n].fd, &event)) perror("connect"), exit(1);
    }
    hash(name, peer % torrents, "%");
    int len = sprintf(text, "GET /announce?info_hash=%s&peer_id=-XX0001-%012lx&port=%lu&uploaded=0&downloaded=1&left=50&compact=1&numwant=30 HTTP/1.1\r\nHost: localhost\r\nUser-Agent: load\r\nConnection: %s\r\n\r\n",
                      name, peer, 1024 + peer / torrents, keep ? "keep-alive" : "close");
    talks[n].len = 0;
    talks[n].asked = now();
    // A connection that is turned away is seen when it is read.
    if (send(talks[n].fd, text, len, MSG_NOSIGNAL) != len && errno != EPIPE && errno != ECONNRESET) perror("send"), exit(1);
}
// Whether the answer is whole.
static int whole(int n, int ended) {
    char *head = talks[n].in, *body = memmem(head, talks[n].len, "\r\n\r\n", 4), *length = strcasestr(head, "content-length: ");
    if (!body) return ended;
    return ended || (length && length < body && talks[n].len >= (size_t)(body + 4 - head) + atoi(length + 16));
}
static void count(int n) {
    char *peers_ = memmem(talks[n].in, talks[n].len, "5:peers", 7);
    int tenths = (now() - talks[n].asked) * 1e4;
    slow[tenths > 10000 ? 10000 : tenths]++;
    if (talks[n].len == 0) failed++; else if (!peers_) refusals++; else answers++, told += atoi(peers_ + 7) / 6;
}
static double percentile(double part) {
    unsigned long all = 0, sum = 0;
    for (int n = 0; n <= 10000; n++) all += slow[n];
    for (int n = 0; n <= 10000; n++) if ((sum += slow[n]) >= all * part) return n / 10.0;
    return 1000;
}
int main(int argc, char **argv) {
    if (argc == 3 && !strcmp(argv[1], "list")) {
        for (int n = 0; n < atoi(argv[2]); n++) { char name[64]; hash(name, n, ""); puts(name); }
        return 0;
    }
    if (argc != 7) return fprintf(stderr, "http_load PORT SECONDS AT_A_TIME keep|close PEERS TORRENTS\n"), 2;
    int seconds = atoi(argv[2]), width = atoi(argv[3]), filled = 0;
    port = atoi(argv[1]), keep = !strcmp(argv[4], "keep"), peers = atoi(argv[5]), torrents = atoi(argv[6]);
    epoll = epoll_create1(0);
    if (width > MOST) width = MOST;
    for (int n = 0; n < width; n++) talks[n].fd = -1, ask(n);
    struct epoll_event events[MOST];
    for (double end = 1e18; now() < end;) {
        int ready = epoll_wait(epoll, events, MOST, 1000);
        for (int e = 0; e < ready; e++) {
            int n = events[e].data.u32;
            ssize_t got = recv(talks[n].fd, talks[n].in + talks[n].len, ROOM - 1 - talks[n].len, 0);
            if (got < 0 && errno == EAGAIN) continue;
            if (got > 0) talks[n].len += got;
            talks[n].in[talks[n].len] = 0;
            int ended = got <= 0;
            if (!whole(n, ended)) continue;
            // An answer to one that says "close" is over when the other side has closed, for every tracker alike.
            if (!keep && !ended) { if (recv(talks[n].fd, talks[n].in + talks[n].len, ROOM - 1 - talks[n].len, MSG_DONTWAIT) != 0) continue; ended = 1; }
            count(n);
            if (ended) close(talks[n].fd), talks[n].fd = -1;
            ask(n);
        }
        if (!filled && next_peer >= (unsigned long)peers + width) {
            filled = 1, answers = refusals = failed = told = 0;
            memset(slow, 0, sizeof slow);
            puts("filled"), fflush(stdout);
            end = now() + seconds;
        }
    }
    unsigned long all = answers + refusals + failed;
    printf("answers %.0f/s refusals %.0f/s failed %.0f/s peers %.1f p50 %.1f ms p99 %.1f ms\n", (double)answers / seconds, (double)refusals / seconds, (double)failed / seconds,
           answers ? (double)told / answers : 0, percentile(0.5), percentile(0.99));
    return all == 0;
}

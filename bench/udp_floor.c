// What the kernel alone costs: takes packets and answers them as our tracker does, up to 1,024 a call and those to one socket as one
// (UDP_SEGMENT), but looks nothing up: every announce gets the same 30 peers that nobody is. Not a tracker: it believes every id.
//   cc -O2 -o udp_floor bench/udp_floor.c; python3 bench/udp_tracker.py 3 15 "floor=./udp_floor 3000" aquatic
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
enum { BATCH = 1024, ROOM = 1536, ANSWER = 20 + 30 * 6, CARS = 64, SOCKETS = 64 };

static char in[BATCH][ROOM], out[BATCH][ANSWER];
static struct sockaddr_in from[BATCH];
static struct mmsghdr heads[BATCH], sends[BATCH];
static struct iovec in_io[BATCH], out_io[BATCH];
static char control[BATCH][CMSG_SPACE(2)];

int main(int argc, char **argv) {
    int gather = argc > 2 ? atoi(argv[2]) : 0, socket_ = socket(AF_INET, SOCK_DGRAM, 0), size = 8 << 20;
    struct sockaddr_in me = {.sin_family = AF_INET, .sin_port = htons(argc > 1 ? atoi(argv[1]) : 3000), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    setsockopt(socket_, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    if (bind(socket_, (struct sockaddr *)&me, sizeof me)) return perror("bind"), 1;
    for (;;) {
        for (int n = 0; n < BATCH; n++) {
            in_io[n] = (struct iovec){in[n], ROOM};
            heads[n].msg_hdr = (struct msghdr){.msg_iov = &in_io[n], .msg_iovlen = 1, .msg_name = &from[n], .msg_namelen = sizeof from[n]};
        }
        int came = recvmmsg(socket_, heads, BATCH, MSG_WAITFORONE, NULL), trains = 0, cars = 0;
        // The answers to each port in one row, in the order in which the ports first came.
        static unsigned short ports[SOCKETS], next[BATCH], first[SOCKETS], last[SOCKETS];
        int known = 0;
        for (int n = 0; n < came; n++) {
            int at = 0;
            while (at < known && ports[at] != from[n].sin_port) at++;
            if (at == SOCKETS) continue;
            if (at == known) ports[known++] = from[n].sin_port, first[at] = n; else next[last[at]] = n;
            last[at] = n; next[n] = BATCH;
        }
        for (int at = 0; at < known; at++) {
            struct msghdr *head = NULL;
            int size_before = 0;
            for (int n = first[at]; n < BATCH; n = next[n]) {
                int action, len = ANSWER;
                memcpy(&action, in[n] + 8, 4);
                if (ntohl(action) == 0) len = 16; else if (ntohl(action) == 2) len = 8 + 12 * ((heads[n].msg_len - 16) / 20);
                if (len > ANSWER) len = ANSWER;
                memcpy(out[n], &action, 4); memcpy(out[n] + 4, in[n] + 12, 4); memset(out[n] + 8, 1, len - 8);
                if (!head || size_before != ANSWER || head->msg_iovlen == CARS) {
                    head = &sends[trains].msg_hdr;
                    *head = (struct msghdr){.msg_iov = &out_io[cars], .msg_name = &from[n], .msg_namelen = sizeof from[n]};
                    if (len == ANSWER) {
                        head->msg_control = control[trains]; head->msg_controllen = sizeof control[0];
                        struct cmsghdr *c = CMSG_FIRSTHDR(head);
                        c->cmsg_level = SOL_UDP; c->cmsg_type = UDP_SEGMENT; c->cmsg_len = CMSG_LEN(2);
                        *(unsigned short *)CMSG_DATA(c) = ANSWER;
                    }
                    trains++;
                }
                out_io[cars++] = (struct iovec){out[n], len};
                head->msg_iovlen++;
                size_before = len;
            }
        }
        for (int sent = 0; sent < trains;) {
            int n = sendmmsg(socket_, sends + sent, trains - sent, 0);
            sent += n > 0 ? n : 1;
        }
        if (gather) nanosleep(&(struct timespec){0, gather * 1000}, NULL);
    }
}

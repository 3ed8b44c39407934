// What the kernel alone costs, by the way that packets are taken and sent: answers as our tracker does, those to one socket as one
// (UDP_SEGMENT), but looks nothing up: every announce gets the same 30 peers that nobody is. Not a tracker: it believes every id.
//   apt-get install liburing-dev; cc -O2 -o udp_floor bench/udp_floor.c -luring
//   python3 bench/udp_tracker.py 3 15 "floor=./udp_floor 3000" "uring=./udp_floor 3000 recv=uring send=uring" aquatic
// Options: recv=mmsg|one|uring|ring (recvmmsg; recvfrom; io_uring, multishot, provided buffers; packets in memory shared with the kernel, as root),
// send=mmsg|one|uring, batch=PACKETS of a call, cars=PACKETS sent as one, gather=MICROSECONDS of sleep before each call, busy=MICROSECONDS
// of SO_BUSY_POLL, nocheck=1 (SO_NO_CHECK: no checksums), confirm=1 (MSG_CONFIRM), pktinfo=1 (IP_PKTINFO asked for and given back).
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <liburing.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
enum { MOST = 4096, ROOM = 1536, ANSWER = 20 + 30 * 6, SOCKETS = 64, CONTROL = 64, BUFFER = 2048, FRAME = 2048, FRAMES = 8192, BLOCK = 1 << 17 };

// A batch: what came and from where, and the messages that answer it.
static char room[MOST][ROOM], out[MOST][ANSWER], control_in[MOST][CONTROL], control_out[MOST][CONTROL];
static struct { char *bytes; int len; struct sockaddr_in from; struct in_pktinfo to; } in[MOST];
static struct sockaddr_in names[MOST];
static struct mmsghdr heads[MOST], sends[MOST];
static struct iovec in_io[MOST], out_io[MOST];
static int batch = 1024, most_cars = 64, gather, confirm, pktinfo, socket_;

static int number(int argc, char **argv, const char *name, int otherwise) {
    size_t len = strlen(name);
    for (int n = 2; n < argc; n++) if (!strncmp(argv[n], name, len) && argv[n][len] == '=') return atoi(argv[n] + len + 1);
    return otherwise;
}
static const char *word(int argc, char **argv, const char *name, const char *otherwise) {
    size_t len = strlen(name);
    for (int n = 2; n < argc; n++) if (!strncmp(argv[n], name, len) && argv[n][len] == '=') return argv[n] + len + 1;
    return otherwise;
}
static void must(int good, const char *what) { if (!good) perror(what), exit(1); }

static int take_mmsg(void) {
    for (int n = 0; n < batch; n++) {
        in_io[n] = (struct iovec){room[n], ROOM};
        heads[n].msg_hdr = (struct msghdr){.msg_iov = &in_io[n], .msg_iovlen = 1, .msg_name = &names[n], .msg_namelen = sizeof names[n]};
        if (pktinfo) heads[n].msg_hdr.msg_control = control_in[n], heads[n].msg_hdr.msg_controllen = CONTROL;
    }
    int came = recvmmsg(socket_, heads, batch, MSG_WAITFORONE, NULL);
    for (int n = 0; n < came; n++) {
        in[n].bytes = room[n], in[n].len = heads[n].msg_len, in[n].from = names[n];
        struct cmsghdr *c = pktinfo ? CMSG_FIRSTHDR(&heads[n].msg_hdr) : NULL;
        if (c) memcpy(&in[n].to, CMSG_DATA(c), sizeof in[n].to);
    }
    return came;
}
static int take_one(void) {
    int came = 0;
    for (; came < batch; came++) {
        socklen_t size = sizeof names[0];
        in[came].len = recvfrom(socket_, room[came], ROOM, came ? MSG_DONTWAIT : 0, (struct sockaddr *)&in[came].from, &size);
        if (in[came].len < 0) break;
        in[came].bytes = room[came];
    }
    return came;
}

// io_uring: one request receives until it is told to stop, into buffers that are given back when their batch has been answered.
static struct io_uring ring;
static struct io_uring_buf_ring *buffers;
static char (*buffer)[BUFFER];
static struct msghdr shape = {.msg_namelen = sizeof(struct sockaddr_in)};
static int lent[MOST], lent_count, armed;
static void uring_begin(void) {
    struct io_uring_params params = {.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE, .cq_entries = 4 * MOST};
    int bad = io_uring_queue_init_params(MOST, &ring, &params);
    if (bad) fprintf(stderr, "io_uring: %s\n", strerror(-bad)), exit(1);
    size_t size = MOST * sizeof(struct io_uring_buf);
    must(!posix_memalign((void **)&buffers, 4096, size) && !posix_memalign((void **)&buffer, 4096, MOST * BUFFER), "memory");
    struct io_uring_buf_reg reg = {.ring_addr = (unsigned long)buffers, .ring_entries = MOST, .bgid = 0};
    must(!io_uring_register_buf_ring(&ring, &reg, 0), "buffers");
    io_uring_buf_ring_init(buffers);
    for (int n = 0; n < MOST; n++) io_uring_buf_ring_add(buffers, buffer[n], BUFFER, n, io_uring_buf_ring_mask(MOST), n);
    io_uring_buf_ring_advance(buffers, MOST);
}
static void give_back(void) {
    for (int n = 0; n < lent_count; n++) io_uring_buf_ring_add(buffers, buffer[lent[n]], BUFFER, lent[n], io_uring_buf_ring_mask(MOST), n);
    io_uring_buf_ring_advance(buffers, lent_count);
    lent_count = 0;
}
static int take_uring(void) {
    give_back();
    if (!armed) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
        io_uring_prep_recvmsg_multishot(sqe, socket_, &shape, 0);
        sqe->flags |= IOSQE_BUFFER_SELECT, sqe->buf_group = 0, sqe->user_data = 1, armed = 1;
    }
    io_uring_submit_and_wait(&ring, 1);
    // Each time, it receives no more than 32 before it lets others have their turn.
    for (unsigned before = 0, now; (now = io_uring_cq_ready(&ring)) > before && now < (unsigned)batch && armed; before = now) io_uring_get_events(&ring);
    struct io_uring_cqe *cqe;
    unsigned at, seen = 0;
    int came = 0;
    io_uring_for_each_cqe(&ring, at, cqe) {
        if (came == batch) break;
        seen++;
        if (cqe->user_data != 1) continue;
        if (!(cqe->flags & IORING_CQE_F_MORE)) armed = 0;
        if (cqe->res < 0 || !(cqe->flags & IORING_CQE_F_BUFFER)) continue;
        int which = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
        struct io_uring_recvmsg_out *got = io_uring_recvmsg_validate(buffer[which], cqe->res, &shape);
        lent[lent_count++] = which;
        if (!got) continue;
        in[came].bytes = io_uring_recvmsg_payload(got, &shape), in[came].len = io_uring_recvmsg_payload_length(got, cqe->res, &shape);
        memcpy(&in[came++].from, io_uring_recvmsg_name(got), sizeof in[0].from);
    }
    io_uring_cq_advance(&ring, seen);
    return came;
}

// Memory shared with the kernel (PACKET_RX_RING): whoever delivers a packet copies it there. The socket itself drops all that comes.
static int packets;
static char *frames;
static unsigned next_frame, held_from;
static void ring_begin(int port) {
    struct sock_filter to_port[] = {
        {BPF_LD | BPF_H | BPF_ABS, 0, 0, 12}, {BPF_JMP | BPF_JEQ | BPF_K, 0, 5, ETH_P_IP}, {BPF_LD | BPF_B | BPF_ABS, 0, 0, 23},
        {BPF_JMP | BPF_JEQ | BPF_K, 0, 3, IPPROTO_UDP}, {BPF_LD | BPF_H | BPF_ABS, 0, 0, 36}, {BPF_JMP | BPF_JEQ | BPF_K, 0, 1, port},
        {BPF_RET | BPF_K, 0, 0, 0xffff}, {BPF_RET | BPF_K, 0, 0, 0}}, nothing[] = {{BPF_RET | BPF_K, 0, 0, 0}};
    struct sock_fprog wanted = {8, to_port}, none = {1, nothing};
    int version = TPACKET_V2, yes = 1;
    struct tpacket_req req = {.tp_block_size = BLOCK, .tp_block_nr = FRAMES / (BLOCK / FRAME), .tp_frame_size = FRAME, .tp_frame_nr = FRAMES};
    struct sockaddr_ll me = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP), .sll_ifindex = if_nametoindex("lo")};
    must(!setsockopt(socket_, SOL_SOCKET, SO_ATTACH_FILTER, &none, sizeof none), "filter");
    must((packets = socket(AF_PACKET, SOCK_RAW, 0)) >= 0, "packet socket");
    must(!setsockopt(packets, SOL_SOCKET, SO_ATTACH_FILTER, &wanted, sizeof wanted), "filter");
    must(!setsockopt(packets, SOL_PACKET, PACKET_VERSION, &version, sizeof version), "version");
    must(!setsockopt(packets, SOL_PACKET, PACKET_IGNORE_OUTGOING, &yes, sizeof yes), "outgoing");
    must(!setsockopt(packets, SOL_PACKET, PACKET_RX_RING, &req, sizeof req), "ring");
    frames = mmap(NULL, (size_t)FRAMES * FRAME, PROT_READ | PROT_WRITE, MAP_SHARED, packets, 0);
    must(frames != MAP_FAILED && !bind(packets, (struct sockaddr *)&me, sizeof me), "ring");
}
static int take_ring(void) {
    for (; held_from != next_frame; held_from++) __atomic_store_n(&((struct tpacket2_hdr *)(frames + held_from % FRAMES * FRAME))->tp_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
    int came = 0;
    while (came < batch) {
        struct tpacket2_hdr *frame = (struct tpacket2_hdr *)(frames + next_frame % FRAMES * FRAME);
        if (!(__atomic_load_n(&frame->tp_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER)) {
            if (came) break;
            poll(&(struct pollfd){packets, POLLIN, 0}, 1, 1000);
            continue;
        }
        struct iphdr *ip = (struct iphdr *)((char *)frame + frame->tp_net);
        struct udphdr *udp = (struct udphdr *)((char *)ip + ip->ihl * 4);
        in[came].bytes = (char *)(udp + 1), in[came].len = ntohs(udp->len) - 8;
        in[came++].from = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = udp->source, .sin_addr = {ip->saddr}};
        next_frame++;
    }
    return came;
}

static void send_mmsg(int count) {
    for (int sent = 0; sent < count;) {
        int n = sendmmsg(socket_, sends + sent, count - sent, confirm ? MSG_CONFIRM : 0);
        sent += n > 0 ? n : 1;
    }
}
static void send_one(int count) {
    for (int n = 0; n < count; n++) sendmsg(socket_, &sends[n].msg_hdr, confirm ? MSG_CONFIRM : 0);
}
// They are sent while they are handed over, so that their memory is free again afterwards.
static void send_uring(int count) {
    for (int n = 0; n < count; n++) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
        if (!sqe) { io_uring_submit(&ring); sqe = io_uring_get_sqe(&ring); }
        io_uring_prep_sendmsg(sqe, socket_, &sends[n].msg_hdr, MSG_DONTWAIT);
        sqe->flags |= IOSQE_CQE_SKIP_SUCCESS, sqe->user_data = 2;
    }
    io_uring_submit(&ring);
}

static int answer(int came) {
    static unsigned short ports[SOCKETS], next[MOST], first[SOCKETS], last[SOCKETS];
    static unsigned addresses[SOCKETS];
    int known = 0, trains = 0, cars = 0;
    // The answers to each socket in one row, in the order in which the sockets first came.
    for (int n = 0; n < came; n++) {
        int at = 0;
        while (at < known && (ports[at] != in[n].from.sin_port || addresses[at] != in[n].from.sin_addr.s_addr)) at++;
        if (at == SOCKETS) continue;
        if (at == known) addresses[known] = in[n].from.sin_addr.s_addr, ports[known++] = in[n].from.sin_port, first[at] = n; else next[last[at]] = n;
        last[at] = n; next[n] = MOST;
    }
    for (int at = 0; at < known; at++) {
        struct msghdr *head = NULL;
        int size_before = 0;
        for (int n = first[at]; n < MOST; n = next[n]) {
            int action, len = ANSWER;
            memcpy(&action, in[n].bytes + 8, 4);
            if (ntohl(action) == 0) len = 16; else if (ntohl(action) == 2) len = 8 + 12 * ((in[n].len - 16) / 20);
            if (len > ANSWER) len = ANSWER;
            memcpy(out[n], &action, 4); memcpy(out[n] + 4, in[n].bytes + 12, 4); memset(out[n] + 8, 1, len - 8);
            if (!head || size_before != ANSWER || (int)head->msg_iovlen == most_cars) {
                head = &sends[trains].msg_hdr;
                *head = (struct msghdr){.msg_iov = &out_io[cars], .msg_name = &in[n].from, .msg_namelen = sizeof in[n].from, .msg_control = control_out[trains]};
                head->msg_controllen = CONTROL;
                struct cmsghdr *c = CMSG_FIRSTHDR(head);
                size_t used = 0;
                if (pktinfo) {
                    c->cmsg_level = IPPROTO_IP; c->cmsg_type = IP_PKTINFO; c->cmsg_len = CMSG_LEN(sizeof in[n].to);
                    memcpy(CMSG_DATA(c), &in[n].to, sizeof in[n].to);
                    used += CMSG_SPACE(sizeof in[n].to);
                    c = (struct cmsghdr *)(control_out[trains] + used);
                }
                if (len == ANSWER && most_cars > 1) {
                    c->cmsg_level = SOL_UDP; c->cmsg_type = UDP_SEGMENT; c->cmsg_len = CMSG_LEN(2);
                    *(unsigned short *)CMSG_DATA(c) = ANSWER;
                    used += CMSG_SPACE(2);
                }
                head->msg_controllen = used;
                trains++;
            }
            out_io[cars++] = (struct iovec){out[n], len};
            head->msg_iovlen++;
            size_before = len;
        }
    }
    return trains;
}

int main(int argc, char **argv) {
    int port = argc > 1 ? atoi(argv[1]) : 3000, size = 8 << 20, yes = 1, busy = number(argc, argv, "busy", 0);
    const char *recv_ = word(argc, argv, "recv", "mmsg"), *send_ = word(argc, argv, "send", "mmsg");
    batch = number(argc, argv, "batch", batch), most_cars = number(argc, argv, "cars", most_cars), gather = number(argc, argv, "gather", 0);
    confirm = number(argc, argv, "confirm", 0), pktinfo = number(argc, argv, "pktinfo", 0);
    // The calls take no more than 1,024 (UIO_MAXIOV).
    if (batch > (*recv_ == 'm' ? 1024 : MOST / 2)) return fprintf(stderr, "batch\n"), 2;
    struct sockaddr_in me = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(pktinfo ? INADDR_ANY : INADDR_LOOPBACK)}};
    must((socket_ = socket(AF_INET, SOCK_DGRAM, 0)) >= 0, "socket");
    setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    setsockopt(socket_, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    if (number(argc, argv, "nocheck", 0)) must(!setsockopt(socket_, SOL_SOCKET, SO_NO_CHECK, &yes, sizeof yes), "SO_NO_CHECK");
    if (busy) must(!setsockopt(socket_, SOL_SOCKET, SO_BUSY_POLL, &busy, sizeof busy), "SO_BUSY_POLL");
    if (pktinfo) must(!setsockopt(socket_, IPPROTO_IP, IP_PKTINFO, &yes, sizeof yes), "IP_PKTINFO");
    int (*take)(void) = !strcmp(recv_, "uring") ? take_uring : !strcmp(recv_, "ring") ? take_ring : !strcmp(recv_, "one") ? take_one : take_mmsg;
    void (*send)(int) = !strcmp(send_, "uring") ? send_uring : !strcmp(send_, "one") ? send_one : send_mmsg;
    if (take == take_uring || send == send_uring) uring_begin();
    if (take == take_ring) ring_begin(port);
    // The io_uring of one that has just ended holds the port for a while.
    int bound = bind(socket_, (struct sockaddr *)&me, sizeof me);
    for (int n = 0; bound && n < 50; n++) usleep(100000), bound = bind(socket_, (struct sockaddr *)&me, sizeof me);
    must(!bound, "bind");
    for (;;) {
        int came = take();
        if (came > 0) send(answer(came));
        if (gather && came < batch) nanosleep(&(struct timespec){0, gather * 1000}, NULL);
    }
}

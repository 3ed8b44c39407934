"""What somebody who shares the uplink of a seed notices: round trips (ping), and what an upload of another program gets beside ours.

A seed and four leeches of 100 Mbit/s, each in a network namespace of its own; the seed's uplink is capped. Needs root, and ping; nothing leaves the machine.

    python3 bench/neighbour.py [Mbit/s of the seed, 20] [congestion control of the other upload: cubic, bbr, reno]
"""
import argparse, re, shutil, subprocess, sys, time
import clients as C
from swarm import PORT, Net

LEECHES, MIB, SECONDS = 4, 256, 25
SEND = """
import socket, sys, time
s = socket.socket(); s.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, sys.argv[1].encode()); s.connect(("10.88.0.1", 7000))
until = time.time() + float(sys.argv[2])
while time.time() < until: s.send(b"x" * 65536)
"""
RECEIVE = """
import socket
l = socket.create_server(("10.88.0.1", 7000)); print("ready", flush=True)
c, _ = l.accept(); n = 0
while b := c.recv(1 << 18): n += len(b)
print(n, flush=True)
"""


def inside(ns, *argv, **kind):
    return subprocess.Popen(["ip", "netns", "exec", ns, *argv], text=True, **kind)


class Watch:
    """Round trips through the seed's uplink, and the bytes that went over it, for some seconds."""

    def __init__(self, net, seconds):
        self.net, self.seconds, self.before, self.t0 = net, seconds, net.sent(0), time.time()
        self.ping = inside(net.ns(0), "ping", "-q", "-i", "0.1", "-c", str(int(seconds * 10)), "10.88.0.1", stdout=subprocess.PIPE)

    def result(self):
        said = re.search(r"= ([\d.]+)/([\d.]+)/([\d.]+)", self.ping.communicate()[0])
        mbit = (self.net.sent(0) - self.before) * 8e-6 / (time.time() - self.t0)
        return mbit, f"round trip {float(said[2]):.0f} ms in the mean, {float(said[3]):.0f} at most"


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("up", type=float, nargs="?", default=20); ap.add_argument("control", nargs="?", default="cubic")
    ap.add_argument("--client", default="samara"); ap.add_argument("--dir", default="/dev/shm/bench")
    a = ap.parse_args()
    src, work = f"{a.dir}/swarm-{MIB}-512-v1", f"{a.dir}/neighbour-work"
    make = [C.LT_PY, f"{C.HERE}/make.py", src, str(MIB << 20), "http://10.88.0.1:6969/announce", "512", "v1"]
    subprocess.run(make, check=True, stderr=subprocess.DEVNULL)
    shutil.rmtree(work, ignore_errors=True)
    net = Net("nb", [a.up] + [100] * LEECHES)
    hosts, others = [], [inside(net.hub, sys.executable, f"{C.HERE}/tracker.py", "10.88.0.1", "6969", stderr=subprocess.DEVNULL)]
    try:
        time.sleep(0.5)
        torrent = f"{src}/payload.torrent"
        for i in range(LEECHES + 1):
            content = f"{work}/o{i}" if i else src
            hosts.append(C.CLIENTS[a.client](net.ns(i), f"{work}/h{i}", torrent, content, PORT, net.ip(i), i == 0))
            hosts[i].start()
            while i == 0 and not hosts[0].ready(): time.sleep(0.1)
            if hasattr(hosts[i], "add") and i: hosts[i].add()
        receiver = inside(net.hub, sys.executable, "-c", RECEIVE, stdout=subprocess.PIPE)
        others.append(receiver)
        receiver.stdout.readline()
        time.sleep(8)
        mbit, trips = Watch(net, 8).result()
        print(f"{a.client} alone           {mbit:5.1f} of {a.up:.0f} Mbit/s; {trips}", flush=True)
        watch = Watch(net, SECONDS)
        sender = inside(net.ns(0), sys.executable, "-c", SEND, a.control, str(SECONDS))
        others.append(sender)
        mbit, trips = watch.result()
        sender.wait()
        got = int(receiver.stdout.readline()) * 8e-6 / SECONDS
        print(f"with another upload    {mbit:5.1f} in all, {got:.1f} of it the other's ({a.control}); {trips}", flush=True)
        time.sleep(5)
        mbit, trips = Watch(net, 8).result()
        print(f"alone again            {mbit:5.1f}; {trips}", flush=True)
    finally:
        for h in hosts: h.stop()
        for p in others: p.kill(); p.wait()
        net.clean(); shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()

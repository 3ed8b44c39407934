#!/usr/bin/env python3
"""What a shared store costs a Redis server: memory a peer, and the tracker's script a second.

Starts a redis-server of its own on loopback (--valkey FILE takes another program), and writes swarms as trackers do,
with their script. Prints what the server says that it uses, beyond what it used when it was empty.
"""
import argparse, os, socket, struct, subprocess, tempfile, time

SCRIPT = os.path.join(os.path.dirname(__file__), "../crates/tracker/src/serve/shared/script.lua")


def command(*words):
    out = [b"*%d\r\n" % len(words)]
    for word in words:
        word = word if isinstance(word, bytes) else str(word).encode()
        out.append(b"$%d\r\n%s\r\n" % (len(word), word))
    return b"".join(out)


class Server:
    def __init__(self, program):
        probe = socket.create_server(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        self.folder = tempfile.TemporaryDirectory()
        self.child = subprocess.Popen(
            [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", self.folder.name],
            stdout=subprocess.DEVNULL)
        for _ in range(100):
            try:
                self.socket = socket.create_connection(("127.0.0.1", port))
                break
            except OSError:
                time.sleep(0.05)
        self.input = self.socket.makefile("rb")

    def answer(self):
        line = self.input.readline()
        assert line[:1] != b"-", line
        if line[:1] == b"$" and int(line[1:]) >= 0:
            return self.input.read(int(line[1:]) + 2)[:-2]
        return line[1:-2]

    def ask(self, *words):
        self.socket.sendall(command(*words))
        return self.answer()

    def pipeline(self, commands):
        self.socket.sendall(b"".join(commands))
        for _ in commands:
            self.answer()

    def used(self):
        info = self.ask("INFO", "memory").decode()
        return int(info.split("used_memory:")[1].split()[0])

    def cpu(self):
        fields = open(f"/proc/{self.child.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def fill(server, script, swarms, peers, life):
    """Writes so many swarms of so many peers each, a command for each peer as trackers do."""
    batch, count, cpu, start = [], 0, server.cpu(), time.time()
    for swarm in range(swarms):
        key = "samara:{%s}" % struct.pack(">IQQ", swarm * 0x9E3779B1 & 0xFFFFFFFF, swarm, peers).hex()
        for peer in range(peers):
            address = struct.pack(">IH", 0x32000000 + swarm * peers + peer & 0xFFFFFFFF, 6881)
            batch.append(command("EVALSHA", script, 1, key, 100002, 86400, "l", 0, 1000000, address, 5, life))
            if len(batch) == 1000:
                server.pipeline(batch)
                batch = []
            count += 1
    server.pipeline(batch)
    return count, server.cpu() - cpu, time.time() - start


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--valkey", default="redis-server", metavar="FILE")
    args.add_argument("--swarms", type=int, default=200_000)
    args = args.parse_args()
    for swarms, peers in ((args.swarms, 1), (args.swarms, 2), (args.swarms // 10, 20), (args.swarms // 2000, 4000)):
        server = Server(args.valkey)
        script = server.ask("SCRIPT", "LOAD", open(SCRIPT).read())
        empty = server.used()
        count, cpu, wall = fill(server, script, swarms, peers, 660)
        used = server.used() - empty
        print(f"{swarms:7} swarms of {peers:4}: {used / count:5.0f} bytes a peer, {used / swarms:8.0f} a swarm; "
              f"{count / cpu:7.0f} scripts a CPU-second of the server ({wall:.0f} s)")
        server.child.terminate()
        server.child.wait()


main()

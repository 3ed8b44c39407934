"""A tracker that is not ours, as plain as BEP 3 and 23 allow: no counts of who waits, no warnings,
dictionary peers unless compact ones are asked for, everybody is given to everybody.

argv: ip port
"""
import socket
import struct
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote_to_bytes

swarms, lock = {}, threading.Lock()


def bencode(value):
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    if isinstance(value, list):
        return b"l" + b"".join(map(bencode, value)) + b"e"
    return b"d" + b"".join(bencode(key) + bencode(value[key]) for key in sorted(value)) + b"e"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"

    def log_message(self, *args):
        pass

    def do_GET(self):
        path, _, query = self.path.partition("?")
        args = {}
        for part in query.split("&"):
            key, _, value = part.partition("=")
            args[key] = unquote_to_bytes(value)
        body = self.announce(args) if path == "/announce" else {b"failure reason": b"no such page"}
        body = bencode(body)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def announce(self, args):
        if len(args.get("info_hash", b"")) != 20 or len(args.get("peer_id", b"")) != 20:
            return {b"failure reason": b"info_hash and peer_id are 20 bytes"}
        me = (self.client_address[0], int(args["port"]))
        with lock:
            swarm = swarms.setdefault(args["info_hash"], {})
            if args.get("event") == b"stopped":
                swarm.pop(me, None)
            else:
                swarm[me] = (args["peer_id"], int(args.get("left", b"1")))
            others = [(addr, who) for addr, who in swarm.items() if addr != me]
            seeds = sum(1 for _, left in swarm.values() if left == 0)
        if args.get("compact") == b"1":
            peers = b"".join(socket.inet_aton(ip) + struct.pack(">H", port) for (ip, port), _ in others)
        else:
            peers = [{b"ip": ip.encode(), b"port": port, b"peer id": who[0]} for (ip, port), who in others]
        return {b"interval": 5, b"complete": seeds, b"incomplete": len(swarm) - seeds, b"peers": peers}


server = ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler)
print("listening", flush=True)
server.serve_forever()

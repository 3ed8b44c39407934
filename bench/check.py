"""Checking and making a torrent of one large file: samara beside libtorrent, interleaved. argv: [MiB] [-n rounds] [--kind v1|hybrid|v2]

The file is in memory (--dir), so that what is measured is reading from the page cache and hashing. CPU is user + system of the whole process;
libtorrent's includes the start of Python (about 0.1 s), its wall time is taken inside, from the call to its end.
"""
import argparse, json, os, resource, subprocess, sys, time
import clients as C, machine as M

INNER = r'''
import libtorrent as lt, sys, time, os
what, torrent, folder, piece, kind = sys.argv[1:6]
t = time.time()
if what == "check":
    s = lt.session({"listen_interfaces": "127.0.0.1:0", "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False})
    p = lt.load_torrent_file(torrent); p.save_path = folder; p.trackers = []
    h = s.add_torrent(p)
    while h.status().state != lt.torrent_status.seeding: time.sleep(0.005)
else:
    fs = lt.file_storage(); lt.add_files(fs, os.path.join(folder, "payload.bin"))
    c = lt.create_torrent(fs, int(piece), {"v1": lt.create_torrent.v1_only, "v2": lt.create_torrent.v2_only, "hybrid": 0}[kind])
    lt.set_piece_hashes(c, folder); lt.bencode(c.generate())
print(time.time() - t, flush=True)
os._exit(0)
'''
ap = argparse.ArgumentParser()
ap.add_argument("mib", type=int, nargs="?", default=1024); ap.add_argument("-n", type=int, default=5)
ap.add_argument("--kind", default="v1"); ap.add_argument("--dir", default="/dev/shm/bench")
a = ap.parse_args()
src = f"{a.dir}/src-{a.mib}-{a.kind}"
torrent = f"{src}/payload.torrent"
subprocess.run([C.LT_PY, "-W", "ignore", f"{C.HERE}/make.py", src, str(a.mib << 20), "http://127.0.0.1:1/announce", "512", a.kind], check=True)
samara = os.path.abspath(C.SAMARA)


def run(argv, wall_inside):
    before, t = resource.getrusage(resource.RUSAGE_CHILDREN), time.time()
    out = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    wall = float(out.split()[-1]) if wall_inside else time.time() - t
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


lt = lambda what: run([C.LT_PY, "-W", "ignore", "-c", INNER, what, torrent, src, str(512 << 10), a.kind], True)
jobs = {
    "verify samara": lambda: run([samara, "-q", "verify", torrent, "--data", src], False),
    "verify libtorrent": lambda: lt("check"),
    "create samara": lambda: run([samara, "-q", "create", "--force", "--format", a.kind, "--piece-size", "512KiB", "-o", f"{a.dir}/made.torrent",
                                  f"{src}/payload.bin"], False),
    "create libtorrent": lambda: lt("create"),
}
print(M.line())
rows = {name: [] for name in jobs}
for _ in range(a.n):
    for name, job in jobs.items():
        rows[name].append(job())
for what in ("verify", "create"):
    wall, cpu = {}, {}
    for who in ("samara", "libtorrent"):
        got = rows[f"{what} {who}"]
        wall[who], cpu[who] = M.median([x[0] for x in got]), M.median([x[1] for x in got])
        print(f"{what} {who:11s} {a.kind}: {a.mib / wall[who]:7.0f} MiB/s  wall {wall[who]:.2f} s  CPU {cpu[who]:.2f} s  (median of {a.n})")
    print(f"{what}: samara takes {wall['samara'] / wall['libtorrent']:.2f} of libtorrent's time and {cpu['samara'] / cpu['libtorrent']:.2f} of its CPU")

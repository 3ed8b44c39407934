"""Many connections on one machine: CPU seconds per GiB moved, beside one seed and one leech.

argv: [MiB] [-n rounds] [--hosts 50] [--torrents 8]. Four set-ups, each host a process: a pair; one seed and --hosts leeches; --hosts seeds and one
leech; --torrents pairs at once. Moved is what the leeches hold in the end. All listen on one address of a namespace of their own.
"""
import argparse, os, shutil, subprocess, sys, time
import clients as C, machine as M

ap = argparse.ArgumentParser()
ap.add_argument("mib", type=int, nargs="?", default=256); ap.add_argument("-n", type=int, default=3)
ap.add_argument("--hosts", type=int, default=50); ap.add_argument("--torrents", type=int, default=8)
ap.add_argument("--dir", default="/dev/shm/bench"); ap.add_argument("--timeout", type=float, default=150)
ap.add_argument("--only", default="pair,leeches,seeds,torrents")
a = ap.parse_args()
NS, IP, PORT = "btmany", "10.88.1.1", 26970
subprocess.run(["ip", "netns", "del", NS], capture_output=True)
for cmd in (f"ip netns add {NS}", f"ip -n {NS} link set lo up", f"ip -n {NS} addr add {IP}/32 dev lo"):
    subprocess.run(cmd.split(), check=True)


def source(mib, which=0):
    src = f"{a.dir}/many-{mib}-{which}"
    subprocess.run([C.LT_PY, "-W", "ignore", f"{C.HERE}/make.py", src, str(mib << 20), f"http://{IP}:{PORT}/announce", "512", "v1"], check=True)
    return src


def run(mib, seeds, leeches, torrents):
    """CPU s a GiB moved, MiB/s moved."""
    work = f"{a.dir}/many-work"
    shutil.rmtree(work, ignore_errors=True)
    sources = [source(mib, which) for which in range(torrents)]
    os.makedirs(work)
    tracker = subprocess.Popen(["ip", "netns", "exec", NS, sys.executable, f"{C.HERE}/tracker.py", IP, str(PORT)], stderr=subprocess.DEVNULL)
    M.until_listening(NS, PORT)
    hosts, port = [], 21000
    for which, src in enumerate(sources):
        for seed, count in ((True, seeds), (False, leeches)):
            for at in range(count):
                home = f"{work}/{which}-{'s' if seed else 'l'}{at}"
                hosts.append(C.Samara(NS, home, f"{src}/payload.torrent", src if seed else f"{home}/out", port, IP, seed))
                port += 1
    givers, takers = [h for h in hosts if h.seed], [h for h in hosts if not h.seed]
    for host in givers:
        host.start()
    while not all(host.ready() for host in givers):
        time.sleep(0.1)
    time.sleep(1.0)
    M.warm(a.dir, len(takers) * (mib + 64))
    cpu, t0 = sum(host.cpu() for host in givers), time.time()
    for host in takers:
        host.start()
    while not all(host.poll() for host in takers) and time.time() - t0 < a.timeout:
        time.sleep(0.1)
    wall = time.time() - t0
    cpu = sum(host.cpu() for host in hosts) - cpu
    done = sum(1 for host in takers if host.poll())
    for host in hosts:
        host.stop()
    tracker.terminate(); tracker.wait()
    shutil.rmtree(work, ignore_errors=True)
    if done < len(takers):
        print(f"  only {done} of {len(takers)} finished in {a.timeout:.0f} s", flush=True)
    moved = max(done, 1) * mib
    return cpu / moved * 1024, moved / wall


few = max(a.mib // 4, 16)
setups = {
    "pair": (f"1 seed, 1 leech, {a.mib} MiB", (a.mib, 1, 1, 1)),
    "leeches": (f"1 seed, {a.hosts} leeches, {few} MiB each", (few, 1, a.hosts, 1)),
    "seeds": (f"{a.hosts} seeds, 1 leech, {a.mib} MiB", (a.mib, a.hosts, 1, 1)),
    "torrents": (f"{a.torrents} pairs at once, {few} MiB each", (few, 1, 1, a.torrents)),
}
print(M.line())
rows = {name: [] for name in a.only.split(",")}
for _ in range(a.n):
    for name in rows:
        rows[name].append(run(*setups[name][1]))
base = M.median([x[0] for x in rows["pair"]]) if "pair" in rows else None
for name, got in rows.items():
    cpu = M.median([x[0] for x in got])
    ratio = f", {cpu / base:.2f} x the pair" if base and name != "pair" else ""
    print(f"{setups[name][0]:38s} {M.median([x[1] for x in got]):6.0f} MiB/s in all, {cpu:5.2f} CPU s a GiB{ratio}  (median of {a.n})")

"""UDP trackers side by side: announce responses a tracker CPU-second, and peak memory. The tracker has CPU 0, the load CPU 1, A B A B ...

argv: rounds seconds tracker [tracker ...]; a tracker is `aquatic`, `samara`, or `NAME=COMMAND` that listens on 127.0.0.1:3000.
Load: aquatic_udp_load_test 0.9.0 in $BENCH_HOME/aq/bin, 16 sockets ($SOCKETS), 1M torrents ($TORRENTS), 2M peers ($PEERS), three quarters of them seeds ($SEEDS): seeds are told of
leeches only by samara, of everybody by aquatic, so that only SEEDS=0 compares answers of one length.
"""
import os, re, shlex, statistics, subprocess, sys, time
from clients import BENCH_HOME, SAMARA

rounds, seconds, names = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
torrents, peers = int(os.environ.get("TORRENTS", 1000000)), int(os.environ.get("PEERS", 2000000))
work = f"{BENCH_HOME}/udp"
os.makedirs(work, exist_ok=True)
open(f"{work}/aquatic.toml", "w").write("""socket_workers = 1
[network]
address = "127.0.0.1:3000"
socket_recv_buffer_size = 4000000
[protocol]
max_response_peers = 30
[statistics]
interval = 5
print_to_stdout = false
""")
open(f"{work}/load.toml", "w").write(f"""server_address = "127.0.0.1:3000"
log_level = "error"
workers = 1
duration = {seconds}
summarize_last = {max(5, seconds // 3)}
extra_statistics = true
[network]
multiple_client_ipv4s = true
sockets_per_worker = {os.environ.get("SOCKETS", 16)}
recv_buffer = 4000000
[requests]
number_of_torrents = {torrents}
number_of_peers = {peers}
scrape_max_torrents = 10
announce_peers_wanted = 30
weight_connect = 0
weight_announce = 100
weight_scrape = 1
peer_seeder_probability = {float(os.environ.get("SEEDS", 0.75))}
""")
start = {
    "aquatic": [f"{BENCH_HOME}/aq/bin/aquatic_udp", "-c", f"{work}/aquatic.toml"],
    "samara": [os.path.abspath(SAMARA), "--json", "tracker", "--udp", "127.0.0.1:3000", "--allow-seedless"] + os.environ.get("SAMARA_TRACKER_EXTRA", "--workers 1").split(),
}
for i, name in enumerate(names):
    if "=" in name:
        names[i], command = name.split("=", 1)
        start[names[i]] = shlex.split(command)
rows = {n: [] for n in names}
for r in range(rounds):
    for n in names:
        t = subprocess.Popen(["taskset", "-c", "0"] + start[n], stdout=open(f"{work}/{n}.log", "ab"), stderr=subprocess.STDOUT)
        time.sleep(1.5)
        cpu = lambda: sum(int(x) for x in open(f"/proc/{t.pid}/stat").read().rsplit(")", 1)[1].split()[11:13]) / os.sysconf("SC_CLK_TCK")
        half = seconds - max(5, seconds // 3)
        load = subprocess.Popen(["taskset", "-c", "1", f"{BENCH_HOME}/aq/bin/aquatic_udp_load_test", "-c", f"{work}/load.toml"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        time.sleep(half); c0, t0 = cpu(), time.time()
        time.sleep(max(1, seconds - half - 1)); c1, t1 = cpu(), time.time()
        out = load.communicate()[0]
        hwm = int(re.search(r"VmHWM:\s+(\d+)", open(f"/proc/{t.pid}/status").read()).group(1)) // 1024
        t.terminate(); t.wait()
        tail = out[out.rfind("# aquatic load test report"):]
        ann = float(re.search(r"Announce responses:\s+([\d.]+)", tail).group(1)); err = float(re.search(r"Error responses:\s+([\d.]+)", tail).group(1))
        per = re.findall(r"[Pp]eers per announce response[^\d]*([\d.]+)", out)
        row = dict(per_cpu=ann / max(0.01, (c1 - c0) / (t1 - t0)), wall=ann, hwm=hwm, err=err, per=float(per[-1]) if per else None)
        rows[n].append(row)
        print(n, {k: (round(v, 2) if v is not None else None) for k, v in row.items()}, flush=True)
for n in names:
    m = lambda k: statistics.median(x[k] for x in rows[n])
    print(f"{n:8s} {m('per_cpu'):10.0f} announce responses/CPU-s  {m('wall'):10.0f}/s  peak {m('hwm'):.0f} MiB")
if len(names) == 2:
    a, b = (statistics.median(x["per_cpu"] for x in rows[n]) for n in names)
    print(f"ratio {names[0]}/{names[1]} {a / b:.2f}")

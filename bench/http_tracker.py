"""HTTP trackers side by side: announce responses a tracker CPU-second. The tracker has CPU 0, the load CPU 1, A B A B ...

argv: rounds seconds keep|close tracker [tracker ...]; a tracker is `samara`, `aquatic` or `opentracker`.
Load: aquatic_http_load_test 0.9.0 (closed loop, 128 connections, 10,000 torrents); it counts every response that it can read.
Needs $BENCH_HOME/aq/bin (cargo install aquatic_http aquatic_http_load_test --root $BENCH_HOME/aq), Debian's opentracker, root.
opentracker of Debian serves listed torrents only: its answers are refusals of 60 bytes unless TORRENTS is a file of info-hashes.
"""
import os, re, statistics, subprocess, sys, time
from clients import BENCH_HOME, SAMARA

rounds, seconds, keep, names = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "keep", sys.argv[4:]
work = f"{BENCH_HOME}/http"
os.makedirs(work, exist_ok=True)
flag = "true" if keep else "false"


def write(name, text):
    with open(f"{work}/{name}", "w") as out:
        out.write(text)


write("aquatic.toml", f"""socket_workers = 1
swarm_workers = 1
[network]
address = "127.0.0.1:3000"
keep_alive = {flag}
""")
write("load.toml", f"""server_address = "127.0.0.1:3000"
log_level = "error"
num_connections = 128
connection_creation_interval_ms = {10 if keep else 0}
duration = {seconds}
keep_alive = {flag}
enable_tls = false
""")
write("opentracker.conf", f"listen.tcp 127.0.0.1:3000\naccess.whitelist {os.environ.get('TORRENTS', '/dev/null')}\n")
commands = {
    "aquatic": [f"{BENCH_HOME}/aq/bin/aquatic_http", "-c", f"{work}/aquatic.toml"],
    "samara": [os.path.abspath(SAMARA), "--json", "tracker", "--http", "127.0.0.1:3000", "--allow-seedless", "--workers", "1"],
    "opentracker": ["opentracker", "-f", f"{work}/opentracker.conf"],
}


def cpu(pid):
    stat = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return sum(int(ticks) for ticks in stat[11:13]) / os.sysconf("SC_CLK_TCK")


def peak(pid):
    return int(re.search(r"VmHWM:\s+(\d+)", open(f"/proc/{pid}/status").read()).group(1)) / 1024


rows = {name: [] for name in names}
for number in range(rounds):
    for name in names:
        log = open(f"{work}/{name}.log", "ab")
        tracker = subprocess.Popen(["taskset", "-c", "0"] + commands[name], stdout=log, stderr=log)
        time.sleep(1.5)
        before = cpu(tracker.pid)
        load = ["taskset", "-c", "1", f"{BENCH_HOME}/aq/bin/aquatic_http_load_test", "-c", f"{work}/load.toml"]
        out = subprocess.run(load, capture_output=True, text=True)
        used, memory = cpu(tracker.pid) - before, peak(tracker.pid)
        tracker.terminate()
        tracker.wait()
        text = out.stdout[out.stdout.rfind("# aquatic"):]
        rates = re.findall(r"(?i)responses[^:\n]*:\s+([\d.]+)", text)
        if not rates:
            sys.exit(f"no report of the load: {out.stdout} {out.stderr}")
        rate = float(rates[0])
        rows[name].append((rate * seconds / used, rate, memory))
        print(number, name, f"{rate:.0f} responses/s, {rate * seconds / used:.0f} a CPU-second, {used / seconds:.2f} CPUs, {memory:.0f} MiB", flush=True)
        if os.environ.get("SHOW"):
            print(text)

for name, runs in rows.items():
    per_cpu = [run[0] for run in runs]
    print(f"{name:12} median {statistics.median(per_cpu):9.0f} a CPU-second ({min(per_cpu):.0f} to {max(per_cpu):.0f}), "
          f"{statistics.median(run[1] for run in runs):.0f}/s, {max(run[2] for run in runs):.0f} MiB")

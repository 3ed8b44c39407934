"""HTTP trackers side by side: announce responses a tracker CPU-second. The tracker has CPU 0, the load CPU 1, A B A B ...

argv: rounds seconds keep|close tracker [tracker ...]; a tracker is `samara`, `opentracker`, `aquatic`, or `NAME=COMMAND` that listens on 127.0.0.1:3000.
Load: bench/http_load.c (closed loop, 128 announces at a time, 40,000 leeches in 4,000 torrents; $AT_A_TIME, $PEERS, $TORRENTS). An answer counts if it has
peers; refusals are counted apart. aquatic_http has a thread for connections and one for swarms, and `aquatic` gives it both CPUs, beside the load; it has
port 3001, since nobody else may have its port for a minute after it has closed connections.
Needs Debian's opentracker (it gets the torrents as its whitelist), $BENCH_HOME/aq/bin/aquatic_http (cargo install aquatic_http --root $BENCH_HOME/aq), root.
"""
import os, re, shlex, statistics, subprocess, sys, time
from clients import BENCH_HOME, SAMARA

rounds, seconds, mode, names = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:]
at_a_time, peers, torrents = (os.environ.get(name, value) for name, value in [("AT_A_TIME", "128"), ("PEERS", "40000"), ("TORRENTS", "4000")])
work = f"{BENCH_HOME}/http"
os.makedirs(work, exist_ok=True)
load = f"{work}/http_load"
subprocess.run(["cc", "-O2", "-o", load, os.path.join(os.path.dirname(os.path.abspath(__file__)), "http_load.c")], check=True)


def write(name, text):
    with open(f"{work}/{name}", "w") as out:
        out.write(text)


write("torrents", subprocess.run([load, "list", torrents], capture_output=True, text=True, check=True).stdout)
write("opentracker.conf", f"listen.tcp 127.0.0.1:3000\naccess.whitelist torrents\ntracker.rootdir {work}\n")
write("aquatic.toml", f"""socket_workers = 1
swarm_workers = 1
[network]
address = "127.0.0.1:3001"
keep_alive = {"true" if mode == "keep" else "false"}
""")
commands = {
    "aquatic": [f"{BENCH_HOME}/aq/bin/aquatic_http", "-c", f"{work}/aquatic.toml"],
    "samara": [os.path.abspath(SAMARA), "--json", "tracker", "--http", "127.0.0.1:3000", "--allow-seedless", "--workers", "1"],
    "opentracker": ["opentracker", "-f", f"{work}/opentracker.conf"],
}
for number, name in enumerate(names):
    if "=" in name:
        names[number], command = name.split("=", 1)
        commands[names[number]] = shlex.split(command)


def cpu(pid):
    stat = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return sum(int(ticks) for ticks in stat[11:13]) / os.sysconf("SC_CLK_TCK")


def peak(pid):
    return int(re.search(r"VmHWM:\s+(\d+)", open(f"/proc/{pid}/status").read()).group(1)) / 1024


rows = {name: [] for name in names}
for number in range(rounds):
    for name in names:
        log = open(f"{work}/{name}.log", "ab")
        cpus = "0,1" if name == "aquatic" else "0"
        tracker = subprocess.Popen(["taskset", "-c", cpus] + commands[name], stdout=log, stderr=log)
        time.sleep(1.5)
        asked = subprocess.Popen(["taskset", "-c", "1", load, "3001" if name == "aquatic" else "3000", seconds, at_a_time, mode, peers, torrents], stdout=subprocess.PIPE, text=True)
        if asked.stdout.readline() != "filled\n":
            sys.exit(f"{name} is not filled: see {work}/{name}.log")
        before, began = cpu(tracker.pid), time.time()
        said = asked.stdout.readline()
        used, took = cpu(tracker.pid) - before, time.time() - began
        asked.wait()
        rate, refused, failed, told = (float(re.search(rf"{word} ([\d.]+)", said).group(1)) for word in ["answers", "refusals", "failed", "peers"])
        rows[name].append((rate * took / used, rate, told, peak(tracker.pid)))
        tracker.terminate()
        tracker.wait()
        print(number, name, f"{rate * took / used:.0f} a CPU-second, {used / took:.2f} CPUs:", said.strip(), flush=True)

for name, runs in rows.items():
    median = lambda column: statistics.median(run[column] for run in runs)
    per_cpu = [run[0] for run in runs]
    print(f"{name:12} median {median(0):9.0f} announce responses a CPU-second ({min(per_cpu):.0f} to {max(per_cpu):.0f}), {median(2):.1f} peers each, {median(1):.0f}/s, {max(run[3] for run in runs):.0f} MiB")

"""Kills the tracker (SIGKILL) again and again while it is under load with a million swarms, starts it again, and says what came back.

argv: rounds [rate [save-every seconds]]; the load is `samara-load` from 16 addresses of this machine, 2 million peers spread evenly over 1.3 million torrents ($TORRENTS), of which a million have any.
Lost may be what was announced after the last snapshot was begun: at most save-every and the time that it takes to write one.
"""
import json, os, random, re, signal, subprocess, sys, tempfile, time, urllib.request

rounds = int(sys.argv[1])
rate = sys.argv[2] if len(sys.argv) > 2 else "40000"
every = float(sys.argv[3]) if len(sys.argv) > 3 else 10
torrents = int(os.environ.get("TORRENTS", 1300000))
HERE = os.path.dirname(os.path.abspath(__file__))
target = os.environ.get("CARGO_TARGET_DIR", f"{HERE}/../target")
samara = os.environ.get("SAMARA", f"{target}/release/samara")
folder = tempfile.mkdtemp(dir=os.environ.get("STATE_IN", HERE + "/../target"))
state, config = f"{folder}/tracker.state", f"{folder}/tracker.toml"
with open(config, "w") as out:
    out.write(f'[http]\nlisten = "127.0.0.1:6970"\n[udp]\nlisten = ["127.0.0.1:6969"]\nworkers = 1\nsecret = "{"5a" * 16}"\n[state]\nfile = "{state}"\nsave-every = "{every:g}s"\n')


def start():
    began = time.time()
    tracker = subprocess.Popen(["taskset", "-c", "0", samara, "tracker", "--config", config], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    lines = []
    while not lines or "listens on" not in lines[-1]:
        lines.append(tracker.stderr.readline())
    return tracker, time.time() - began, "".join(lines)


def known():
    stats = json.load(urllib.request.urlopen("http://127.0.0.1:6970/stats.json", timeout=60))
    return stats["swarms"], stats["peers"]


tracker, _, _ = start()
seconds = int(rounds * (2 * every + 20) + 30)
load = [f"{target}/release/samara-load", "--target", "127.0.0.1:6969", "--clients", "16", "--rate", rate, "--fill-rate", "60000", "--seconds", str(seconds)]
load += ["--torrents", str(torrents), "--zipf", "0", "--peers", "2000000", "--every", "30", "--forged", "0", "--malformed", "0"]
load = subprocess.Popen(["taskset", "-c", "1"] + load, stdout=subprocess.PIPE, text=True)
print(load.stdout.readline().strip())
print(load.stdout.readline().strip(), flush=True)
for number in range(rounds):
    written = os.stat(state).st_mtime_ns if os.path.exists(state) else 0
    while not os.path.exists(state) or os.stat(state).st_mtime_ns == written:
        time.sleep(0.1)
    time.sleep(random.uniform(0, every))
    before, age = known(), time.time() - os.stat(state).st_mtime
    tracker.send_signal(signal.SIGKILL)
    tracker.wait()
    size = os.stat(state).st_size
    tracker, took, said = start()
    restored = re.search(r"(\S+) swarms? and (\S+) peers? are back from (\d+) s ago", said)
    if not restored:
        sys.exit(f"nothing came back: {said}")
    time.sleep(5)
    after = known()
    print(f"{number}: had {before[0]} swarms, {before[1]} peers; killed {age:.1f} s after a snapshot of {size / 1e6:.0f} MB was there; "
          f"back in {took:.2f} s: {restored[1]} swarms, {restored[2]} peers of {restored[3]} s ago; 5 s of announces later {after[0]} swarms, {after[1]} peers", flush=True)
load.terminate()
load.wait()
tracker.terminate()
tracker.wait()
for name in os.listdir(folder):
    os.remove(f"{folder}/{name}")
os.rmdir(folder)

"""The table of the README: Samara and four other clients in the same swarms, each host a network namespace with a capped uplink.

    python3 bench/table.py                 runs what is missing, then prints the table (as root; 40 minutes with all clients)
    python3 bench/table.py --only samara   runs only this column (again, with --again)
    python3 bench/table.py --print         prints what was measured so far

Results are lines of JSON in --out, so a run that was stopped goes on where it was. Rounds and clients are interleaved: all clients of a
scenario run one after the other. A run is given up after four times the bound.
"""
import argparse, json, os, statistics, sys
import clients as C
import swarm

S1 = dict(n=16, mib=64, up=20)
SCENARIOS = {
    "S1: 16 leeches, all 20 Mbit/s, 64 MiB": S1,
    "S2: the same, seed 100 Mbit/s": dict(S1, seed_mbit=100),
    "uplinks of 5 to 80 Mbit/s": dict(S1, ups="5,10,20,40,80"),
    "32 leeches": dict(S1, n=32),
    "leeches come over 27 s": dict(S1, spread=27),
    "leeches leave when done": dict(S1, leave=True),
    "seed leaves after one copy": dict(S1, seed_leaves=True),
    "half of the leeches libtorrent": dict(S1, half=True),
    "1 MiB to 50 hosts": dict(n=50, mib=1, up=20, piece=16),
    "three pieces": dict(n=16, mib=1.5, up=20),
    "one leech": dict(n=1, mib=32, up=20),
    "only the seed can be reached, 8 leeches, 4 MiB": dict(n=8, mib=4, up=20, isolated=True),
}
CLIENTS = ["samara", "libtorrent", "aria2", "transmission", "rqbit"]


def load(path):
    rows = {}
    if os.path.exists(path):
        for line in open(path):
            row = json.loads(line)
            rows[row["scenario"], row["column"], row["round"]] = row
    return rows


def measure(a, rows):
    for turn in range(a.rounds):
        for scenario, what in SCENARIOS.items():
            for client in a.only.split(","):
                key = scenario, client, turn
                if key in rows and not a.again or a.match not in scenario: continue
                spec = dict(what)
                mixed = f"{client},libtorrent" if spec.pop("half", False) and client != "libtorrent" else ""
                classes = [float(u) for u in spec.get("ups", str(spec["up"])).split(",")]
                ups = [spec.get("seed_mbit") or spec["up"]] + [classes[i % len(classes)] for i in range(spec["n"])]
                least = swarm.bound(spec["mib"], ups, 0, spec.get("isolated", False))
                row = swarm.run(client, mixed=mixed, timeout=20 + 4 * least, folder=a.dir, name=a.name, **spec)
                row |= dict(scenario=scenario, column=client, round=turn)
                rows[key] = row
                with open(a.out, "a") as f: f.write(json.dumps(row) + "\n")
                print(json.dumps(row), file=sys.stderr, flush=True)


def cell(rows):
    """Median of the last finishes, and of the copies that the seed sent."""
    if not rows: return "-"
    late = [r for r in rows if r["done"] < r["n"] or r["intact"] < r["n"]]
    if late: return f"{late[0]['done']} of {late[0]['n']} in {20 + 4 * late[0]['bound']:.0f} s"
    middle = lambda key: statistics.median(r[key] for r in rows)
    return f"{middle('last'):.1f} s ({middle('efficiency'):.2f}; {middle('copies'):.2f})"


def show(rows):
    names = [C.CLIENTS[c].name.replace("-", " ") for c in CLIENTS]
    print("| last finish (efficiency; copies sent by the seed) | bound | " + " | ".join(names) + " |")
    print("| --- " * (len(CLIENTS) + 2) + "|")
    for scenario in SCENARIOS:
        found = {c: [r for (s, k, _), r in rows.items() if (s, k) == (scenario, c)] for c in CLIENTS}
        some = [r for c in found.values() for r in c]
        least = f"{some[0]['bound']:.1f} s" if some else "-"
        print(f"| {scenario} | {least} | " + " | ".join(cell(found[c]) for c in CLIENTS) + " |")


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("--only", default=",".join(CLIENTS), help="clients, comma-separated"); ap.add_argument("-r", "--rounds", type=int, default=1)
    ap.add_argument("--match", default="", help="only scenarios whose name has this in it"); ap.add_argument("--again", action="store_true")
    ap.add_argument("--out", default="bench-table.jsonl"); ap.add_argument("--dir", default="/dev/shm/bench")
    ap.add_argument("--name", default="bt", help="of the namespaces"); ap.add_argument("--print", action="store_true", dest="only_print")
    a = ap.parse_args()
    rows = load(a.out)
    if not a.only_print: measure(a, rows)
    show(rows)


if __name__ == "__main__":
    main()

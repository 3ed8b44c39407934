"""Open-loop load on our UDP tracker, over IPv4 and IPv6: latencies, processor time, memory. The tracker has CPU 0, the load CPU 1, both in a
network namespace of their own (needs root), where 2 x 512 clients have an address each.

argv: rate seconds [settings of samara-load ...]; $TRACKER is another tracker's command line that listens on [::]:6969.
"""
import os, shlex, subprocess, sys, time

rate, seconds, more = sys.argv[1], sys.argv[2], sys.argv[3:]
HERE = os.path.dirname(os.path.abspath(__file__))
target = os.environ.get("CARGO_TARGET_DIR", f"{HERE}/../target")
samara = os.environ.get("SAMARA", f"{target}/release/samara")
tracker = shlex.split(os.environ.get("TRACKER", "")) or [samara, "--json", "tracker", "--http", "127.0.0.1:6970", "--udp", "[::]:6969", "--workers", "1"]
ns = f"samara-load-{os.getpid()}"
ip = lambda *args: subprocess.run(["ip", *args], check=True)
inside = lambda cpu, *argv: ["ip", "netns", "exec", ns, "taskset", "-c", cpu, *argv]
ip("netns", "add", ns)
try:
    ip("-n", ns, "link", "set", "lo", "up")
    ip("-n", ns, "-6", "addr", "add", "fd5a:ffff:ffff::1/128", "dev", "lo", "nodad")
    ip("-n", ns, "-6", "route", "add", "local", "fd5a::/16", "dev", "lo")
    server = subprocess.Popen(inside("0", *tracker), stdout=subprocess.DEVNULL)
    time.sleep(1.5)
    load = [f"{target}/release/samara-load", "--target", "127.0.0.1:6969", "--target", "[fd5a:ffff:ffff::1]:6969", "--prefix6", "fd5a000000000000"]
    load += ["--rate", rate, "--seconds", seconds, "--pid", str(server.pid), *more]
    code = subprocess.run(inside("1", *load)).returncode
    server.terminate()
    server.wait()
    sys.exit(code)
finally:
    subprocess.run(["ip", "netns", "del", ns])

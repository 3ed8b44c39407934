"""What the figures were measured on, in one line; and how a list of rounds is summed up."""
import os, platform, statistics, subprocess, time


def first(path, key):
    try:
        for line in open(path):
            if line.startswith(key):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return "?"


def line():
    flags = first("/proc/cpuinfo", "flags").split()
    units = [name for name in ("sha_ni", "avx2", "avx512f") if name in flags]
    try:
        control = open("/proc/sys/net/ipv4/tcp_congestion_control").read().strip()
    except OSError:
        control = "?"
    return (f"{first('/proc/cpuinfo', 'model name')}, {os.cpu_count()} cores ({' '.join(units)}), Linux {platform.release()}, "
            f"TCP {control}, load {os.getloadavg()[0]:.1f} at the start")


def median(values):
    return statistics.median(values)


def until_listening(ns, port):
    """Waits for a tracker: a seed that finds none asks again after seconds, and these would be part of the round."""
    ports = lambda: subprocess.run(["ip", "netns", "exec", ns, "ss", "-Hltn"], capture_output=True, text=True).stdout
    for _ in range(100):
        if f":{port} " in ports():
            return
        time.sleep(0.1)


def warm(folder, mib):
    """Has memory for `mib` at hand: writes a file to `folder` and removes it. A virtual machine gets memory from its host when a page is first
    touched, and gives back what stays free; 1 GiB of such pages in tmpfs is 1.5 to 3 CPU seconds instead of 0.35, in whoever comes by them."""
    block, path = bytes(1 << 20), os.path.join(folder, "warm")
    with open(path, "wb", buffering=0) as file:
        for _ in range(mib):
            file.write(block)
    os.unlink(path)


def tree_cpu(pid):
    """User and system seconds of a process so far, its children that it has waited for included."""
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return sum(int(x) for x in fields[11:15]) / os.sysconf("SC_CLK_TCK")

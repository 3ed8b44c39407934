"""Runs the tracker as samara-tracker.service would, without systemd: the same filter of system calls, capabilities, user, limits, read-only
system and private folders, in a network namespace of its own. Uses it over HTTP and UDP, reloads and ends it, starts it again, and says
whether everything was as it should be. Needs root, libseccomp and `systemd-analyze` (which only lists what a filter's names stand for).

    python3 packaging/check.py target/release/samara
"""
import ctypes, os, re, resource, shlex, signal, socket, struct, subprocess, sys, tempfile, time, urllib.error, urllib.request

UNIT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "samara-tracker.service")
libc = ctypes.CDLL(None, use_errno=True)
seccomp = ctypes.CDLL("libseccomp.so.2", use_errno=True)
seccomp.seccomp_init.restype = ctypes.c_void_p
KILL, ALLOW, ERRNO = 0x80000000, 0x7FFF0000, lambda number: 0x00050000 | number
EQ, MASKED_EQ = 4, 7
NEWNS, NEWNET, PROT_WRITE, PROT_EXEC = 0x00020000, 0x40000000, 2, 4
NAMESPACES = 0x7E020080  # every CLONE_NEW...
EPERM, ENOSYS, EAFNOSUPPORT = 1, 38, 97


class Compare(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


def must(result, what):
    if result != 0:
        raise OSError(ctypes.get_errno() or -result, f"{what}: {os.strerror(ctypes.get_errno() or -result)}")


def read_unit():
    settings = {}
    for line in open(UNIT):
        if match := re.match(r"(\w+)=(.*)", line.strip()):
            settings.setdefault(match[1], []).append(match[2])
    return settings


def calls(names):
    """The system calls that a filter's names stand for."""
    found = set()
    for name in names:
        if name.startswith("@"):
            listed = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True).stdout
            found |= calls(word for line in listed.splitlines()[1:] if (word := line.strip()) and not word.startswith("#"))
        else:
            found.add(name)
    return found


def allowed(settings):
    result = calls(["@default"])
    for line in settings["SystemCallFilter"]:
        names = calls(line.lstrip("~").split())
        result = result - names if line.startswith("~") else result | names
    return result | calls(["@default"])


def enter(settings, names, state):
    """In the child, before the program: what systemd does, in its order."""
    must(libc.unshare(NEWNS | NEWNET), "unshare")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    mount = lambda *words: subprocess.run(["mount", *words], check=True)
    mount("--make-rprivate", "/")
    mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", "/var/lib")  # stands for the parts of it that others have
    os.makedirs("/var/lib/samara-tracker")
    mount("--bind", state, "/var/lib/samara-tracker")
    os.chown("/var/lib/samara-tracker", 61184, 61184)
    os.chmod("/var/lib/samara-tracker", int(settings["StateDirectoryMode"][0], 8))
    program = "/var/lib/samara"
    open(program, "w").close()
    mount("--bind", os.path.abspath(sys.argv[1]), program)
    for private in ["/tmp", "/home", "/root"]:
        mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", private)
    for line in open("/proc/self/mounts").read().splitlines():
        at, kind = line.split()[1:3]
        if at == "/" or at.startswith(("/usr", "/etc", "/var", "/home", "/root", "/dev", "/sys")) and at != "/var/lib/samara-tracker":
            subprocess.run(["mount", "-o", "remount,bind,ro", at], stderr=subprocess.DEVNULL)
    most = int(settings["LimitNOFILE"][0])
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    except ValueError:
        print(f"note: more than {resource.getrlimit(resource.RLIMIT_NOFILE)[1]} files cannot be had here; the unit has {most}", file=sys.stderr)
    os.umask(int(settings["UMask"][0], 8))
    for capability in range(64):
        libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP; there are fewer than 64
    os.setgroups([])
    os.setresgid(61184, 61184, 61184)
    os.setresuid(61184, 61184, 61184)
    must(libc.prctl(38, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS")
    filter_ = ctypes.c_void_p(seccomp.seccomp_init(ctypes.c_uint32(KILL)))

    def rule(action, name, *compares):
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:
            array = (Compare * max(1, len(compares)))(*compares)
            must(seccomp.seccomp_rule_add_array(filter_, ctypes.c_uint32(action), number, len(compares), array), name)

    # Calls of which the unit forbids some arguments: these fail, as under systemd. What is not on the list at all kills.
    some = {"socket", "mmap", "mprotect", "clone", "clone3", "personality", "chmod", "fchmod", "fchmodat", "unshare", "setns", "sched_setscheduler"}
    for name in names - some:
        rule(ALLOW, name)
    for family in range(64):
        known = family in [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX]
        rule(ALLOW if known else ERRNO(EAFNOSUPPORT), "socket", Compare(0, EQ, family, 0))
    both = PROT_WRITE | PROT_EXEC
    for protection in range(8):
        rule(ERRNO(EPERM) if protection & both == both else ALLOW, "mmap", Compare(2, EQ, protection, 0))

    def without(name, argument, *bits):
        """Allowed if none of the bits is set."""
        rule(ALLOW, name, Compare(argument, MASKED_EQ, sum(bits), 0))
        for bit in bits:
            rule(ERRNO(EPERM), name, Compare(argument, MASKED_EQ, bit, bit))

    without("mprotect", 2, PROT_EXEC)
    without("clone", 0, *(1 << bit for bit in range(32) if NAMESPACES >> bit & 1))
    rule(ERRNO(ENOSYS), "clone3")
    for name, argument in [("chmod", 1), ("fchmod", 1), ("fchmodat", 2)]:
        without(name, argument, 0o4000, 0o2000)
    must(seccomp.seccomp_load(filter_), "seccomp_load")
    argv = shlex.split(settings["ExecStart"][0])
    os.execv(program, [argv[0]] + argv[1:])


def start(settings, names, state):
    child = os.fork()
    if child == 0:
        try:
            enter(settings, names, state)
        except BaseException as error:
            print(f"before the program: {error!r}", file=sys.stderr)
        os._exit(90)
    return child


def inside(child, work):
    """What `work` says in the child's network."""
    ours, theirs = os.pipe()
    helper = os.fork()
    if helper == 0:
        try:
            network = os.open(f"/proc/{child}/ns/net", os.O_RDONLY)
            must(libc.setns(network, NEWNET), "setns")
            os.write(theirs, repr(work()).encode())
        except BaseException as error:
            os.write(theirs, repr(f"{error!r}").encode())
        os._exit(0)
    os.close(theirs)
    said = b""
    while part := os.read(ours, 65536):
        said += part
    os.close(ours)
    os.waitpid(helper, 0)
    return eval(said)


def announce_http():
    query = "info_hash=" + "%e9" * 20 + "&peer_id=-XX0001-000000000001&port=7001&left=0&compact=1"
    return urllib.request.urlopen(f"http://[::1]:6969/announce?{query}", timeout=5).read()


def stay_http():
    """One connection: half a request, the rest of it and a second one behind it, a third in a moment."""
    text = b"GET /health HTTP/1.1\r\nHost: t\r\n\r\n"
    client = socket.create_connection(("127.0.0.1", 6969), 5)
    said = b""
    for part in [text[:9], text[9:] + text, text.replace(b"Host: t", b"Connection: close")]:
        client.sendall(part)
        time.sleep(0.1)
    while part := client.recv(4096):
        said += part
    return said.count(b"\r\n\r\nok\n")


def many_http():
    """So many connections at once that they are let gather; how many are answered."""
    answered = 0
    for _ in range(5):
        clients = [socket.create_connection(("127.0.0.1", 6969), 5) for _ in range(200)]
        for client in clients:
            client.sendall(b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n")
        for client in clients:
            said = b""
            while part := client.recv(4096):
                said += part
            answered += said.endswith(b"\r\n\r\nok\n")
            client.close()
    return answered


def many_udp():
    """So many packets at once that they are let gather; how many are answered."""
    client = connected()
    answered = 0
    for number in range(5000):
        client.send(struct.pack(">QII", 0x41727101980, 0, number))
        while answered < number - 100 or number == 4999 and answered < 5000:
            answered += len(client.recv(100)) == 16
    return answered


def connected():
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(5)
    client.connect(("127.0.0.1", 6969))
    return client


def announce_udp():
    client = connected()
    client.send(struct.pack(">QII", 0x41727101980, 0, 7))
    number = struct.unpack(">IIQ", client.recv(100))[2]
    client.send(struct.pack(">QII20s20sQQQIIIiH", number, 1, 8, b"\xe9" * 20, b"-XX0001-000000000002", 0, 5, 0, 0, 0, 1, 50, 7002))
    return client.recv(1500)


def page(path):
    return lambda: urllib.request.urlopen(f"http://127.0.0.1:6969{path}", timeout=5).read().decode()


def ready(child):
    for _ in range(100):
        if inside(child, page("/ready")) == "ready\n":
            return True
        if os.waitpid(child, os.WNOHANG) != (0, 0):
            return False
        time.sleep(0.1)
    return False


def main():
    settings = read_unit()
    names = allowed(settings)
    failed = []

    def check(what, good, said=""):
        print("ok  " if good else "BAD ", what, "" if good else said)
        if not good:
            failed.append(what)

    with tempfile.TemporaryDirectory() as state:
        for again in [False, True]:
            child = start(settings, names, state)
            check("it starts", ready(child))
            if failed:
                break
            if again:
                stats = inside(child, page("/stats.json"))
                check("the swarm is back", '"swarms":1,' in stats and '"peers":2,' in stats, stats)
            else:
                said = inside(child, announce_http)
                check("it answers over HTTP and IPv6", b"8:completei1e" in said, said)
                said = inside(child, announce_udp)
                check("it answers over UDP and IPv4", said[:4] == b"\0\0\0\1", said)
                for what, work, wanted in [("on a connection that stays", stay_http, 3), ("many connections at once", many_http, 1000), ("many packets at once", many_udp, 5000)]:
                    said = inside(child, work)
                    check("it answers " + what, said == wanted, said)
                most = str(min(int(settings["LimitNOFILE"][0]), resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
                files = re.search(r"Max open files\s+(\d+)\s+(\d+)", open(f"/proc/{child}/limits").read())
                check("files", files.groups() == (most, most), files.groups())
                status = open(f"/proc/{child}/status").read()
                held = re.findall(r"Cap\w+:\s+(\w+)", status)
                check("no capabilities, no new privileges, filtered", set(held) == {"0" * 16} and "NoNewPrivs:\t1" in status and "Seccomp:\t2" in status, status)
                os.kill(child, signal.SIGHUP)
                time.sleep(0.5)
                check("it reloads", inside(child, page("/health")) == "ok\n")
            os.kill(child, signal.SIGTERM)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            check("it ends well", code == 0, code)
            saved = os.stat(os.path.join(state, "tracker.state"))
            check("the state is its own and private", saved.st_uid == 61184 and saved.st_mode & 0o777 == 0o600, oct(saved.st_mode))
    print("all is as the unit says" if not failed else f"{len(failed)} things are not as they should be")
    sys.exit(len(failed) > 0)


main()

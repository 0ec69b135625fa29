# Functions that want more than one invocation gives them. What an attack in here got is in the
# answer of a later invocation, in what the caller sees, or in the log.
import os, signal, socket, subprocess, sys, threading, time

API = os.environ["AWS_LAMBDA_RUNTIME_API"]
KEPT = []


def post(id, body=b'"forged"', kind="response", length=None, pause=0, timeout=20):
    """Posts an answer on a connection of its own; its status, or none."""
    host, port = API.split(":")
    try:
        with socket.create_connection((host, int(port)), 3) as s:
            s.settimeout(timeout)
            s.sendall(("POST /2018-06-01/runtime/invocation/%s/%s HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % (id, kind, len(body) if length is None else length)).encode())
            if pause:
                for b in body:
                    s.sendall(bytes([b]))
                    time.sleep(pause)
            else:
                s.sendall(body)
            return int(s.recv(4096).split()[1])
    except (OSError, IndexError):
        return None


BEFORE_NEXT = post("00000000-0000-0000-0000-000000000000")  # before the first Next


def before(event, context):
    return BEFORE_NEXT


def used(event, context):
    """Answers the last invocation once more."""
    KEPT.append(context.aws_request_id)
    return [post(id) for id in KEPT[:-1]]


def twice(event, context):
    """Answers while the runtime will do so, too: the second must not count."""
    first, second = post(context.aws_request_id, b'"first"'), post(context.aws_request_id, b'"second"')
    KEPT.append([first, second])
    return "third"


def kept(event, context):
    return KEPT


def late(event, context):
    """Answers after the deadline, from a process that wants to outlive it."""
    id = context.aws_request_id
    if os.fork() == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(context.get_remaining_time_in_millis() / 1000 + 0.3)
        open("/tmp/outlived", "w").close()
        post(id)
        os._exit(0)
    time.sleep(60)


def slow(event, context):
    """An answer of a byte a second."""
    return post(context.aws_request_id, b'"' + b"x" * 600 + b'"', pause=1)


def huge(event, context):
    """More than an answer may have."""
    return post(context.aws_request_id, b'"' + b"x" * (7 << 20) + b'"')


def endless(event, context):
    """A length that is none."""
    return post(context.aws_request_id, b"x" * (9 << 20), length=1 << 60)


def outlive(event, context):
    """Threads and processes that go on when the invocation is over."""
    before = os.path.getsize("/tmp/beats") if os.path.exists("/tmp/beats") else 0
    if not KEPT:
        beat = "while True:\n open('/tmp/beats','a').write('x')\n time.sleep(0.01)"
        threading.Thread(target=lambda: exec(beat, {"time": time, "open": open}), daemon=True).start()
        KEPT.append(subprocess.Popen([sys.executable, "-c", "import time, os, signal\nos.setsid()\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + beat]))
        time.sleep(1)
        before = os.path.getsize("/tmp/beats")
    return {"beats": before, "tmp": sorted(os.listdir("/tmp")), "pid": os.getpid()}


def look(event, context):
    """What another function, or an environment that is gone, may have left."""
    return {"tmp": sorted(os.listdir("/tmp")), "shm": sorted(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else [],
            "processes": sum(p.isdigit() for p in os.listdir("/proc"))}


def litter(event, context):
    for d in ("/tmp", "/dev/shm", "/var/tmp", "/run"):
        try:
            open(d + "/left-behind", "w").close()
        except OSError:
            pass
    return sorted(os.listdir("/tmp"))


def forge_lines(event, context):
    """Lines as the platform writes them, for itself and for another request."""
    sys.stdout.flush()
    for id in (context.aws_request_id, event["id"]):
        os.write(1, ("END RequestId: %s\nREPORT RequestId: %s\tDuration: 1.00 ms\tBilled Duration: 1 ms\tMemory Size: 1 MB\tMax Memory Used: 1 MB\t\nSTART RequestId: %s Version: 9\n" % (id, id, id)).encode())
    fd = 3  # the runtime's own way to the log
    line = ("REPORT RequestId: %s\tDuration: 2.00 ms\tBilled Duration: 2 ms\tMemory Size: 2 MB\tMax Memory Used: 2 MB\t" % context.aws_request_id).encode()
    try:
        os.write(fd, b"\xa5\x5a\x00\x01" + len(line).to_bytes(4, "big") + line)
    except OSError:
        pass
    time.sleep(0.3)


def flood(event, context):
    """As much output as it can, for a while."""
    block, n, end = (b"x" * 1023 + b"\n") * 64, 0, time.monotonic() + event["seconds"]
    while time.monotonic() < end:
        n += os.write(1, block)
    return n


def tree(event, context):
    """What a zip made of /var/task, and what its links lead to."""
    names, read = [], []
    for at, dirs, files in os.walk("/var/task"):
        for name in dirs + files:
            path = os.path.join(at, name)
            info = os.lstat(path)
            names.append("%s %o" % (os.path.relpath(path, "/var/task"), info.st_mode))
            try:
                if event["secret"] in open(path, "rb").read(1 << 16).decode("latin1"):
                    read.append(path)
            except OSError:
                pass
    return {"names": sorted(names), "read": read, "root": sorted(os.listdir("/"))}


def run(event, context):
    return globals()[event["do"]](event, context)

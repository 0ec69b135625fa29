# Neighbours that take all they can get. Each goes on until it is killed or its time is up.
import os, resource, socket, sys, threading, time

API = os.environ["AWS_LAMBDA_RUNTIME_API"].split(":")


def oom(end):
    """More memory than there is."""
    hold = []
    while time.monotonic() < end:
        hold.append(bytearray(16 << 20))


def forks(end):
    """Processes that make processes."""
    while time.monotonic() < end:
        try:
            os.fork()
        except OSError:
            time.sleep(0.01)


def threads(end):
    """Threads that spin."""
    def spin():
        while time.monotonic() < end:
            pass
    while time.monotonic() < end:
        try:
            threading.Thread(target=spin, daemon=True).start()
        except RuntimeError:
            time.sleep(0.01)


def output(end):
    """As much output as it can, in long lines."""
    block = (b"x" * 65535 + b"\n") * 16
    while time.monotonic() < end:
        os.write(1, block)


def lines(end):
    """As much output as it can, in empty lines."""
    block = b"\n" * (1 << 20)
    while time.monotonic() < end:
        os.write(1, block)


def sockets(end):
    """Ten thousand connections to the Runtime API, and again."""
    while time.monotonic() < end:
        kept = []
        for _ in range(10000):
            try:
                s = socket.socket()
                s.setblocking(False)
                s.connect_ex((API[0], int(API[1])))
                kept.append(s)
            except OSError:
                for s in kept:
                    s.close()
                kept = []


def half_open(end):
    """Requests that never end their headers, on every connection there may be."""
    kept = []
    while time.monotonic() < end:
        try:
            s = socket.create_connection((API[0], int(API[1])), 1)
            s.sendall(b"POST /2018-06-01/runtime/invocation/x/response HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 60000)
            kept.append(s)
        except OSError:
            time.sleep(0.01)


def endless(end, id):
    """Answers that have no end."""
    chunk = b"%x\r\n" % (1 << 16) + b"x" * (1 << 16) + b"\r\n"
    while time.monotonic() < end:
        try:
            with socket.create_connection((API[0], int(API[1])), 1) as s:
                s.sendall(("POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" % id).encode())
                while time.monotonic() < end:
                    s.sendall(chunk)
        except OSError:
            time.sleep(0.01)


def tmp_bytes(end):
    """A /tmp full of bytes, and again."""
    block = b"x" * (1 << 20)
    while time.monotonic() < end:
        try:
            with open("/tmp/full", "wb") as f:
                while time.monotonic() < end:
                    f.write(block)
        except OSError:
            os.unlink("/tmp/full")


def tmp_files(end):
    """A /tmp full of empty files."""
    n = 0
    while time.monotonic() < end:
        try:
            open("/tmp/%d" % n, "x").close()
            n += 1
        except OSError:
            time.sleep(0.01)


def run(event, context):
    end = time.monotonic() + event["seconds"]
    attack = globals()[event["do"]]
    return attack(end, context.aws_request_id) if event["do"] == "endless" else attack(end)

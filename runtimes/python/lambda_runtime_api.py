"""The Runtime API over one kept connection. It speaks the little HTTP the API needs by itself, on
the interpreter's own socket module: importing http.client, or even socket, costs a cold start
more than the whole exchange."""

import _socket

BASE = "/2018-06-01/runtime"


class Event:
    """One invocation as GET /next gives it."""

    def __init__(self, headers, body):
        self.request_id = headers["lambda-runtime-aws-request-id"]
        self.deadline_ms = int(headers["lambda-runtime-deadline-ms"])
        self.function_arn = headers.get("lambda-runtime-invoked-function-arn")
        self.trace = headers.get("lambda-runtime-trace-id")
        self.client_context = headers.get("lambda-runtime-client-context")
        self.identity = headers.get("lambda-runtime-cognito-identity")
        self.body = body


class RuntimeAPI:
    def __init__(self, address):
        host, _, port = address.rpartition(":")
        self.address, self.peer = address, (host, int(port))
        self.sock, self.seen = None, b""

    def next(self):
        status, headers, body = self.request("GET", "/invocation/next")
        if status != 200:
            raise RuntimeError(f"the Runtime API answered {status}: {body!r}")
        return Event(headers, body)

    def response(self, request_id, body, kind):
        self.request("POST", f"/invocation/{request_id}/response", body, f"Content-Type: {kind}\r\n")

    def invocation_error(self, request_id, body, kind):
        self.fault(f"/invocation/{request_id}/error", body, kind)

    def init_error(self, body, kind):
        self.fault("/init/error", body, kind)

    def fault(self, path, body, kind):
        kind = "".join(c if " " <= c <= "~" else "?" for c in kind)
        headers = "Content-Type: application/vnd.aws.lambda.error+json\r\n"
        self.request("POST", path, body, f"{headers}Lambda-Runtime-Function-Error-Type: {kind}\r\n")

    def request(self, method, path, body=None, headers=""):
        if self.sock is None:
            self.sock, self.seen = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM), b""
            self.sock.connect(self.peer)
            self.sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        head = f"{method} {BASE}{path} HTTP/1.1\r\nHost: {self.address}\r\n{headers}"
        if body is not None:
            head += f"Content-Length: {len(body)}\r\n"
        try:
            self.sock.sendall(head.encode() + b"\r\n" + (body or b""))
            return self.read()
        except BaseException:
            self.sock.close()
            self.sock = None
            raise

    def read(self):
        status_line = self.line()
        headers = {}
        while line := self.line():
            name, _, value = line.partition(b":")
            headers[name.decode("latin-1").lower()] = value.strip().decode("latin-1")
        if headers.get("transfer-encoding") == "chunked":
            body = self.chunks()
        else:
            body = self.take(int(headers.get("content-length", 0)))
        return int(status_line.split()[1]), headers, body

    def chunks(self):
        body = b""
        while size := int(self.line(), 16):
            body += self.take(size)
            self.line()
        self.line()
        return body

    def line(self):
        while (end := self.seen.find(b"\r\n")) < 0:
            self.more(4096)
        line, self.seen = self.seen[:end], self.seen[end + 2:]
        return line

    def take(self, size):
        parts, missing = [self.seen[:size]], size - len(self.seen)
        self.seen = self.seen[size:]
        while missing > 0:
            self.more(min(missing, 1 << 16))
            parts.append(self.seen)
            missing -= len(self.seen)
            self.seen = b""
        return b"".join(parts)

    def more(self, size):
        data = self.sock.recv(size)
        if not data:
            raise ConnectionError("the Runtime API closed the connection")
        self.seen += data

"""The Runtime API over one kept connection. It speaks the little HTTP the API needs by itself:
importing http.client costs a cold start more than the whole exchange."""

import socket

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
        self.file = self.sock = None

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
            self.sock = socket.create_connection(self.peer)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.file = self.sock.makefile("rb")
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
        status_line = self.file.readline()
        if not status_line:
            raise ConnectionError("the Runtime API closed the connection")
        headers = {}
        while (line := self.file.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            headers[name.decode("latin-1").lower()] = value.strip().decode("latin-1")
        if headers.get("transfer-encoding") == "chunked":
            body = self.chunks()
        else:
            body = self.file.read(int(headers.get("content-length", 0)))
        return int(status_line.split()[1]), headers, body

    def chunks(self):
        body = b""
        while size := int(self.file.readline(), 16):
            body += self.file.read(size)
            self.file.readline()
        self.file.readline()
        return body

"""Logging as Lambda has it. A record of the logging module, or an error, is one log event however
many lines it has: a frame on the telemetry descriptor. print goes to stdout, line by line.

The logging module is set up when the function imports it, not before: importing it costs a cold
start more than all the rest of this client."""

import sys
import time
from importlib.machinery import PathFinder

FRAME = 0xA55A0003  # text; the level stands in the bits above the lowest two
LEVEL_BITS = {"DEBUG": 2, "INFO": 3, "WARNING": 4, "ERROR": 5, "CRITICAL": 6}

UNHANDLED = (
    "LAMBDA_WARNING: Unhandled exception. The most likely cause is an issue in the function code. "
    "However, in rare cases, a Lambda runtime update can cause unexpected function behavior. "
    "For functions using managed runtimes, runtime updates can be triggered by a function change, or can be "
    "applied automatically. To determine if the runtime has been updated, check the runtime version in the "
    "INIT_START log entry. If this error correlates with a change in the runtime version, you may be able to "
    "mitigate this error by temporarily rolling back to the previous runtime version. For more information, see "
    "https://docs.aws.amazon.com/lambda/latest/dg/runtimes-update.html\r"
)

_request_id = ""


def set_request_id(request_id):
    global _request_id
    _request_id = request_id


class LogSink:
    def __init__(self, fd):
        self.file = open(int(fd), "wb", 0) if fd is not None else None

    def log(self, message, level=""):
        if self.file is None:
            sys.stdout.write(message)
            return
        data = message.encode("utf-8", "replace")
        kind = FRAME | LEVEL_BITS.get(level, 0) << 2
        frame = kind.to_bytes(4, "big") + len(data).to_bytes(4, "big") + (time.time_ns() // 1000).to_bytes(8, "big")
        rest = memoryview(frame + data)
        while rest:
            rest = rest[self.file.write(rest):]

    def log_error(self, result):
        """Writes an error payload as AWS does: a no-break space keeps each line's indent."""
        lines = [f"[ERROR] {result['errorType']}" + (f": {result['errorMessage']}" if result["errorMessage"] else "")]
        lines.append("Traceback (most recent call last):")
        for element in result["stackTrace"]:
            for line in element.splitlines() or [""]:
                text = line.lstrip(" ")
                lines.append("\u00a0" * (len(line) - len(text)) + text)
        end = "\n" if self.file is None else ""
        self.log(("\r" if self.file is None else "\n").join(lines) + end, "ERROR")

    def warn_unhandled(self):
        import logging

        logging.warning(UNHANDLED)


def setup_logging(sink):
    if "logging" in sys.modules:
        configure(sys.modules["logging"], sink)
    else:
        sys.meta_path.insert(0, OnImport("logging", lambda module: configure(module, sink)))


class OnImport:
    """A finder that runs a function on one module as soon as it has been imported."""

    def __init__(self, name, then):
        self.name, self.then = name, then

    def find_spec(self, name, path=None, target=None):
        if name != self.name:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name, path, target)
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            self.then(module)

        spec.loader.exec_module = exec_module
        return spec


def configure(logging, sink):
    class Handler(logging.Handler):
        log_sink = sink

        def emit(self, record):
            sink.log(self.format(record), record.levelname)

    class Filter(logging.Filter):
        """Gives every record its request id, for formatters of the function's own too."""

        def filter(self, record):
            record.aws_request_id = _request_id
            return True

    logging.Formatter.converter = time.gmtime
    handler = Handler()
    handler.setFormatter(
        logging.Formatter(
            "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s\n", "%Y-%m-%dT%H:%M:%S"
        )
    )
    handler.addFilter(Filter())
    logging.getLogger().addHandler(handler)


class Unbuffered:
    """A stream that flushes at every write: what was printed is in the log when the answer is."""

    def __init__(self, stream):
        self.stream = stream

    def __getattr__(self, name):
        return getattr(self.stream, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def write(self, text):
        self.stream.write(text)
        self.stream.flush()

    def writelines(self, lines):
        self.stream.writelines(lines)
        self.stream.flush()

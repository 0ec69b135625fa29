"""The Python runtime client: loads the handler, then asks the Runtime API for one event after
another. What a function sees (context, logging, errors) is what AWS's client shows it."""

import os
import sys

from lambda_context import LambdaContext
from lambda_json import dumps, loads, refuse
from lambda_log import LogSink, Unbuffered, set_request_id, setup_logging
from lambda_runtime_api import RuntimeAPI


class Fault(Exception):
    """An error of the runtime's own, such as a handler that cannot be found."""

    def __init__(self, kind, message, trace=None):
        super().__init__(message)
        self.kind, self.message, self.trace = "Runtime." + kind, message, trace


def load_handler(name):
    import importlib

    try:
        module_name, function = name.rsplit(".", 1)
    except ValueError as e:
        raise Fault("MalformedHandlerName", f"Bad handler '{name}': {e}")
    if module_name.split(".")[0] in sys.builtin_module_names:
        raise Fault("BuiltInModuleConflict", f"Cannot use built-in module {module_name} as a handler module")
    try:
        module = importlib.import_module(module_name.replace("/", "."))
    except ImportError as e:
        raise Fault("ImportModuleError", f"Unable to import module '{module_name}': {e}")
    except SyntaxError as e:
        raise Fault(
            "UserCodeSyntaxError",
            f"Syntax error in module '{module_name}': {e}",
            [f'  File "{e.filename}" Line {e.lineno}\n    {e.text}'],
        )
    try:
        return getattr(module, function)
    except AttributeError:
        raise Fault("HandlerNotFound", f"Handler '{function}' missing on module '{module_name}'")


def error_result(error, request_id=""):
    """The payload an invoker gets for an error, in the order of AWS's client."""
    if isinstance(error, Fault):
        kind, message, trace = error.kind, error.message, error.trace
    else:
        import traceback

        frames = traceback.extract_tb(error.__traceback__)
        # The client's own frames come first and are no business of the function's author.
        while len(frames) > 1 and "/bootstrap.py" in frames[0].filename:
            frames = frames[1:]
        kind, message = type(error).__name__, str(error)
        trace = traceback.format_list([(f.filename, f.lineno, f.name, f.line) for f in frames])
    return {"errorMessage": message, "errorType": kind, "requestId": request_id, "stackTrace": trace or []}


def to_json(value):
    """JSON in which a Decimal is a number, as AWS's client writes it."""
    mark = None

    def default(o):
        nonlocal mark
        # One is made only by who has imported decimal.
        decimal = sys.modules.get("decimal")
        if decimal is None or not isinstance(o, decimal.Decimal):
            return refuse(o)
        if o.is_nan():
            return float("nan")
        mark = mark or "\0decimal:" + os.urandom(8).hex() + ":"
        return mark + str(o)

    text = dumps(value, default)
    if mark:
        import re

        text = re.sub('"' + re.escape(dumps(mark)[1:-1]) + '([^"]*)"', r"\1", text)
    return text


def answer(handler, event):
    """Runs the handler and gives (body, content type)."""
    context = LambdaContext(event)
    try:
        # AWS: only JSON bodies are decoded; Invoke sends nothing else.
        value = loads(event.body)
    except ValueError as e:
        raise Fault("UnmarshalError", f"Unable to unmarshal input: {e}")
    result = handler(value, context)
    if isinstance(result, bytes):
        return result, "application/unknown"
    try:
        return to_json(result).encode(), "application/json"
    except Exception as e:
        raise Fault("MarshalError", f"Unable to marshal response: {e}")


def serve(api, handler, sink):
    while True:
        event = api.next()
        set_request_id(event.request_id)
        if event.trace is not None:
            os.environ["_X_AMZN_TRACE_ID"] = event.trace
        else:
            os.environ.pop("_X_AMZN_TRACE_ID", None)
        try:
            body, kind = answer(handler, event)
        except Exception as e:
            result = error_result(e, event.request_id)
            sink.log_error(result)
            api.invocation_error(event.request_id, to_json(result).encode("utf-8", "replace"), result["errorType"])
        else:
            api.response(event.request_id, body, kind)


def search_paths():
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    root = os.environ["LAMBDA_TASK_ROOT"]
    sys.path[:0] = [root, f"/opt/python/lib/{version}/site-packages", "/opt/python"]
    if any(name.endswith(".pth") for name in os.listdir(root)):
        import site

        site.addsitedir(root)


def main():
    sys.stdout, sys.stderr = Unbuffered(sys.stdout), Unbuffered(sys.stderr)
    if os.environ.get("HOME") == "/home/sbx_user1051":
        # The sandbox gives the first process a HOME, AWS does not; a function's own HOME stays.
        del os.environ["HOME"]
    search_paths()
    sink = LogSink(os.environ.pop("_LAMBDA_TELEMETRY_LOG_FD", None))
    setup_logging(sink)
    api = RuntimeAPI(os.environ["AWS_LAMBDA_RUNTIME_API"])
    try:
        handler = load_handler(os.environ["_HANDLER"])
    except Exception as e:
        result = error_result(e)
        sink.warn_unhandled()
        sink.log_error(result)
        api.init_error(to_json(result).encode("utf-8", "replace"), result["errorType"])
        sys.exit(1)
    serve(api, handler, sink)


if __name__ == "__main__":
    main()

"""JSON on the interpreter's own scanner and encoder. Importing json, and re with it, costs a cold
start as much as a third of the interpreter's whole start; a function that needs it imports it.

Whatever is not plain goes to json itself, which has the last word on every error."""

import _json
import sys

# As it was before the function's own folders came first: its json.py is not ours.
LIBRARY = list(sys.path)


class _Plain:
    strict = True
    object_hook = object_pairs_hook = None
    parse_float, parse_int = float, int
    parse_constant = {"-Infinity": float("-inf"), "Infinity": float("inf"), "NaN": float("nan")}.__getitem__


_scan = _json.make_scanner(_Plain)
_SPACE = " \t\n\r"
_quote = _json.encode_basestring_ascii if sys.version_info < (3, 12) else _json.encode_basestring


def library():
    paths, sys.path = sys.path, LIBRARY
    try:
        import json
    finally:
        sys.path = paths
    return json


def loads(data):
    """The value of a JSON text, bytes or str; ValueError, as json words it, when it is none."""
    try:
        text = data.decode() if isinstance(data, bytes) else data
        value, end = _scan(text, len(text) - len(text.lstrip(_SPACE)))
        if not text[end:].strip(_SPACE):
            return value
    except (StopIteration, ValueError, ImportError):
        pass  # json says what is wrong
    return library().loads(data)


def dumps(value, default=None):
    """The JSON text of a value, as AWS's client writes it: unicode as it is from 3.12 on. default
    makes something plain of what is not."""
    if isinstance(value, str):
        return _quote(value)
    encode = _json.make_encoder({}, default or refuse, _quote, None, ": ", ", ", False, False, True)
    return "".join(encode(value, 0))


def refuse(value):
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")

"""What a policy asks its operator for: `log`, `kv` and `files`. Each needs `import metaclaw:policy/NAME@1.0.0;` in `wit/policy.wit`.

Each function may raise `metaclaw.Problem`, with the code that the contract names.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Any, Callable

from metaclaw import Problem


def _module(name: str) -> Any:
    """A module that is there when the component is built, and if the world imports it."""
    try:
        return import_module(name)
    except ImportError:
        return None


_HOST = {name: _module(f"wit_world.imports.{name}") for name in ("log", "kv", "files")}
_Err: type[BaseException] = getattr(_module("componentize_py_types"), "Err", Exception)


def _ask(name: str, function: Callable[[Any], Any]) -> Any:
    """Asks the host. Its `problem` becomes the exception of that name."""
    host = _HOST[name]
    if host is None:
        raise Problem("not-imported", f"wit/policy.wit needs `import metaclaw:policy/{name}@1.0.0;`")
    try:
        return function(host)
    except _Err as error:
        problem: Any = getattr(error, "value")
        raise Problem(problem.code, problem.message) from None


def _bytes(data: bytes | str) -> bytes:
    return data.encode() if isinstance(data, str) else data


def log(message: object, level: str = "info") -> None:
    """A line for the operator (grant `log: SIZE`). The level is `debug`, `info`, `warn` or `error`."""
    _ask("log", lambda host: host.write(level, str(message)))


class kv:
    """Values that this agent's policy keeps from call to call (grant `kv: SIZE`)."""

    @staticmethod
    def get(key: str) -> bytes | None:
        value = _ask("kv", lambda host: host.get(key))
        return None if value is None else bytes(value)

    @staticmethod
    def set(key: str, value: bytes | str) -> None:
        _ask("kv", lambda host: host.set(key, _bytes(value)))

    @staticmethod
    def delete(key: str) -> None:
        _ask("kv", lambda host: host.delete(key))

    @staticmethod
    def keys(prefix: str = "") -> list[str]:
        return list(_ask("kv", lambda host: host.keys(prefix)))


@dataclass(frozen=True)
class Entry:
    """A `file` or a `folder`; a folder's size is 0."""

    name: str
    kind: str
    size: int


class files:
    """Files of this agent's own folders. The root is `skills`, `shared` or `lora` (grants `skills:read`, `skills:write`, `lora:read`)."""

    CHUNK = 512 * 1024

    @staticmethod
    def entries(root: str, path: str = "") -> list[Entry]:
        """What is in a folder, by name."""
        return [Entry(e.name, e.kind, e.size) for e in _ask("files", lambda host: host.list(root, path))]

    @staticmethod
    def stat(root: str, path: str) -> Entry:
        e = _ask("files", lambda host: host.stat(root, path))
        return Entry(e.name, e.kind, e.size)

    @classmethod
    def read(cls, root: str, path: str) -> bytes:
        """The whole file."""
        data = bytearray()
        while True:
            part = _ask("files", lambda host: host.read(root, path, len(data), cls.CHUNK))
            data += part
            if len(part) < cls.CHUNK:
                return bytes(data)

    @staticmethod
    def write(root: str, path: str, data: bytes | str) -> None:
        """Puts a file in the place of whatever file is there, whole or not at all."""
        _ask("files", lambda host: host.write(root, path, _bytes(data)))

    @staticmethod
    def remove(root: str, path: str) -> None:
        _ask("files", lambda host: host.remove(root, path))

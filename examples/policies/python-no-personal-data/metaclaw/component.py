"""Joins `policy.py` to the contract. What is built is this module; an author has no need of it."""

import dataclasses
import inspect
import json
import sys
import traceback
import types as python_types
import typing
from typing import Any, Callable

import policy
from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import settings
from wit_world.imports import types as wit

import metaclaw as m

# The function of each hook, by the name that its export has in Python.
HOOKS = {
    "Routing": "route",
    "SkillSelection": "select",
    "SkillRendering": "render",
    "ToolGate": "gate",
    "SampleFilter": "filter",
    "Reward": "reward",
}
CONFIG = getattr(policy, "Config", None)


def problem(code: str, message: str) -> Any:
    return wit.Problem(code[:1024], message[:1024])


def said(error: BaseException) -> Any:
    """What an operator gets to see of an exception: the policy's own problem, or the exception and where it arose."""
    if isinstance(error, m.Problem):
        return problem(error.code, error.message)
    places = [(frame.f_code.co_filename.rsplit("/", 1)[-1], line) for frame, line in traceback.walk_tb(error.__traceback__)]
    where = [f" ({file}:{line})" for file, line in places if file == "policy.py"][-1:]
    return problem("exception", f"{type(error).__name__}: {error}{''.join(where)}")


def fits(value: Any, kind: Any) -> bool:
    """Whether a JSON value is of an annotated type: `int`, `list[str]`, `dict[str, float]`, `str | None` and the like."""
    origin, of = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, python_types.UnionType):
        return any(fits(value, one) for one in of)
    if origin is typing.Literal:
        return value in of
    if kind in (list, dict) or origin in (list, dict):
        of = of or (Any,) * 2
        if (origin or kind) is list:
            return isinstance(value, list) and all(fits(v, of[0]) for v in value)
        return isinstance(value, dict) and all(fits(v, of[1]) for v in value.values())
    if kind is Any:
        return True
    if kind in (None, python_types.NoneType):
        return value is None
    if isinstance(value, bool) or kind is bool:
        return kind is bool and isinstance(value, bool)
    return isinstance(value, (int, float) if kind is float else kind)


def read_config(text: str) -> Any:
    """The settings as the policy's `Config`; raises `ExceptionGroup` with all that is wrong."""
    given = json.loads(text)
    if not isinstance(given, dict):
        raise ExceptionGroup("", [ValueError("the settings must be a mapping of names to values")])
    if CONFIG is None:
        return given
    known = {f.name: f for f in dataclasses.fields(CONFIG)}
    kinds = typing.get_type_hints(CONFIG)
    wrong = [
        ValueError(f"there is no setting `{name}`; there are: {', '.join(known) or 'none'}")
        for name in given
        if name not in known
    ]
    wrong += [
        ValueError(f"`{name}` must be {inspect.formatannotation(kinds[name])}, not {json.dumps(value)[:80]}")
        for name, value in given.items()
        if name in known and not fits(value, kinds[name])
    ]
    wrong += [
        ValueError(f"`{name}` is missing")
        for name, f in known.items()
        if name not in given and f.default is f.default_factory is dataclasses.MISSING
    ]
    if wrong:
        raise ExceptionGroup("", wrong)
    try:
        return CONFIG(**given)
    except ValueError as error:
        raise ExceptionGroup("", [error]) from None


_config: list[Any] = []


def config() -> Any:
    """This agent's settings, read once for each instance."""
    if not _config:
        _config.append(read_config(settings.get()))
        # There are no files to import from any more: a module that was not imported in time is then an exception, not a trap.
        sys.path.clear()
    return _config[0]


def attrs(reason: str) -> list[tuple[str, str]]:
    return [("reason", reason[:1024])] if reason else []


def decision(d: Any) -> Any:
    if isinstance(d, m.To):
        return wit.Decision_To(wit.Route(wit.Target(d.target.upstream, d.target.model), attrs(d.reason)))
    return wit.Decision_Refuse(wit.Refusal(d.message))


def selection(s: Any) -> Any:
    chosen = s if isinstance(s, m.Selection) else m.Selection(list(s))
    return wit.Selection(list(chosen.skills), attrs(chosen.reason))


def permission(p: Any) -> Any:
    if isinstance(p, m.Allow):
        return wit.Permission_Allow()
    return wit.Permission_Deny(p.message) if isinstance(p, m.Deny) else wit.Permission_Hold(p.message)


def verdict(v: Any) -> Any:
    return wit.Verdict_Keep(float(v.weight)) if isinstance(v, m.Keep) else wit.Verdict_Drop(v.reason[:1024])


def ask(kinds: tuple[type, ...], convert: Callable[[Any], Any], hook: str, *arguments: Any) -> Any:
    """Asks the policy. Whatever goes wrong becomes a problem that says so; a trap would say nothing."""
    try:
        answer = getattr(policy, hook)(*arguments, config())
        if not isinstance(answer, kinds):
            names = " or ".join(k.__name__ for k in kinds)
            raise TypeError(f"`{hook}` must give {names}, not {type(answer).__name__}")
        return convert(answer)
    except Exception as error:
        raise Err(said(error)) from None


class Lifecycle:
    def describe(self) -> Any:
        d = policy.DESCRIPTION
        return wit.Description(d.name, d.version, d.summary, [("grants", d.grants)] if d.grants else [])

    def validate_config(self, json: str) -> list[Any]:
        try:
            read_config(json)
            return []
        except ExceptionGroup as wrong:
            return [problem("bad-config", str(error)) for error in wrong.exceptions]
        except Exception as error:
            return [said(error)]


class Routing:
    def route(self, turn: Any) -> Any:
        return ask((m.To, m.Refuse), decision, "route", m.Turn(turn))


class SkillSelection:
    def select(self, turn: Any, catalog: Any) -> Any:
        return ask((m.Selection, list, tuple), selection, "select", m.Turn(turn), m.Catalog(catalog))


class SkillRendering:
    def render(self, turn: Any, catalog: Any, skills: list[str]) -> Any:
        return ask((str,), str, "render", m.Turn(turn), m.Catalog(catalog), skills)


class ToolGate:
    def gate(self, turn: Any, call: Any) -> Any:
        called = m.ToolCall(call.id, call.name, call.arguments)
        return ask((m.Allow, m.Deny, m.Hold), permission, "gate", m.Turn(turn), called)


class SampleFilter:
    def filter(self, sample: Any) -> Any:
        return ask((m.Keep, m.Drop), verdict, "filter", m.Sample(sample))


class Reward:
    def reward(self, sample: Any) -> Any:
        number = lambda r: None if r is None else float(r)  # noqa: E731
        return ask((int, float, python_types.NoneType), number, "reward", m.Sample(sample))


def compare() -> None:
    """Refuses to be built when `policy.py` and `wit/policy.wit` do not name the same hooks."""
    for export, hook in HOOKS.items():
        exported, defined = hasattr(exports, export), callable(getattr(policy, hook, None))
        interface = "".join(f"-{c.lower()}" if c.isupper() else c for c in export).lstrip("-")
        if exported and not defined:
            raise SystemExit(f"wit/policy.wit exports `{interface}`, but policy.py has no function `{hook}`")
        if defined and not exported:
            raise SystemExit(f"policy.py has `{hook}`; add `export metaclaw:policy/{interface}@1.0.0;` to wit/policy.wit")
    if not isinstance(getattr(policy, "DESCRIPTION", None), m.Description):
        raise SystemExit("policy.py needs `DESCRIPTION = Description(…)`")


compare()

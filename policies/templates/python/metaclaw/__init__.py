"""What a policy is asked with, and what it may answer: the contract `metaclaw:policy@1.0.0` as Python has it.

A policy is the module `policy.py`. It has a `DESCRIPTION`, a dataclass `Config` if it has settings, and a function for each hook that
`wit/policy.wit` exports (`c` is the `Config`, or the settings as a dict where there is none):

    routing           route(turn, c) -> To | Refuse
    skill-selection   select(turn, catalog, c) -> Selection | list[str]
    skill-rendering   render(turn, catalog, skills, c) -> str
    tool-gate         gate(turn, call, c) -> Allow | Deny | Hold
    sample-filter     filter(sample, c) -> Keep | Drop
    reward            reward(sample, c) -> float | None

A hook that cannot decide raises `Problem`; the operator's rule (`policy.on_failure`) decides then, as it does after any other exception.
Everything must be imported when the module is: a policy has no files to import from later. `metaclaw.grants` has `log`, `kv` and `files`.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Iterator

__all__ = [
    "Allow", "Catalog", "Deny", "Description", "Drop", "Hold", "Keep", "Message", "Problem", "Refuse", "Sample",
    "Scored", "Selection", "Skill", "Target", "To", "ToolCall", "Turn",
]  # fmt: skip


class Problem(Exception):
    """Why a hook cannot decide: a short word such as `bad-config`, and a sentence for the operator."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Description:
    """What the module says of itself. `grants` are words such as `skills:read`, separated by blanks."""

    name: str
    version: str
    summary: str
    grants: str = ""


@dataclass(frozen=True)
class Target:
    """A place where a turn may be answered. An empty model is the one that the client asks for."""

    upstream: str
    model: str


@dataclass(frozen=True)
class Message:
    """One message of a request; of parts only the text."""

    role: str
    text: str


@dataclass(frozen=True)
class ToolCall:
    """A tool that the model wants to have called. The arguments are JSON as the model wrote it: it may be wrong."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class Skill:
    """A skill as the catalog lists it. The scope is `own` or `shared`."""

    name: str
    description: str
    category: str
    scope: str
    tokens: int


@dataclass(frozen=True)
class Scored:
    """A skill that a search found; a larger score is better, within one search."""

    name: str
    score: float
    tokens: int


@dataclass(frozen=True)
class To:
    """Ask one of the turn's targets."""

    target: Target
    reason: str = ""


@dataclass(frozen=True)
class Refuse:
    """Ask nobody; the user is told this."""

    message: str


@dataclass(frozen=True)
class Selection:
    """Names of skills in the catalog, in the order in which the prompt gets them."""

    skills: list[str] = field(default_factory=list)
    reason: str = ""


@dataclass(frozen=True)
class Allow:
    """The client gets the tool call."""


@dataclass(frozen=True)
class Deny:
    """The client does not get the tool call, and is told why."""

    message: str


@dataclass(frozen=True)
class Hold:
    """An operator decides about the tool call."""

    message: str


@dataclass(frozen=True)
class Keep:
    """The turn becomes a training sample; 1 is the ordinary weight, 10 the largest."""

    weight: float = 1.0


@dataclass(frozen=True)
class Drop:
    """The turn does not become a training sample; the operator is told why."""

    reason: str


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


class _Messages:
    """What a turn and a sample have in common. Everything is asked of the host when it is first read."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    @cached_property
    def agent(self) -> str:
        """The agent's id; `_default` when the client named none."""
        return str(self._handle.agent())

    @cached_property
    def session(self) -> str:
        """The session's id."""
        return str(self._handle.session())

    @cached_property
    def received_at(self) -> int:
        """When the host had the whole request, in milliseconds since 1970."""
        return int(self._handle.received_at())

    @cached_property
    def user_text(self) -> str:
        """The user's last words, without what OpenClaw adds around them."""
        return str(self._handle.user_text())

    @property
    def messages(self) -> Iterator[Message]:
        """The messages of the request, the oldest first."""
        for index in range(self._handle.message_count()):
            if (message := self._handle.message(index)) is not None:
                yield Message(message.role, message.text)

    def attr(self, name: str) -> str | None:
        """Anything else."""
        return _text(self._handle.attr(name))


class Turn(_Messages):
    """The turn that is to be decided on."""

    @cached_property
    def index(self) -> int:
        """How many turns this session has had before."""
        return int(self._handle.index())

    @cached_property
    def kind(self) -> str:
        """`main` or `side`."""
        return str(self._handle.kind())

    @cached_property
    def mode(self) -> str:
        """`skills_only`, `rl` or `auto`."""
        return str(self._handle.mode())

    @cached_property
    def requested_model(self) -> str:
        """The model that the client asked for; may be empty."""
        return str(self._handle.requested_model())

    @cached_property
    def body_size(self) -> int:
        """Size of the request in bytes."""
        return int(self._handle.body_size())

    @cached_property
    def tool_names(self) -> list[str]:
        """Names of the tools that the client offers."""
        return list(self._handle.tool_names())

    @cached_property
    def targets(self) -> list[Target]:
        """Where this turn may go. The first is the configured choice; there is always one."""
        return [Target(t.upstream, t.model) for t in self._handle.targets()]


class Sample(_Messages):
    """A finished turn."""

    @cached_property
    def model(self) -> str:
        """The model that answered."""
        return str(self._handle.model())

    @cached_property
    def answer_text(self) -> str:
        """The assistant's words."""
        return str(self._handle.answer_text())

    @cached_property
    def tool_calls(self) -> list[ToolCall]:
        """The tools that the answer calls."""
        return [ToolCall(c.id, c.name, c.arguments) for c in self._handle.tool_calls()]

    @cached_property
    def finish_reason(self) -> str:
        """As the upstream said it."""
        return str(self._handle.finish_reason())

    @cached_property
    def prompt_tokens(self) -> int:
        """0 when the upstream does not say."""
        return int(self._handle.prompt_tokens())

    @cached_property
    def completion_tokens(self) -> int:
        """0 when the upstream does not say."""
        return int(self._handle.completion_tokens())

    @cached_property
    def skills(self) -> list[str]:
        """Skills that were injected."""
        return list(self._handle.skills())

    @cached_property
    def has_tokens(self) -> bool:
        """Whether token ids and log-probabilities were captured."""
        return bool(self._handle.has_tokens())


class Catalog:
    """The skills that this agent may be given."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    def __len__(self) -> int:
        return int(self._handle.len())

    def __iter__(self) -> Iterator[Skill]:
        """All of them, by name."""
        offset = 0
        while page := self._handle.list(offset, 256):
            offset += len(page)
            for s in page:
                yield Skill(s.name, s.description, s.category, s.scope, s.tokens)

    def search(self, query: str, k: int = 5) -> list[Scored]:
        """The best `k` for these words by the host's own index, best first."""
        return [Scored(s.name, s.score, s.tokens) for s in self._handle.search(query, k)]

    def read(self, name: str) -> str | None:
        """The body of a skill."""
        return _text(self._handle.read(name))


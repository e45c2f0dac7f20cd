"""Long requests go to the last of the agent's targets, all others to the first."""

from dataclasses import dataclass

from metaclaw import Description, Refuse, To, Turn

DESCRIPTION = Description("my-policy", "0.1.0", "Sends long requests to the last of the agent's targets.")


@dataclass
class Config:
    """The agent's `config:`. What does not fit these names and types is refused when the module is loaded."""

    long: int = 8000  # From how many bytes on a request is long.

    def __post_init__(self) -> None:
        if self.long < 1:
            raise ValueError("`long` must be at least 1")


def route(turn: Turn, config: Config) -> To | Refuse:
    if turn.body_size < config.long:
        return To(turn.targets[0], reason="short")
    return To(turn.targets[-1], reason=f"{config.long} bytes or more")

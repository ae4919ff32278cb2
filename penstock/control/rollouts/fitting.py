"""Whether what clients send to one release fits another. Pure."""

from __future__ import annotations

from penstock.prompts.config import Prompt, Variable


def misfit(champion: Prompt | None, candidate: Prompt | None) -> str:
    """Why requests that the champion's prompt takes would be refused by the candidate's, in one sentence; empty: none
    would be. None is a release without a prompt."""
    before = {} if champion is None else champion.variables
    after = {} if candidate is None else candidate.variables
    for name, variable in after.items():
        declared = before.get(name)
        if _needed(variable) and (declared is None or not _needed(declared)):
            how = "does not declare" if declared is None else "lets clients leave out"
            return f"It needs the variable '{name}', which the champion's prompt {how}."
        if declared is not None and not _takes(variable, declared):
            return f"Its variable '{name}' does not take all that the champion's prompt takes."
    gone = next((name for name in before if name not in after), None)
    if gone is not None:
        return f"It does not declare the variable '{gone}', which clients of the champion's prompt may send."
    if champion is not None and champion.user and not (candidate is not None and candidate.user):
        return (
            "It has no 'user', so requests without messages, which the champion's prompt takes, have nothing to ask."
        )
    return ""


def _needed(variable: Variable) -> bool:
    return variable.required and variable.default is None


def _takes(variable: Variable, other: Variable) -> bool:
    same = variable.type == other.type or (variable.type, other.type) == ("number", "integer")
    chosen = not variable.choices or (bool(other.choices) and set(other.choices) <= set(variable.choices))
    longest = variable.max_length
    short = longest is None or bool(other.choices) or (other.max_length is not None and other.max_length <= longest)
    return same and chosen and short

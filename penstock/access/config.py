"""What the deployment file may say of who may call, and how much."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
Url = Annotated[str, msgspec.Meta(min_length=1, max_length=2048)]
Failing = Literal["open", "closed"]


class OnFailure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is done while the counters cannot be reached: `open` lets requests through uncounted, `closed` answers
    503."""

    requests: Failing = "open"
    """For limits on requests."""
    tokens: Failing = "open"
    """For limits on tokens."""
    concurrent: Failing = "open"
    """For limits on requests in progress."""
    budgets: Failing = "closed"
    """For budgets."""


class Issuer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An identity provider whose tokens (JWT, signed) are taken in place of keys."""

    issuer: Url
    """Its name, exactly as tokens have it in `iss`."""
    audience: Name
    """What tokens must have in `aud`."""
    jwks_url: str = ""
    """Where its public keys are. Default: what `ISSUER/.well-known/openid-configuration` says."""
    algorithms: tuple[Literal["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"], ...] = (
        "RS256",
        "ES256",
    )
    """Signatures that are accepted. There are only asymmetric ones."""
    user_claim: Name = "sub"
    """The claim that names the user. A user of the gateway with this subject, where there is one, decides what may be
    done; else the claims below do."""
    project_claim: str = "project"
    """The claim that names the project. A dot goes into an object: `app.project`."""
    role_claim: str = "role"
    """The claim that names the role, or a list of which the first known one counts."""
    team_claim: str = ""
    """The claim that names the team. Default: none."""
    projects: dict[str, str] = {}
    """Values of the project claim, and the projects that they stand for. Default: they are the same."""
    roles: dict[str, str] = {}
    """Values of the role claim, and the roles that they stand for. Default: they are the same."""
    default_project: str = ""
    """The project of tokens without the claim. Default: they are refused."""
    default_role: str = ""
    """The role of tokens without the claim. Default: they are refused."""
    leeway_s: Annotated[float, msgspec.Meta(ge=0, le=300)] = 30.0
    """How far its clock and this machine's may differ."""
    stale_after_s: Annotated[float, msgspec.Meta(gt=0, le=604800)] = 86400.0
    """For how long its keys are trusted while it cannot be reached."""
    client_id: str = ""
    """What it knows the console by, so that people can sign in there. Register `ADDRESS/console/sign-in/callback`
    with it as the place to return to. Default: people sign in with a key."""
    client_secret: str = ""
    """What the console proves itself with, where the identity provider gave it something."""
    scopes: tuple[Name, ...] = ("openid", "profile", "email")
    """What the console asks it to tell of a person."""
    label: str = ""
    """What it is called on the page where people sign in. Default: its host."""

    def __repr__(self) -> str:
        return f"Issuer({self.issuer!r}, {self.audience!r})"


class AccessSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may call, and how much."""

    counters: str = ""
    """Where limits and budgets are counted: `redis://` or `rediss://` for several gateways. Default: in the memory of
    this one."""
    counters_name: Name = "penstock"
    """What their keys in Redis begin with: one for each store that shares a Redis with others."""
    counters_timeout_s: Annotated[float, msgspec.Meta(gt=0, le=60)] = 0.5
    """How long an answer of them is waited for."""
    on_failure: OnFailure = OnFailure()
    """What is done while they cannot be reached."""
    max_output_tokens: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] = 4096
    """Where a limit on tokens or a budget applies: the output that a request is held to when neither it nor its model
    has a bound."""
    stale_after_s: Annotated[float, msgspec.Meta(gt=0, le=604800)] = 300.0
    """For how long keys are trusted while the store cannot be reached, and nobody can hear of a revocation."""
    pepper: str = ""
    """The secrets under which keys are hashed: 32 bytes each in base64, the first one for new keys, separated by
    commas. All gateways of one store need the same. Default: the file `pepper` in the home."""
    oidc: list[Issuer] = []
    """Identity providers whose tokens are taken."""

    def __repr__(self) -> str:
        return f"AccessSettings(oidc={[each.issuer for each in self.oidc]!r})"

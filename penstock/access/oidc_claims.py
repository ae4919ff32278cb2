"""What the holder of a verified token may do: by its user here, where there is one, else by what it claims. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from penstock.access.config import Issuer
from penstock.access.keyring import DEFAULT_PROJECT, PRIORITIES
from penstock.access.roles import permissions_of
from penstock.core.accounts import EVERYWHERE, Directory, Membership, User
from penstock.core.errors import INVALID_TOKEN, KEY_REVOKED, PenstockError
from penstock.core.identity import Principal
from penstock.core.policy import Priority

Claims = Mapping[str, object]

_LONGEST_SUBJECT = 255
_NOTHING = frozenset[str]()


class People:
    """A directory, as tokens need it."""

    __slots__ = ("_projects", "_roles", "_teams", "_users")

    def __init__(self, directory: Directory) -> None:
        self._projects = {each.id: each for each in directory.projects}
        self._teams = {each.id: each for each in directory.teams}
        self._users = {(each.issuer, each.subject): each for each in directory.users if each.issuer and each.subject}
        self._roles = directory.roles

    def principal(self, claims: Claims, issuer: Issuer) -> Principal:
        """Whom a token with these claims acts for.

        Somebody without a user here is called by issuer and subject, ``https://id.example#ann``, which is no user's
        id. Raises ``PenstockError``: ``INVALID_TOKEN`` for a claim that is missing, or names what is not here;
        ``KEY_REVOKED`` when the user is disabled or the project archived.
        """
        subject = _subject(claims, issuer)
        user = self._users.get((issuer.issuer, subject))
        wanted = _wanted_project(claims, issuer)
        if user is None:
            membership = self._claimed(claims, issuer, wanted or issuer.default_project)
        else:
            membership = _membership(user, wanted, issuer.default_project)
        everywhere = membership.project == EVERYWHERE
        project = wanted if everywhere else membership.project
        unsaid = project in ("", EVERYWHERE)
        best = Priority.HIGH if unsaid else self._priority(project)
        name = f"{issuer.issuer}#{subject}" if user is None else user.id
        spends = self._projects.get(DEFAULT_PROJECT if unsaid else project)
        return Principal(
            key_id=f"jwt:{name}",
            project=DEFAULT_PROJECT if unsaid else project,
            role=membership.role,
            permissions=permissions_of(membership.role, self._roles) or _NOTHING,
            everywhere=everywhere,
            user=name,
            team=membership.team,
            priority=Priority.HIGH if everywhere else best,
            capture="" if spends is None else spends.capture,
            log="" if spends is None else spends.log,
        )

    def _priority(self, project: str) -> Priority:
        found = self._projects.get(project)
        if found is None:
            raise _invalid(
                f"The token names the project {shown(project)}, which is not here. Make it with 'penstock projects "
                "create', or map the claim to one that is with 'projects' of the issuer in 'access.oidc'."
            )
        if found.archived_at is not None:
            raise PenstockError(
                KEY_REVOKED,
                f"The token's project '{project}' is archived. Use a token for another, or have an admin restore it.",
            )
        return PRIORITIES[found.priority]

    def _claimed(self, claims: Claims, issuer: Issuer, project: str) -> Membership:
        if not project:
            raise _invalid(
                f"The token has no claim '{issuer.project_claim}' to name its project. Have the identity provider "
                "add it, or set 'default_project' of the issuer in 'access.oidc'."
            )
        return Membership(project, self._claimed_role(claims, issuer), self._claimed_team(claims, issuer, project))

    def _claimed_role(self, claims: Claims, issuer: Issuer) -> str:
        value = _claim(claims, issuer.role_claim)
        names = [value] if isinstance(value, str) else value
        if value is None:
            names = [issuer.default_role] if issuer.default_role else []
        elif isinstance(names, list):
            names = [_mapped(issuer.roles, name) for name in names if isinstance(name, str)]
        else:
            names = []
        for name in names:
            if permissions_of(name, self._roles) is not None:
                return name
        raise _invalid(
            f"The token's claim '{issuer.role_claim}' ({shown(value)}) names no role that is known here. Have the "
            "identity provider name one, map what it names with 'roles' of the issuer in 'access.oidc', or set its "
            "'default_role'."
        )

    def _claimed_team(self, claims: Claims, issuer: Issuer, project: str) -> str:
        name = _claim(claims, issuer.team_claim) if issuer.team_claim else None
        if name is None:
            return ""
        team = self._teams.get(name) if isinstance(name, str) else None
        if team is None or team.project != project:
            raise _invalid(
                f"The token's claim '{issuer.team_claim}' ({shown(name)}) names no team of the project '{project}'. "
                "Have an admin make the team, or take 'team_claim' out of the issuer in 'access.oidc'."
            )
        return team.id


def _membership(user: User, wanted: str, default: str) -> Membership:
    """Which of a user's memberships a token is for."""
    if user.disabled_at is not None:
        raise PenstockError(
            KEY_REVOKED, f"The user '{user.id}' of the token is disabled. Have an admin enable the user."
        )
    by_project = {each.project: each for each in user.memberships}
    if wanted:
        choices = [wanted, EVERYWHERE]
    elif len(by_project) == 1:
        choices = list(by_project)
    else:
        choices = [default, EVERYWHERE]
    for project in choices:
        if project in by_project:
            return by_project[project]
    having = ", ".join(f"'{project}'" for project in by_project) or "none"
    about = f"no role in the project {shown(wanted)}" if wanted else "to say in the token which project it is for"
    raise _invalid(
        f"The user '{user.id}' has {about}. Its projects: {having}. Have an admin add a membership with 'penstock "
        "users', or get a token for a project of the user's."
    )


def _subject(claims: Claims, issuer: Issuer) -> str:
    value = _claim(claims, issuer.user_claim)
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_SUBJECT or not value.isprintable():
        raise _invalid(
            f"The token's claim '{issuer.user_claim}' must name its user in 1 to {_LONGEST_SUBJECT} printable "
            "characters. Have the identity provider set it, or set 'user_claim' of the issuer in 'access.oidc'."
        )
    # OpenID Connect Core, 5.7: an address that was not verified may be anybody's.
    if issuer.user_claim == "email" and claims.get("email_verified") in (False, "false"):
        raise _invalid("The token's email address is not verified. Verify it with the identity provider first.")
    return value


def _wanted_project(claims: Claims, issuer: Issuer) -> str:
    """The project that the token asks for; empty when it asks for none. All of them only where the deployment file
    says that a value stands for them: a token alone never does."""
    value = _claim(claims, issuer.project_claim)
    if value is None:
        return ""
    name = _mapped(issuer.projects, value) if isinstance(value, str) else ""
    if not name or (name == EVERYWHERE and not issuer.projects):
        raise _invalid(
            f"The token's claim '{issuer.project_claim}' ({shown(value)}) names no project. Have the identity "
            "provider name one, or map what it names with 'projects' of the issuer in 'access.oidc'."
        )
    return name


def _mapped(names: Mapping[str, str], value: str) -> str:
    """With a mapping only what is in it counts."""
    return names.get(value, "") if names else value


def _claim(claims: Claims, name: str) -> object:
    """A claim by its name, or by the way to it through objects; None when it is not there, or null."""
    if not name or name in claims:
        return claims.get(name)
    found: object = claims
    for part in name.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(part)
    return found


def deciding(claims: Claims, issuer: Issuer) -> dict[str, object]:
    """Those of the claims that decide what somebody may do."""
    named = (issuer.user_claim, issuer.project_claim, issuer.role_claim, issuer.team_claim, "email_verified")
    wanted = {part for name in named if name for part in (name, name.partition(".")[0])}
    return {name: value for name, value in claims.items() if name in wanted}


def shown(value: object) -> str:
    """A claim in a message: printable, short, and not an object's whole inside."""
    if isinstance(value, list) and not all(isinstance(each, str) for each in value):
        return "a list"
    if isinstance(value, dict):
        return "an object"
    text = "missing" if value is None else repr(value)
    return text if len(text) <= 80 else text[:79] + "…"


def _invalid(message: str) -> PenstockError:
    return PenstockError(INVALID_TOKEN, message)

"""dsvc config: the settings, where they come from, and how to change them."""

from pathlib import Path
from typing import Annotated

from dsvc.cli import console, session
from dsvc.cli.errors import Failure, UsageError, exit_code
from dsvc.cli.options import Json, argument, option
from dsvc.config import Config, UnknownKeyError, Value, find_key, format_value, parse_value, set_value, unset_value
from dsvc.repository import NotARepositoryError, find_control

__all__ = ["command"]

_NOT_SET = 1


def command(
    key: Annotated[str | None, argument("KEY", help="The setting, such as `user.name`.")] = None,
    value: Annotated[str | None, argument("VALUE", help="What to set it to; without it, the value is printed.")] = None,
    *,
    get: Annotated[bool, option("--get", help="Print the value of *KEY*, as is done without *VALUE*.")] = False,
    unset: Annotated[bool, option("--unset", help="Remove *KEY* from the file.")] = False,
    list_all: Annotated[bool, option("-l", "--list", help="Print each key that has a value, with it.")] = False,
    user: Annotated[bool, option("--user", "--global", help="Use your own file, not the repository's.")] = False,
    show_origin: Annotated[bool, option("--show-origin", help="Say of each value which layer it comes from.")] = False,
    json: Json = False,
) -> int:
    """Get and set configuration.

    A value comes from the first of these layers that has one: `dsvc -c KEY=VALUE`, the
    environment, `.dsvc/config.toml` of the repository, and `~/.config/dsvc/config.toml` of the user.
    The files are TOML and may be edited by hand; comments stay where they are. Values that are
    lists are written with commas.

    dsvc-config(5) describes each key.

    Examples:
        $ dsvc config --user user.name "Ada Lovelace"
        $ dsvc config checkout.link hardlink,copy
        $ dsvc config --get checkout.link
        hardlink,copy
        $ dsvc config --unset checkout.link

    Exit status:
        1 the key has no value

    See also:
        dsvc-config(5), dsvc-concepts(7)
    """
    if list_all or key is None:
        if key is not None or get or unset:
            message = "`--list` takes no key"
            raise UsageError(message)
        _list(_layers(user=user), origin=show_origin, json=json)
        return 0
    _check_key(key)
    if unset or value is not None:
        if get or (unset and value is not None):
            message = "give a value, or one of `--get` and `--unset`"
            raise UsageError(message)
        return _change(key, value, _file(user=user))
    return _get(key, _layers(user=user), origin=show_origin, json=json)


def _check_key(key: str) -> None:
    try:
        find_key(key)
    except UnknownKeyError as error:
        from dsvc.config import KEYS

        raise UsageError(str(error), similar=(key, KEYS), hint=None) from error


def _layers(*, user: bool) -> Config:
    if user:
        return Config(user=session.load_config().user)
    try:
        return session.load_config(find_control(Path.cwd()))
    except NotARepositoryError:
        return session.load_config()


def _file(*, user: bool) -> Path:
    if user:
        return session.user_config_file()
    try:
        return find_control(Path.cwd()) / "config.toml"
    except NotARepositoryError as error:
        raise Failure(
            str(error), code=exit_code(error), hint="for your own settings everywhere, add `--user`"
        ) from error


def _change(key: str, value: str | None, file: Path) -> int:
    if value is None:
        unset_value(file, key)
    else:
        _check_secrets(key, value)
        set_value(file, key, parse_value(key, value))
    return 0


def _check_secrets(key: str, value: str) -> None:
    if key.startswith("remote.") and key.endswith((".url", ".endpoint")):
        # Only for these: it is a tenth of the start.
        from dsvc.transport.address import check_endpoint

        check_endpoint(value)


def _get(key: str, settings: Config, *, origin: bool, json: bool) -> int:
    value = settings.get(key)
    if value is None:
        return _NOT_SET
    _print(key, value, settings.origin(key), json=json, origin=origin, alone=True)
    return 0


def _list(settings: Config, *, origin: bool, json: bool) -> None:
    for key, value in settings.items():
        _print(key, value, settings.origin(key), json=json, origin=origin, alone=False)


def _print(key: str, value: Value, layer: str, *, json: bool, origin: bool, alone: bool) -> None:
    if json:
        console.out_json({"key": key, "value": value, "origin": layer})
        return
    console.out(f"{layer}\t" * origin + f"{key}=" * (not alone) + format_value(value))

"""Which messages the Cloud API takes, type by type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roomkit.simulators._graph import GraphRefusal, each, link_of, only_keys, require, text_of

if TYPE_CHECKING:
    from collections.abc import Callable

_PARAMETER = 131009
_MEDIA = {
    "image": {"link", "id", "caption"},
    "video": {"link", "id", "caption"},
    "audio": {"link", "id"},
    "document": {"link", "id", "caption", "filename"},
    "sticker": {"link", "id"},
}

type _Checked = tuple[str, tuple[str, ...]]


def check_message(kind: str, fields: Any, *, known: set[str]) -> _Checked:
    """Return the text and media of a message.

    Args:
        kind: Its type.
        fields: What stands under that type.
        known: The ids of files that were uploaded.

    Raises:
        GraphRefusal: Meta would refuse it.
    """
    if kind in _MEDIA:
        return _media(kind, fields, known)
    check = _CHECKS.get(kind)
    if check is None:
        raise GraphRefusal(_PARAMETER, f"Unknown message type {kind[:20]}")
    return check(fields)


def _text(fields: Any) -> _Checked:
    found = only_keys(fields, {"body", "preview_url"}, "text")
    require(isinstance(found.get("preview_url", False), bool), "preview_url must be boolean")
    return text_of(found.get("body"), 4096, "text[body]"), ()


def _media(kind: str, fields: Any, known: set[str]) -> _Checked:
    found = only_keys(fields, _MEDIA[kind], kind)
    require(("link" in found) != ("id" in found), f"{kind} needs either a link or an id")
    caption = found.get("caption")
    if caption is not None:
        text_of(caption, 1024, f"{kind}[caption]")
    if "filename" in found:
        text_of(found["filename"], 240, "document[filename]")
    if "id" in found:
        require(found["id"] in known, "Media id not found", code=131053)
        return caption or "", (found["id"],)
    return caption or "", (link_of(found["link"], f"{kind}[link]"),)


def _location(fields: Any) -> _Checked:
    found = only_keys(fields, {"latitude", "longitude", "name", "address"}, "location")
    for key, limit in (("latitude", 90), ("longitude", 180)):
        value = found.get(key)
        fine = isinstance(value, int | float) and abs(value) <= limit
        require(fine, f"location[{key}]", code=_PARAMETER)
    return str(found.get("name", "")), ()


def _reaction(fields: Any) -> _Checked:
    found = only_keys(fields, {"message_id", "emoji"}, "reaction")
    text_of(found.get("message_id"), 500, "reaction[message_id]")
    require(isinstance(found.get("emoji"), str), "reaction[emoji]", code=131008)
    return found["emoji"], ()


def _template(fields: Any) -> _Checked:
    found = only_keys(fields, {"name", "language", "components"}, "template")
    text_of(only_keys(found.get("language"), {"code"}, "language").get("code"), 10, "code")
    if "components" in found:
        each(found["components"], _component, 1, 20, "components")
    return text_of(found.get("name"), 512, "template[name]"), ()


def _component(component: Any) -> None:
    found = only_keys(component, {"type", "sub_type", "index", "parameters"}, "component")
    require(found.get("type") in ("header", "body", "button"), "component[type]", code=132012)
    if found["type"] == "button":
        require("sub_type" in found and "index" in found, "component[button]", code=132012)
    each(found.get("parameters"), _parameter, 1, 50, "parameters")


def _parameter(parameter: Any) -> None:
    require(isinstance(parameter, dict) and "type" in parameter, "parameter", code=132012)
    if parameter["type"] == "text":
        only_keys(parameter, {"type", "text", "parameter_name"}, "parameter")
        text_of(parameter.get("text"), 1024, "parameter[text]")


def _interactive(fields: Any) -> _Checked:
    found = only_keys(fields, {"type", "header", "body", "footer", "action"}, "interactive")
    kind = found.get("type")
    require(kind in _ACTIONS, "interactive[type]", code=_PARAMETER)
    body = only_keys(found.get("body"), {"text"}, "body")
    text = text_of(body.get("text"), 4096 if kind == "list" else 1024, "interactive[body]")
    if "header" in found:
        header = only_keys(found["header"], {"type", "text", "image"}, "header")
        require(kind != "list" or header.get("type") == "text", "a list has text headers only")
    _ACTIONS[str(kind)](found.get("action"))
    return text, ()


def _buttons(action: Any) -> None:
    buttons = only_keys(action, {"buttons"}, "action").get("buttons")
    replies = each(buttons, _reply, 1, 3, "buttons")
    _no_twins(replies)


def _reply(button: Any) -> tuple[str, str]:
    found = only_keys(button, {"type", "reply"}, "button")
    require(found.get("type") == "reply", "button[type]", code=_PARAMETER)
    reply = only_keys(found.get("reply"), {"id", "title"}, "reply")
    return text_of(reply.get("id"), 256, "reply[id]"), text_of(reply.get("title"), 20, "title")


def _list(action: Any) -> None:
    found = only_keys(action, {"button", "sections"}, "action")
    text_of(found.get("button"), 20, "action[button]")
    sections = each(found.get("sections"), _section, 1, 10, "sections")
    rows = [row for section in sections for row in section]
    require(len(rows) <= 10, "A list has at most 10 rows", code=_PARAMETER)
    _no_twins(rows)


def _section(section: Any) -> list[tuple[str, str]]:
    found = only_keys(section, {"title", "rows"}, "section")
    text_of(found.get("title"), 24, "section[title]")
    return each(found.get("rows"), _row, 1, 10, "rows")


def _row(row: Any) -> tuple[str, str]:
    found = only_keys(row, {"id", "title", "description"}, "row")
    if "description" in found:
        text_of(found["description"], 72, "row[description]")
    return text_of(found.get("id"), 200, "row[id]"), text_of(found.get("title"), 24, "row[title]")


def _link(action: Any) -> None:
    found = only_keys(action, {"name", "parameters"}, "action")
    require(found.get("name") == "cta_url", "action[name]", code=_PARAMETER)
    parameters = only_keys(found.get("parameters"), {"display_text", "url"}, "parameters")
    text_of(parameters.get("display_text"), 20, "display_text")
    link_of(parameters.get("url"), "url")


def _no_twins(choices: list[tuple[str, str]]) -> None:
    for column in zip(*choices, strict=True):
        require(len(set(column)) == len(column), "Ids and titles must differ", code=_PARAMETER)


_ACTIONS: dict[str, Callable[[Any], None]] = {"button": _buttons, "list": _list, "cta_url": _link}
_CHECKS: dict[str, Callable[[Any], _Checked]] = {
    "text": _text,
    "location": _location,
    "reaction": _reaction,
    "template": _template,
    "interactive": _interactive,
}

"""What an agent is made of when only a config is given, and what a given one is like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from roomkit._lazy import require
from roomkit.exceptions import ConfigurationError
from roomkit.providers.ai._sdk import accepts, given

if TYPE_CHECKING:
    from roomkit.providers.pydantic_ai.config import PydanticAIConfig

_USER = "PydanticAIProvider"
_EXTRA = "pydantic-ai"

_SEEING = (
    "gpt-4o", "gpt-4.1", "gpt-4.5", "gpt-5", "gpt-6", "chatgpt-4o", "o1", "o3", "o4",
    "claude-", "gemini-", "pixtral", "grok-4",
)  # fmt: skip
# How the framework says that a model takes no temperature; asked with one, it drops it and warns.
_NO_TEMPERATURE = ("anthropic_disallows_sampling_settings", "openai_supports_reasoning")
_BLIND = ("o1-mini", "o1-preview", "o3-mini", "claude-2", "claude-instant")


def load(module: str = "pydantic_ai") -> Any:
    """Return a module of the framework.

    Raises:
        MissingDependencyError: It is not installed.
    """
    return require(module, user=_USER, extra=_EXTRA, dist="pydantic-ai-slim")


def make_model(config: PydanticAIConfig) -> Any:
    """Return the framework's model for a config.

    Raises:
        ConfigurationError: The framework does not know the model, or there is no key.
        ImportError: The model's own SDK is not installed; the text names it.
    """
    models, providers = load("pydantic_ai.models"), load("pydantic_ai.providers")
    key = None if config.api_key is None else config.api_key.get_secret_value()

    def factory(name: str) -> Any:
        vendor = providers.infer_provider_class(name)
        options = given(api_key=key)
        if config.api_base is not None:
            if not accepts(vendor, "base_url"):
                raise ConfigurationError(f"{name!r} models take no api_base")
            default = getattr(vendor(**options), "base_url", "")
            options["base_url"] = _elsewhere(str(default), config.api_base)
        return vendor(**options)

    special = key is not None or config.api_base is not None
    try:
        return models.infer_model(
            config.model, **({"provider_factory": factory} if special else {})
        )
    except (ValueError, TypeError, RuntimeError) as exc:
        # Its UserError is a RuntimeError. The text tells what is missing, never the key.
        raise ConfigurationError(f"no model for {config.model!r}: {exc}") from exc


def _elsewhere(url: str, api_base: str) -> str:
    """Return a vendor's base URL with its path, on another server."""
    target, path = urlsplit(api_base), urlsplit(url).path
    return urlunsplit((target.scheme, target.netloc, path, "", ""))


def name_of_model(agent: Any) -> str:
    """Return the name of an agent's model; empty when it has none of its own."""
    model = getattr(agent, "model", None)
    name = model if isinstance(model, str) else getattr(model, "model_name", None)
    return str(name) if name else ""


def can_see(model: str) -> bool:
    """Guess from a model's name whether it looks at images."""
    name = model.rpartition(":")[2].rpartition("/")[2]
    return name.startswith(_SEEING) and not name.startswith(_BLIND)


def takes_temperature(model: Any) -> bool:
    """Tell whether a model wants to be asked with a temperature, as far as is known of it."""
    profile = getattr(model, "profile", None)
    return not (isinstance(profile, dict) and any(profile.get(word) for word in _NO_TEMPERATURE))


def says_all_it_means(agent: Any) -> bool:
    """Tell whether every word an agent's model says is part of the answer.

    Not so with tools, whose calls may follow preliminary words, with output that is no text,
    and with validators that may send an answer back.
    """
    if getattr(agent, "output_type", None) is not str:
        return False
    if getattr(agent, "_output_validators", True):
        return False
    return all(getattr(toolset, "tools", True) == {} for toolset in agent.toolsets)


def own_settings(agent: Any) -> frozenset[str] | None:
    """Return the names of the settings an agent brings; None: it makes them up at run time."""
    settings = getattr(agent, "model_settings", None)
    if settings is None:
        return frozenset()
    return None if callable(settings) else frozenset(settings)

"""Settings of a vLLM server."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class VLLMConfig:
    """A vLLM server and the model it serves.

    Attributes:
        model: The name the server serves the model under.
        base_url: Its API, path included.
        api_key: The key it was started with; servers without one ignore it.
        max_tokens: The longest answer.
        temperature: How freely to choose words.
        vision: Whether the model can look at images.
        api_base: Scheme, host and port to use instead of those in ``base_url``.
        max_retries: How often the SDK repeats a failed request by itself; None: its default
            of 2.
        timeout: Seconds for one request; None: the SDK's default of 10 minutes.
    """

    model: str
    base_url: str = "http://localhost:8000/v1"
    api_key: str = field(default="none", repr=False)
    max_tokens: int = 1024
    temperature: float = 0.7
    vision: bool = field(default=False, kw_only=True)
    api_base: str | None = field(default=None, kw_only=True)
    max_retries: int | None = field(default=None, kw_only=True)
    timeout: float | None = field(default=None, kw_only=True)

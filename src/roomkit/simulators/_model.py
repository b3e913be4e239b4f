"""What the simulators of language models share: a key, a model, and what it says next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roomkit.simulators._answers import AnswerQueue
from roomkit.simulators._base import SentMessage, VendorSimulator

if TYPE_CHECKING:
    from roomkit.simulators._answers import ModelAnswer


class ModelSimulator(VendorSimulator):
    """A model that says what it is told to, and otherwise repeats what it was asked.

    Args:
        api_key: The one key it knows.
        model: The model named in ``settings``.
        port: The port; 0 takes a free one.
    """

    def __init__(self, *, api_key: str, model: str, port: int = 0) -> None:
        super().__init__(port=port)
        self._api_key = api_key
        self._model = model
        self._answers = AnswerQueue()

    @property
    def settings(self) -> dict[str, Any]:
        """Keyword arguments for the config of the vendor's provider."""
        return {"api_key": self._api_key, "model": self._model, "api_base": self.api_base}

    def answer(self, *answers: ModelAnswer | str) -> None:
        """Let the model give these answers, one a request; then it repeats what it hears."""
        self._answers.add(*answers)

    def reset(self) -> None:
        """Forget requests, messages, the script and answers not given."""
        super().reset()
        self._answers.clear()

    def accept(self, answer_id: str, model: str, heard: str, body: dict[str, Any]) -> ModelAnswer:
        """Record a good request under the id of its answer; return what the model says to it."""
        self.sent.append(SentMessage(answer_id, model, heard, data=body))
        return self._answers.next(heard)

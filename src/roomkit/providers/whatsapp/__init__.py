"""WhatsApp, by the business API and by a linked phone; import from the modules.

``cloud`` and ``config`` (extra ``httpx``) are Meta's Cloud API, ``webhook`` reads its callbacks;
``personal`` sends by the client of ``roomkit.sources.neonize``; ``base`` and ``mock``.
"""

from __future__ import annotations

"""Voice activity detectors that run here, without a service.

``EnergyVADProvider`` needs nothing; the others need an extra and say so when made.
"""

from __future__ import annotations

from roomkit.voice.vad.energy import EnergyVADProvider
from roomkit.voice.vad.silero import SileroVADProvider
from roomkit.voice.vad.webrtc import WebRTCVADProvider

__all__ = ["EnergyVADProvider", "SileroVADProvider", "WebRTCVADProvider"]

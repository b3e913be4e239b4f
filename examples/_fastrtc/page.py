"""A web page with a microphone, for `--serve`: it calls FastRTC over WebRTC."""

from __future__ import annotations

_PAGE = """<!doctype html>
<meta charset="utf-8">
<title>RoomKit and FastRTC</title>
<button id="call">Call</button> <button id="end" disabled>Hang up</button>
<pre id="log"></pre>
<audio id="sound" autoplay></audio>
<script>
const [call, end, log, sound] = ["call", "end", "log", "sound"].map(
  (id) => document.getElementById(id));
let line;
const note = (text) => { log.textContent += text + "\\n"; };
call.onclick = async () => {
  const microphone = await navigator.mediaDevices.getUserMedia({
    audio: { echoCancellation: true, noiseSuppression: true } });
  line = new RTCPeerConnection();
  line.ontrack = (event) => { sound.srcObject = event.streams[0]; };
  line.onconnectionstatechange = () => note("[" + line.connectionState + "]");
  line.createDataChannel("text").onmessage = (event) => {
    const message = JSON.parse(event.data), said = message.data ?? message;
    if (message.type === "transcription") note(said.role + ": " + said.text);
  };
  microphone.getTracks().forEach((track) => line.addTrack(track, microphone));
  await line.setLocalDescription(await line.createOffer());
  // FastRTC takes the offer as a whole, so all candidates must be in it.
  while (line.iceGatheringState !== "complete")
    await new Promise((done) => { line.onicegatheringstatechange = done; });
  const answer = await fetch("@PATH@/webrtc/offer", {
    method: "POST", headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ sdp: line.localDescription.sdp, type: line.localDescription.type,
                           webrtc_id: crypto.randomUUID() }) });
  const found = await answer.json();
  if (found.status === "failed") return note("refused: " + found.meta.error);
  await line.setRemoteDescription(found);
  call.disabled = true; end.disabled = false;
};
end.onclick = () => { line.close(); call.disabled = false; end.disabled = true; };
</script>
"""


def page(path: str) -> str:
    """Return the page for FastRTC's routes below a path."""
    return _PAGE.replace("@PATH@", path)

// ---- The rest of the page, keys, the phone around it --------------------------------

// In place of the player.
function showPanel() {
  if (home.hasAttribute("data-live")) return;
  home.toggleAttribute("data-live", true);
  draw();
  element.scrollIntoView({ block: "nearest" });
}

function leave() {
  end();
  releaseSystem();
  home.toggleAttribute("data-live", false);
}

part("play").addEventListener("click", toggle);
part("change").addEventListener("click", change);
part("smaller").addEventListener("click", () => {
  trigger("smaller"); // it stands in the field of models, too
  begin({ model: props.smaller[form.backend] });
});
part("leave").addEventListener("click", () => {
  leave();
  home.querySelector("#play-live button")?.focus();
});
part("volume").addEventListener("input", setVolume);
home.addEventListener("musicgen:live", toggle);
home.addEventListener("musicgen:gesture", leave); // a take is to be made
// Another sound has started. The player shows itself for that.
document.addEventListener("musicgen:sound", ({ detail }) => {
  if (element.contains(detail)) return;
  if (home.querySelector("#player")?.contains(detail)) leave();
  else end();
});

document.addEventListener("keydown", (event) => {
  const { key, target } = event;
  if (!isOurs(target) || !home.hasAttribute("data-live") || event.defaultPrevented) return;
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (target.matches("[role=combobox][aria-expanded=true]") || document.querySelector("dialog[open]")) return;
  const typing = target.closest("input:not([type=range]), textarea, select, [contenteditable]");
  if (key === "Escape" && plays()) end();
  else if (key.toLowerCase() === "k" && !typing && home.dataset.keys !== "off") toggle();
  else return;
  event.preventDefault();
});

// Where others want their turn, nobody plays to a tab that is not looked at.
let hiding = 0;
document.addEventListener("visibilitychange", () => {
  clearTimeout(hiding);
  if (!document.hidden || !props.hidden_seconds) return;
  const words = translated("Ended: this page was hidden for a minute, and others use this machine, too.");
  hiding = setTimeout(() => end(words), 1000 * props.hidden_seconds);
});

// By a headset or the system; the news of a pause of ours come late, it may play again by then.
part("silence").addEventListener("pause", ({ target }) => { if (target.paused) end(); });

// A page that sounds through Web Audio alone is put to sleep with the screen, and has no buttons
// there. With a file that plays, be it silent, the music goes on.
function silentFile() {
  const seconds = 6;
  return URL.createObjectURL(wavFile([new Uint8Array(2 * 8000 * seconds)], 8000 * seconds, 1, 8000));
}

function showSystem() {
  const silence = part("silence");
  if (!plays()) silence.pause();
  else if (phase === "starting") {
    if (navigator.audioSession) navigator.audioSession.type = "playback";
    silence.src ||= silentFile();
    silence.play().catch(() => {}); // then without it
    for (const action of ["play", "pause", "stop"]) setAction(action, toggle);
  }
  if (navigator.mediaSession) navigator.mediaSession.playbackState = plays() ? "playing" : "paused";
}

function showTitle(title) {
  if (!navigator.mediaSession) return;
  navigator.mediaSession.metadata = new MediaMetadata({ title, artist: "MusicGen Space" });
}

// The system's buttons are for other sounds again.
function releaseSystem() {
  if (!navigator.mediaSession) return;
  for (const action of ["play", "pause", "stop"]) setAction(action, null);
  navigator.mediaSession.metadata = null;
  navigator.mediaSession.playbackState = "none";
}

function setAction(action, handler) {
  try {
    navigator.mediaSession?.setActionHandler(action, handler);
  } catch { /* not one of this browser's */ }
}

showKnobs();
showPlace();
draw();

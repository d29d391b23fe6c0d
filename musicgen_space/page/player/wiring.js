// ---- Wiring -------------------------------------------------------------------------

function update() {
  const before = view;
  view = props.value;
  const another = view.take !== take;
  if (another) {
    if (playing) pause();
    take = view.take;
    chosen = 0;
    favourite = false;
    madeLoop = false;
    chooseFinish();
    eager = false;
    noLongerCompared();
    [pieces, channels, filled, fetched, scheduled, position, lost] = [[], [], 0, 0, 0, 0, false];
    source = view.phase === "done" ? "file" : "live";
    startAlone = true;
    // On a phone the player lies below the fold. Who plays takes in their list stays there.
    const listed = view.phase === "done" && document.activeElement?.closest("#library");
    if (!listed) element.scrollIntoView({ block: "nearest" });
  }
  if (view.phase !== before.phase || another) {
    part("announcement").textContent = told(view.announcement);
  }
  // There may be something new in the list of takes.
  if (view.ended && view.ended !== ended) document.dispatchEvent(new Event("musicgen:kept"));
  ended = view.ended || ended;
  hear();
  if (view.phase === "done" && !playing && !(startAlone && view.chunks)) source = "file";
  fetchChunks();
  if (lost) giveUpLive();
  considerStarting();
  show();
  draw();
}

watch("value", update);
part("play").addEventListener("click", toggle);
wave.addEventListener("click", (event) => {
  const { left, width } = wave.getBoundingClientRect();
  seek(((event.clientX - left) / width) * length());
});
part("takes").addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
  if (!step || !takes.length) return;
  event.preventDefault();
  event.stopPropagation();
  chooseRow((rowOf(chosen) + step + takes.length) % takes.length, { focus: true });
});
part("match").addEventListener("click", () => {
  matched = !matched;
  setVolume();
  showTools();
});
part("blind").addEventListener("click", () => setBlind(blind === ""));
part("winner").addEventListener("click", decide);
part("picture").addEventListener("toggle", loadPicture);

// ---- Keys ---------------------------------------------------------------------------

const JUMP = 3; // seconds

// In the player; what has a use of its own for a key keeps it.
player.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const busy = event.target.closest("button, summary, input, a");
  const chip = busy?.getAttribute("aria-checked") === "true";
  const jump = { ArrowLeft: now() - 1, ArrowRight: now() + 1, Home: 0, End: length() }[event.key];
  if (jump !== undefined && !busy?.matches("input")) seek(jump);
  else if (event.key === " " && (!busy || chip)) toggle();
  else return;
  event.preventDefault();
});

// Anywhere on the page, but not where somebody types or has said no to single keys.
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (typing(event.target) || home.dataset.keys === "off" || !isOurs(event.target)) return;
  if (document.querySelector("dialog[open]") || !element.isConnected) return;
  if (home.hasAttribute("data-live")) return; // the keys are for live music
  const key = event.key.toLowerCase();
  if (key === "k") toggle();
  else if (key === "j") seek(now() - JUMP);
  else if (key === "l") seek(now() + JUMP);
  else if ("1234".includes(key) && compared() && takes[key - 1]) chooseRow(key - 1);
  else return;
  event.preventDefault();
});

function typing(node) {
  const quiet = "input:is([type=checkbox], [type=radio], [type=range], [type=button], [type=file])";
  return node.closest("input, textarea, select, [contenteditable]") && !node.matches(quiet);
}

// ---- The rest of the page -----------------------------------------------------------

let settling = 0; // the timer of a finish: a slider passes many values

home.addEventListener("musicgen:finish", ({ detail }) => {
  const off = !detail.normalise && !detail.trim && !detail.fade_in && !detail.fade_out;
  clearTimeout(settling);
  finishing = !off && takes.length > 0;
  show();
  settling = setTimeout(() => {
    finishChosen = off ? null : detail;
    chooseFinish();
    hear();
  }, off ? 0 : 250);
});
// Another sound on the page has started.
document.addEventListener("musicgen:sound", ({ detail }) => {
  if (playing && !element.contains(detail)) pause();
});
home.addEventListener("musicgen:gesture", unlock);
new ResizeObserver(draw).observe(part("canvas").parentElement);
whenDark(draw); // colours come from CSS variables
hear();
show();
draw();

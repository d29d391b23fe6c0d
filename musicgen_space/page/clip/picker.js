// The picker of a stretch. Gradio gives: element, props, watch, trigger, server.
//
// props.value is the dict that musicgen_space/page/clip/own_sound.py describes. The stretch is
// never shorter than `least` nor longer than `most`: one end pushes the other along.

const part = (name) => element.querySelector(`[data-part="${name}"]`);
const audio = part("audio");
const canvas = part("canvas");
const strip = part("strip");
const ENDS = ["from", "to"];
const GONE = translated("This sound is not kept here any more.");
const SILENT = translated("The server did not answer. Please try again.");

let sound = props.value;
let loaded = "";          // the id of the sound in the <audio> element
let playing = false;

const seconds = () => sound.seconds || 1;
const shortest = () => Math.min(sound.least ?? 0.5, seconds());
const between = (least, value, most) => Math.max(least, Math.min(value, most));
const clock = (at) => `${Math.floor(at / 60)}:${(at % 60).toFixed(1).padStart(4, "0")}`;

// ---- The stretch --------------------------------------------------------------------

function stretch(from, to) {
  pause();
  sound = { ...sound, from, to };
  show();
}

function move(end, at) {
  if (end === "from") {
    const from = between(0, at, seconds() - shortest());
    stretch(from, between(from + shortest(), sound.to, Math.min(seconds(), from + sound.most)));
  } else {
    const to = between(shortest(), at, seconds());
    stretch(between(Math.max(0, to - sound.most), sound.from, to - shortest()), to);
  }
}

function slide(from) {
  const length = sound.to - sound.from;
  const start = between(0, from, seconds() - length);
  stretch(start, start + length);
}

// Only what is settled is told to the server: not each step of a drag.
const settle = () => { props.value = sound; };

// ---- Mouse, touch, keys -------------------------------------------------------------

const at = (event) => {
  const { left, width } = strip.getBoundingClientRect();
  return ((event.clientX - left) / width) * seconds();
};

function drag(node, moved) {
  node.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    event.preventDefault();
    node.focus?.();
    node.setPointerCapture(event.pointerId);
    const start = { at: at(event), from: sound.from, to: sound.to };
    const follow = (event) => moved(at(event) - start.at, start);
    const leave = () => {
      node.removeEventListener("pointermove", follow);
      settle();
    };
    node.addEventListener("pointermove", follow);
    node.addEventListener("lostpointercapture", leave, { once: true });
  });
}

const STEPS = {
  ArrowLeft: -0.1, ArrowDown: -0.1, ArrowRight: 0.1, ArrowUp: 0.1, PageDown: -1, PageUp: 1,
  Home: -Infinity, End: Infinity,
};

for (const end of ENDS) {
  drag(part(end), (by, start) => move(end, start[end] + by));
  part(end).addEventListener("keydown", (event) => {
    const step = STEPS[event.key];
    if (step === undefined) return;
    event.preventDefault();
    move(end, sound[end] + step * (event.shiftKey ? 10 : 1));
    settle();
  });
  part(`${end}-number`).addEventListener("change", ({ target }) => {
    if (Number.isFinite(target.valueAsNumber)) move(end, target.valueAsNumber);
    else show();
    settle();
  });
}
drag(part("band"), (by, start) => slide(start.from + by));

// ---- Listening ----------------------------------------------------------------------

async function play() {
  const { clip } = sound;
  say("");
  if (loaded !== clip) {
    const file = await server.sound(clip);
    if (clip !== sound.clip || loaded === clip) return; // another was chosen, or it plays already
    if (!file) return say(file === null ? GONE : SILENT);
    audio.src = served(file);
    loaded = clip;
  }
  audio.currentTime = sound.from;
  playing = true;
  show();
  watchTheEnd();
  const how = await started(audio);
  if (how === "playing" || how === "interrupted") return; // paused on its way, it may play again
  pause();
  if (how === "broken") say(UNPLAYABLE);
}

function pause() {
  playing = false;
  audio.pause();
  show();
}

const say = (words) => { part("said").textContent = words; };

function watchTheEnd() {
  if (!playing) return;
  if (audio.currentTime >= sound.to || audio.ended) return pause();
  draw();
  requestAnimationFrame(watchTheEnd);
}

// ---- What is seen -------------------------------------------------------------------

function show() {
  part("name").textContent = sound.name;
  part("note").textContent = told(sound.note);
  for (const end of ENDS) {
    const handle = part(end);
    handle.style.left = `${(sound[end] / seconds()) * 100}%`;
    handle.setAttribute("aria-valuemin", end === "from" ? "0" : shortest().toFixed(1));
    handle.setAttribute(
      "aria-valuemax", (end === "from" ? seconds() - shortest() : seconds()).toFixed(1)
    );
    handle.setAttribute("aria-valuenow", (sound[end] ?? 0).toFixed(1));
    handle.setAttribute("aria-valuetext", clock(sound[end] ?? 0));
    const number = part(`${end}-number`);
    number.max = seconds().toFixed(1);
    number.value = (sound[end] ?? 0).toFixed(1);
  }
  part("band").style.left = `${(sound.from / seconds()) * 100}%`;
  part("band").style.width = `${((sound.to - sound.from) / seconds()) * 100}%`;
  showLength();
  const button = part("play");
  button.setAttribute("aria-label", playing ? translated("Pause") : translated("Play the stretch"));
  button.toggleAttribute("data-playing", playing);
  draw();
}

// Of what is continued, all that is picked is kept, and so many seconds are added. Of what is
// made anew in part, the rest is.
function showLength() {
  const picked = sound.to - sound.from;
  const added = Number(home.querySelector("#duration [type=number]")?.value);
  const use = home.querySelector("#use input:checked")?.value;
  const [length, whole] = [picked.toFixed(1), seconds().toFixed(1)];
  part("length").textContent = {
    continue_from: added && translated("{length:.1f} s kept, {added:.1f} s added: {whole:.1f} s in all", {
      length, added: added.toFixed(1), whole: (picked + added).toFixed(1),
    }),
    replace: translated("{length:.1f} s made anew in several ways, the rest of {whole:.1f} s stays", { length, whole }),
  }[use] || translated("{length:.1f} of {whole:.1f} s", { length, whole });
}

function draw() {
  const scale = window.devicePixelRatio || 1;
  const { width, height } = strip.getBoundingClientRect();
  if (!width) return;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const brush = canvas.getContext("2d");
  const style = getComputedStyle(strip);
  const colour = (name) => style.getPropertyValue(name).trim();
  const [picked, left, heard] = ["--wave-picked", "--wave-left", "--wave-heard"].map(colour);
  brush.setTransform(scale, 0, 0, scale, 0, 0);
  const step = 4;
  const bars = Math.floor(width / step);
  for (const [bar, peak] of barsOf(sound.peaks, bars).entries()) {
    const tall = Math.max(2, (peak / 100) * (height - 8));
    const when = ((bar + 0.5) / bars) * seconds();
    const inside = when >= sound.from && when <= sound.to;
    brush.fillStyle = !inside ? left : playing && when <= audio.currentTime ? heard : picked;
    brush.fillRect(bar * step, (height - tall) / 2, step - 1.5, tall);
  }
}

// ---- Wiring -------------------------------------------------------------------------

watch("value", () => {
  if (props.value.clip !== sound.clip) pause(); // the same one may be told again while it plays
  sound = props.value;
  if (sound.clip) show();
});
part("play").addEventListener("click", () => (playing ? pause() : play()));
part("remove").addEventListener("click", () => {
  pause();
  trigger("clear");
});
// Its news comes late: it may play again by now.
audio.addEventListener("pause", () => { if (playing && audio.paused) pause(); });
audio.addEventListener("error", () => { loaded = ""; }); // to be asked for again
home.addEventListener("input", ({ target }) => {
  if (sound.clip && target.closest("#duration, #use")) setTimeout(showLength);
});
new ResizeObserver(draw).observe(strip);
whenDark(draw); // colours come from CSS variables
if (sound.clip) show();

// The player. Gradio gives: element, props, watch, server.
//
// While a take is being made its chunks are fetched and played through Web Audio, sample
// after sample, so there is no gap between them. A finished take is an <audio> file; of
// several variations one is chosen, and all files are made when they are asked for.
// props.value is the dict that musicgen_space/ui/player.py describes.

const part = (name) => element.querySelector(`[data-part="${name}"]`);
const audio = part("audio");
const canvas = part("canvas");
const wave = part("wave");

let view = props.value;
let take = view.take;
let chosen = 0;           // the variation that is shown and played

// The finished take's file, for which Play may have to wait.
let sounding = "";        // the address of what <audio> has or is about to get
let ready = false;        // it is there
let eager = false;        // play it as soon as it is

// Live sound: what has been fetched, and what is scheduled in the audio context.
let context = null;
let channels = [];        // one Float32Array a channel, long enough for the whole take
let filled = 0;           // frames fetched
let fetched = 0;          // chunks fetched
let fetching = false;
let sources = [];
let scheduled = 0;        // frames scheduled
let origin = 0;           // the context's time at which frame 0 would have played

let source = "file";      // what Play uses: "live" or "file"
let playing = false;
let position = 0;         // seconds, while paused
let lost = false;         // a chunk of this take could not be fetched
let drawing = 0;          // the timer of the next picture
let startAlone = false;   // a new take starts by itself, unless its listener pauses it

const rate = () => view.rate || 32000;
const shown = () => view.takes[chosen] ?? view;
const length = () => shown().wanted || 0;
const available = () => (source === "live" ? filled / rate() : view.phase === "done" ? length() : 0);

function now() {
  if (!playing) return position;
  if (source === "file") return audio.currentTime;
  return Math.max(0, Math.min(context.currentTime - origin, filled / rate()));
}

// ---- Live playback ------------------------------------------------------------------

// Browsers allow sound only after a gesture: pressing Generate or Play is one.
function unlock() {
  if (!context || context.sampleRate !== rate()) {
    context?.close();
    context = new AudioContext({ sampleRate: rate() });
  }
  context.resume();
}

async function fetchChunks() {
  if (fetching) return;
  fetching = true;
  const mine = take;
  try {
    while (mine === take && fetched < view.chunks && !lost) {
      const encoded = await fetchChunk(`${mine}/${fetched}`);
      if (mine !== take) break;
      if (encoded === null) {
        giveUpLive();
        break;
      }
      store(encoded);
      fetched += 1;
      if (playing && source === "live") schedule();
      else considerStarting();
      draw();
    }
  } finally {
    fetching = false;
  }
  if (mine !== take) fetchChunks();
}

async function fetchChunk(address) {
  for (const pause of [200, 1000, 3000]) {
    try {
      return await server.chunk(address);
    } catch {
      await new Promise((resume) => setTimeout(resume, pause));
    }
  }
  return null;
}

// A chunk can't be had: go on with the file once there is one.
function giveUpLive() {
  lost = true;
  if (view.phase !== "done" || source === "file") return;
  const resume = playing;
  if (playing) pause();
  source = "file";
  if (resume) play();
  show();
}

function store(encoded) {
  const bytes = Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));
  const samples = new Int16Array(bytes.buffer);
  const count = view.channels || 1;
  const frames = samples.length / count;
  for (let channel = 0; channel < count; channel++) {
    const needed = filled + frames;
    if (!channels[channel] || channels[channel].length < needed) {
      const longer = new Float32Array(Math.max(needed, Math.ceil(length() * rate()) + rate()));
      longer.set(channels[channel]?.subarray(0, filled) ?? []);
      channels[channel] = longer;
    }
    for (let i = 0; i < frames; i++) {
      channels[channel][filled + i] = samples[i * count + channel] / 32768;
    }
  }
  filled += frames;
}

function schedule() {
  if (scheduled >= filled) return;
  const soonest = context.currentTime + 0.03;
  const due = origin + scheduled / rate();
  if (due < soonest) origin += soonest - due; // the music came too late: wait for it
  const buffer = context.createBuffer(channels.length, filled - scheduled, rate());
  channels.forEach((samples, channel) =>
    buffer.copyToChannel(samples.subarray(scheduled, filled), channel)
  );
  const node = context.createBufferSource();
  node.buffer = buffer;
  node.connect(context.destination);
  node.start(origin + scheduled / rate());
  sources.push(node);
  scheduled = filled;
}

// Start as soon as the music can be expected to stay ahead of the listener: at speed r < 1
// the last (1 - r) of the take has to be there before, at r >= 1 the first chunk is enough.
function considerStarting() {
  if (!startAlone || playing) return;
  if (source === "file") {
    startAlone = false;
    if (view.phase === "done") play();
    return;
  }
  if (filled === 0 || context?.state !== "running") return;
  const ready = view.phase === "done" || filled / rate() >= length() * (1 - 0.95 * view.speed);
  if (ready) play();
}

function silence() {
  for (const node of sources) {
    node.stop();
    node.disconnect();
  }
  sources = [];
}

// ---- Transport ----------------------------------------------------------------------

function play() {
  if (!available()) return;
  if (source === "file" && !ready) {
    eager = true;
    return;
  }
  if (view.phase === "done" && position >= available() - 0.05) position = 0;
  if (source === "live") {
    unlock();
    scheduled = Math.round(position * rate());
    origin = context.currentTime + 0.03 - position;
    playing = true;
    schedule();
  } else {
    audio.currentTime = position;
    playing = true;
    audio.play().catch(() => { playing = false; show(); });
  }
  show();
  animate();
}

function pause() {
  position = now();
  playing = false;
  startAlone = false;
  eager = false;
  silence();
  audio.pause();
  if (view.phase === "done") source = "file";
  show();
  draw();
}

function seek(seconds) {
  const resume = playing;
  if (playing) pause();
  position = Math.max(0, Math.min(seconds, available()));
  if (source === "file" && ready) audio.currentTime = position;
  if (resume && position < available() - 0.05) play();
  show();
  draw();
}

function finish() {
  position = 0;
  playing = false;
  startAlone = false;
  silence();
  if (view.phase === "done") source = "file";
  show();
  draw();
}

function animate() {
  if (!playing) return;
  const ended = source === "live" && view.phase === "done" && fetched >= view.chunks &&
    context.currentTime - origin >= filled / rate();
  if (ended) return finish();
  showTime();
  draw();
  // The machine that draws may be the one that makes the music: 15 pictures a second do.
  clearTimeout(drawing);
  drawing = setTimeout(() => requestAnimationFrame(animate), 66);
}

// ---- Files --------------------------------------------------------------------------

const GONE = "This take is not kept here any more: the same settings make it again.";

// The variation's file of a kind, e.g. "mp3" → { url, name }, or null when it is gone.
async function fileOf(ending) {
  const file = await server.file(`${take}/${chosen}/${ending}`).catch(() => null);
  if (!file) {
    part("status").textContent = part("announcement").textContent = GONE;
    return null;
  }
  const root = window.gradio_config?.root ?? new URL(".", location.href).href;
  return { url: `${root.replace(/\/$/, "")}/gradio_api/file=${file.path}`, name: file.name };
}

async function loadSound() {
  const wanted = view.phase === "done" ? `${take}/${chosen}` : "";
  if (wanted === sounding) return;
  sounding = wanted;
  ready = false;
  if (!wanted) return audio.removeAttribute("src");
  const file = await fileOf("wav");
  if (sounding !== wanted || !file) return;
  audio.src = file.url;
  ready = true;
  if (eager) {
    eager = false;
    play();
  }
}

async function loadPicture() {
  const wanted = view.phase === "done" ? `${take}/${chosen}` : "";
  part("picture").toggleAttribute("data-empty", !wanted);
  if (!wanted || !part("picture").open || part("image").dataset.of === wanted) return;
  part("image").dataset.of = wanted;
  const file = await fileOf("png");
  if (file && part("image").dataset.of === wanted) part("image").src = file.url;
}

async function download(ending, button) {
  button.setAttribute("aria-busy", "true");
  const file = await fileOf(ending);
  button.removeAttribute("aria-busy");
  if (!file) return;
  const link = document.createElement("a");
  link.href = file.url;
  link.download = file.name;
  link.click();
}

// Another variation, at the same place: that is how they can be compared.
function choose(variation) {
  const resume = playing || eager;
  if (playing) pause();
  chosen = variation;
  position = Math.min(position, length());
  source = "file";
  loadSound();
  if (resume) play();
  showTake();
  show();
  draw();
}

// ---- What is seen -------------------------------------------------------------------

const clock = (seconds) =>
  `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

function showTime() {
  const at = now();
  part("time").textContent = `${clock(at)} / ${clock(length())}`;
  wave.setAttribute("aria-valuemax", length().toFixed(1));
  wave.setAttribute("aria-valuenow", at.toFixed(1));
  wave.setAttribute("aria-valuetext", `${clock(at)} of ${clock(length())}`);
}

function show() {
  const player = element.querySelector(".player");
  player.dataset.phase = view.phase;
  player.dataset.playing = playing ? source : "";
  player.dataset.kept = shown().kept ?? ""; // its row in the list of takes shows that it plays
  const button = part("play");
  button.disabled = !available();
  button.setAttribute("aria-label", playing ? "Pause" : "Play");
  part("status").textContent = view.status;
  part("title").textContent = view.title;
  part("facts").textContent = shown().facts;
  showTime();
}

function showTake() {
  showDownloads();
  showLink();
  showChips();
  showSeam();
  loadPicture();
}

function showDownloads() {
  const formats = shown().formats ?? [];
  part("downloads").replaceChildren(
    ...formats.map((ending) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = ending.toUpperCase();
      button.setAttribute("aria-label", `Download as ${ending.toUpperCase()}`);
      button.addEventListener("click", () => download(ending, button));
      return button;
    })
  );
}

function showChips() {
  const chips = part("takes");
  chips.hidden = view.variations < 2;
  while (chips.children.length > view.variations) chips.lastChild.remove();
  while (chips.children.length < view.variations) chips.append(newChip(chips.children.length));
  [...chips.children].forEach((chip, index) => {
    chip.disabled = index >= view.takes.length;
    chip.setAttribute("aria-checked", index === chosen);
    chip.tabIndex = index === chosen ? 0 : -1;
  });
}

function newChip(index) {
  const chip = document.createElement("button");
  chip.type = "button";
  chip.textContent = index + 1;
  chip.setAttribute("role", "radio");
  chip.setAttribute("aria-label", `Take ${index + 1}`);
  chip.addEventListener("click", () => choose(index));
  return chip;
}

// Where the visitor's own sound ends and the new music begins.
function showSeam() {
  const seam = part("seam");
  seam.hidden = !(view.begins > 0 && view.begins < length());
  if (seam.hidden) return;
  const words = `The new music begins at ${clock(view.begins)}`;
  seam.style.left = `${(view.begins / length()) * 100}%`;
  seam.title = words;
  seam.setAttribute("aria-label", words);
}

function draw() {
  const scale = window.devicePixelRatio || 1;
  const { width, height } = wave.getBoundingClientRect();
  if (!width) return;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const brush = canvas.getContext("2d");
  const style = getComputedStyle(wave);
  const colour = (name) => style.getPropertyValue(name).trim();
  const [played, made, empty] = ["--wave-played", "--wave-made", "--wave-empty"].map(colour);
  brush.setTransform(scale, 0, 0, scale, 0, 0);
  brush.clearRect(0, 0, width, height);
  const step = 4;
  const bars = Math.floor(width / step);
  const peaksInAll = Math.max(1, length() * view.peaks_per_second);
  const reached = length() ? now() / length() : 0;
  for (let bar = 0; bar < bars; bar++) {
    const from = Math.floor((bar / bars) * peaksInAll);
    const to = Math.max(from + 1, Math.floor(((bar + 1) / bars) * peaksInAll));
    const loudest = Math.max(-1, ...shown().peaks.slice(from, to));
    const tall = loudest < 0 ? 2 : Math.max(2, (loudest / 100) * (height - 8));
    brush.fillStyle = loudest < 0 ? empty : (bar + 0.5) / bars < reached ? played : made;
    brush.fillRect(bar * step, (height - tall) / 2, step - 1.5, tall);
  }
}

// ---- Wiring -------------------------------------------------------------------------

function update() {
  const before = view;
  view = props.value;
  if (view.take !== take) {
    if (playing) pause();
    take = view.take;
    chosen = 0;
    eager = false;
    [channels, filled, fetched, scheduled, position, lost] = [[], 0, 0, 0, 0, false];
    source = view.phase === "done" ? "file" : "live";
    startAlone = true;
    // On a phone the player lies below the fold. Who plays takes in their list stays there.
    const listed = view.phase === "done" && document.activeElement?.closest("#library");
    if (!listed) element.scrollIntoView({ block: "nearest" });
  }
  if (view.phase !== before.phase || view.take !== before.take) {
    part("announcement").textContent = view.announcement;
  }
  showTake();
  loadSound();
  if (view.phase === "done" && !playing && !(startAlone && view.chunks)) source = "file";
  fetchChunks();
  if (lost) giveUpLive();
  considerStarting();
  show();
  draw();
}

watch("value", update);
audio.addEventListener("ended", finish);
audio.addEventListener("pause", () => { if (playing && source === "file") pause(); });
part("play").addEventListener("click", () => (playing ? pause() : play()));
wave.addEventListener("click", (event) => {
  const { left, width } = wave.getBoundingClientRect();
  seek(((event.clientX - left) / width) * length());
});
wave.addEventListener("keydown", (event) => {
  const jump = { ArrowLeft: now() - 1, ArrowRight: now() + 1, Home: 0, End: length() }[event.key];
  if (jump !== undefined) seek(jump);
  else if (event.key === " ") playing ? pause() : play();
  else return;
  event.preventDefault();
});
part("takes").addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
  if (!step || !view.takes.length) return;
  event.preventDefault();
  choose((chosen + step + view.takes.length) % view.takes.length);
  part("takes").children[chosen].focus();
});
part("picture").addEventListener("toggle", loadPicture);
document.addEventListener("musicgen:gesture", unlock);
new ResizeObserver(draw).observe(wave);
// Colours come from CSS variables: draw again when light becomes dark.
new MutationObserver(draw).observe(document.body, { attributeFilter: ["class"] });
showTake();
loadSound();
show();
draw();

// The player. Gradio gives: element, props, watch, server.
//
// While a take is being made its chunks are fetched and played through Web Audio, sample
// after sample, so there is no gap between them. A finished take is an <audio> file.
// props.value is the dict that musicgen_space/ui/player.py describes.

const part = (name) => element.querySelector(`[data-part="${name}"]`);
const audio = part("audio");
const canvas = part("canvas");
const wave = part("wave");

let view = props.value;
let take = view.take;

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
const length = () => view.wanted || 0;
const available = () => (source === "live" ? filled / rate() : length());

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
  if (source === "file" && audio.src) audio.currentTime = position;
  if (resume) play();
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
  const button = part("play");
  button.disabled = !available();
  button.setAttribute("aria-label", playing ? "Pause" : "Play");
  part("status").textContent = view.status;
  part("title").textContent = view.title;
  part("facts").textContent = view.facts;
  part("picture").toggleAttribute("data-empty", !view.picture);
  showTime();
}

function showFiles() {
  part("downloads").replaceChildren(
    ...view.downloads.map(({ label, file }) => {
      const link = document.createElement("a");
      link.href = file.url;
      link.download = file.orig_name;
      link.textContent = label;
      link.setAttribute("aria-label", `Download as ${label}`);
      return link;
    })
  );
  if (view.picture) part("image").src = view.picture.url;
  const url = view.downloads[0]?.file.url;
  if (url && audio.getAttribute("src") !== url) audio.src = url;
  if (!url) audio.removeAttribute("src");
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
    const loudest = Math.max(-1, ...view.peaks.slice(from, to));
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
    [channels, filled, fetched, scheduled, position, lost] = [[], 0, 0, 0, 0, false];
    source = view.phase === "done" ? "file" : "live";
    startAlone = true;
    // On a phone the player lies below the fold.
    element.scrollIntoView({ block: "nearest" });
  }
  if (view.phase !== before.phase || view.take !== before.take) {
    part("announcement").textContent = view.announcement;
  }
  showFiles();
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
document.addEventListener("musicgen:gesture", unlock);
new ResizeObserver(draw).observe(wave);
// Colours come from CSS variables: draw again when light becomes dark.
new MutationObserver(draw).observe(document.body, { attributeFilter: ["class"] });
showFiles();
show();
draw();

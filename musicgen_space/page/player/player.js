// The player. Gradio gives: element, props, watch, server, trigger.
//
// Eight files make up one function, in this order: player.js (what is there, transport,
// what is seen), stream.js (a take while it is made), sounds.js (finished takes as files),
// compare.js (several takes), share.js (a link to one), loop.js (over and over), steps.js (what
// to do next with it), wiring.js (what is listened to).
// Before them stand bars.js and starting.js, which the picker has, too, and asking.js and
// pieces.js, which live music has.
//
// While a take is being made its chunks are fetched and played through Web Audio, sample
// after sample, so there is no gap between them. A finished take is an <audio> file; of
// several takes one is chosen, and all files are made when they are asked for.
// props.value is the dict that musicgen_space/page/player/player.py describes.

const part = (name) => element.querySelector(`[data-part="${name}"]`);
const player = element.querySelector(".player");
const canvas = part("canvas");
const wave = part("wave");

let view = props.value;
let take = view.take;
let ended = view.ended;   // what was made last, as far as others on the page were told
let takes = [];           // the view's, as they are heard: with a finish, and how loud
let chosen = 0;           // which of them is shown and played

let source = "file";      // what Play uses: "live" or "file"
let playing = false;
let position = 0;         // seconds, while paused
let drawing = 0;          // the timer of the next picture
let startAlone = false;   // a new take starts by itself, unless its listener pauses it

const rate = () => view.rate || 32000;
const shown = () => takes[chosen] ?? view;
const length = () => shown().wanted || 0;
const available = () => (source === "live" ? filled / rate() : view.phase === "done" ? length() : 0);

function now() {
  if (!playing) return position;
  if (source === "file") return sounding.audio.currentTime;
  if (source === "loop") return inLoop();
  return Math.max(0, Math.min(context.currentTime - origin, filled / rate()));
}

// ---- Transport ----------------------------------------------------------------------

function play() {
  if (!available()) return;
  if (source === "loop") source = "file";
  eager = source === "file" && !soundOf(chosen).there;
  if (eager) return; // as soon as it is there
  if (view.phase === "done" && position >= available() - 0.05) position = 0;
  document.dispatchEvent(new CustomEvent("musicgen:sound", { detail: element }));
  playing = true;
  if (source === "live") {
    unlock();
    scheduled = Math.round(position * rate());
    origin = context.currentTime + 0.03 - position;
    schedule();
  } else if (looping) {
    playLoop();
  } else {
    sounding = soundOf(chosen);
    sounding.audio.currentTime = position;
    sounding.audio.volume = volume();
    start(sounding.audio);
  }
  show();
  animate();
}

async function start(audio) {
  const mine = changing;
  const how = await started(audio);
  // Paused on its way, it may be playing again.
  const again = mine !== changing || (how === "interrupted" && !audio.paused);
  if (how !== "playing" && !again) giveUp(how);
}

// What can't be heard is not shown as playing.
function giveUp(how) {
  pause();
  if (how === "broken") say(UNPLAYABLE);
}

function pause() {
  position = now();
  playing = false;
  startAlone = false;
  eager = false;
  changing += 1;
  silence();
  stopLoop();
  sounding?.audio.pause();
  if (view.phase === "done") source = "file";
  show();
  draw();
}

const toggle = () => (playing || eager ? pause() : play());

function seek(seconds) {
  const resume = playing;
  if (playing) pause();
  position = Math.max(0, Math.min(seconds, available()));
  const sound = source !== "live" ? sounds.get(keyOf(chosen)) : null;
  if (sound?.there) sound.audio.currentTime = position;
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

// ---- What is seen -------------------------------------------------------------------

const clock = (seconds) =>
  `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

// Of somebody who compares blindly the length is kept too: it may tell the takes apart.
function showTime() {
  const at = now();
  const whole = blindly() ? span() : length();
  part("at").textContent = clock(at);
  part("whole").textContent = blindly() ? "" : ` / ${clock(whole)}`;
  part("dock-at").textContent = clock(at);
  part("dock-line").style.width = `${whole ? (100 * at) / whole : 0}%`;
  wave.setAttribute("aria-valuemax", whole.toFixed(1));
  wave.setAttribute("aria-valuenow", at.toFixed(1));
  const words = translated("{at} of {whole}", { at: clock(at), whole: clock(whole) });
  wave.setAttribute("aria-valuetext", blindly() ? clock(at) : words);
}

function show() {
  player.dataset.phase = view.phase;
  player.dataset.take = take;
  player.dataset.playing = playing ? source : "";
  player.dataset.kept = kept(); // its row in the list of takes shows that it plays
  const button = part("play");
  button.disabled = !available();
  button.setAttribute("aria-label", playing ? translated("Pause") : translated("Play"));
  part("status").textContent = told(view.status);
  part("title").textContent = shown().title;
  showSteps();
  showLoop();
  showDock();
  const notes = finishing ? [translated("finishing …")] : shown().notes ?? [];
  part("facts").textContent = told([...shown().facts, ...notes]);
  showTime();
}

function showTake() {
  showSteps();
  showLink();
  showRows();
  showSeam();
  loadPicture();
}

// Where the visitor's own sound ends and the new music begins.
function showSeam() {
  const seam = part("seam");
  const { begins } = shown();
  seam.hidden = compared() || !(begins > 0 && begins < length());
  if (seam.hidden) return;
  const words = translated("The new music begins at {time}", { time: clock(begins) });
  seam.style.left = `${(begins / length()) * 100}%`;
  seam.title = words;
  seam.setAttribute("aria-label", words);
}

function draw() {
  if (compared()) drawRows();
  else drawBars(canvas, shown(), { seconds: length(), played: now() });
}

// Bars of a take over so many seconds, those before `played` in the accent colour. `flat`:
// all alike, which tells nothing of the take.
function drawBars(canvas, take, { seconds, played, flat = false }) {
  const scale = window.devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  if (!width) return null;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const brush = canvas.getContext("2d");
  const style = getComputedStyle(wave);
  const colour = (name) => style.getPropertyValue(name).trim();
  const [heard, made, empty] = ["--wave-played", "--wave-made", "--wave-empty"].map(colour);
  brush.setTransform(scale, 0, 0, scale, 0, 0);
  brush.clearRect(0, 0, width, height);
  const step = 4;
  const bars = Math.floor(width / step);
  const peaksInAll = Math.max(1, seconds * take.peaks_per_second);
  const reached = seconds ? played / seconds : 0;
  for (const [bar, peak] of barsOf(take.peaks, bars, peaksInAll).entries()) {
    const loudest = flat ? 30 : peak;
    const tall = loudest < 0 ? 2 : Math.max(2, (loudest / 100) * (height - 8));
    brush.fillStyle = loudest < 0 ? empty : (bar + 0.5) / bars < reached ? heard : made;
    brush.fillRect(bar * step, (height - tall) / 2, step - 1.5, tall);
  }
  return { brush, width, height };
}


// ---- The pieces become one sound ----------------------------------------------------

const RATE = 32000;       // of MusicGen
const CUSHION = 0.5;      // seconds that are there before any of it is heard
const SOON = 0.03;        // seconds that it takes to have a piece sound, on a machine that is not busy,
const AT_FIRST = 0.1;     // and some pieces on one that is

let context = null;
let output = null;        // as loud as the listener wants it
let analyser = null;      // sees what is heard
let voice = null;         // where the sound of this session goes through
let nodes = new Set();    // the pieces of it that are heard or still to be
let held = [];            // those that wait until there are enough
let origin = null;        // the context's time of second 0; null while nothing is heard
let heard = [];           // of each piece: from when on it is heard, and what it follows

function openSound() {
  if (!context) {
    context = new AudioContext({ sampleRate: RATE, latencyHint: "playback" });
    output = context.createGain();
    analyser = context.createAnalyser();
    analyser.smoothingTimeConstant = 0.75;
    output.connect(analyser).connect(context.destination);
    context.addEventListener("statechange", soundChanged);
    setVolume();
  }
  context.resume().catch(() => {}); // its state tells
  fadeOut();
  voice = context.createGain();
  voice.connect(output);
  [held, heard, origin] = [[], [], null];
}

function setVolume() {
  if (output) output.gain.value = part("volume").value / 100;
}

// What is interrupted, by a call or a screen that is locked, does not go on by itself later.
function soundChanged() {
  if (phase === "playing" && context.state !== "running") {
    end(translated("Interrupted: press Play to begin again."));
  }
}

function hear({ pieces = [], channels, rate, over }) {
  for (const piece of pieces) {
    const samples = channelsOf(bytesOf(piece.sound), channels);
    held.push({ ...piece, samples, rate, seconds: samples[0].length / rate });
  }
  schedule(over);
}

function schedule(last) {
  const late = held.length && origin !== null && origin + held[0].start < context.currentTime + SOON;
  if (late) {
    origin = null;
    panel.dataset.late = Number(panel.dataset.late ?? 0) + 1;
  }
  if (origin === null && !startSound(last)) return;
  held.splice(0).forEach(soundPiece);
}

// Second 0 is at one of the context's frames, so each piece begins where the one before ends.
function startSound(last) {
  const there = held.reduce((sum, { seconds }) => sum + seconds, 0);
  if (!there || (there < CUSHION && !last)) return false;
  const soon = Math.ceil((context.currentTime + AT_FIRST) * RATE) / RATE;
  origin = soon - held[0].start;
  setPhase("playing");
  return true;
}

function soundPiece({ start, samples, rate, prompt, coming }) {
  const when = origin + start;
  const node = soundAt(when, samples, rate, voice);
  node.onended = () => nodes.delete(node);
  nodes.add(node);
  heard.push({ when, prompt, coming });
}

// Not cut off: faded out in a moment.
function fadeOut() {
  if (!voice) return;
  const now = context.currentTime;
  voice.gain.setTargetAtTime(0, now, 0.015);
  for (const node of nodes) node.stop(now + 0.1);
  nodes = new Set();
  held = [];
}

// What is heard now: the last piece that has begun.
function heardNow() {
  const now = context?.currentTime ?? 0;
  while (heard.length > 1 && heard[1].when <= now) heard.shift();
  return heard.length && heard[0].when <= now ? heard[0] : null;
}

const secondsHeard = () => (origin === null ? null : Math.max(0, context.currentTime - origin));


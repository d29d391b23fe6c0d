// ---- What is seen -------------------------------------------------------------------

const still = matchMedia("(prefers-reduced-motion: reduce)");
const [LOWEST, HIGHEST] = [50, 14000]; // Hz, from the left to the right

let drawing = 0;          // the timer of the next picture
let speed = null;         // × real time, once the server knows it
let shownPrompt = "";     // what was said to be heard

const say = (words) => { part("state").textContent = words; };
const sayAloud = (words) => { part("announcement").textContent = words; };
const clock = (seconds) =>
  `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

function setPhase(now) {
  if (now === phase) return;
  phase = now;
  panel.dataset.phase = phase;
  part("change").disabled = !plays();
  const words = plays() ? translated("Stop live music") : translated("Play live music");
  part("play").setAttribute("aria-label", words);
  part("play").toggleAttribute("data-begins", !plays());
  if (phase === "starting") [speed, shownPrompt, expected] = [null, "", ""];
  if (phase === "playing") {
    part("keep").disabled = !props.keeps;
    part("record").disabled = false;
    say(slow());
  }
  home.dispatchEvent(new CustomEvent("musicgen:live-plays", { detail: plays() }));
  showSystem();
  showPrompts();
  showPlace();
  animate();
}

// What the server says beside the sound.
function tell(news) {
  if (phase === "starting" && news.status) say(told(news.status));
  if (news.speed === speed || !news.rate) return;
  speed = news.speed;
  if (phase === "playing") say(slow());
}

// Said before it is heard: little sound is ahead, which then lasts for a moment.
function slow() {
  const tooSlow = speed !== null && speed < 1;
  const smaller = tooSlow && props.smaller[form.backend];
  part("smaller").hidden = !smaller || smaller === form.model;
  part("smaller").textContent = translated("Play with {model}", { model: smaller });
  if (!tooSlow) return "";
  return translated("This model is too slow here, at {speed:.1f}× real time: the music will break off now and then.", { speed: speed.toFixed(1) });
}

const heardPrompt = () => heardNow()?.prompt ?? "";

function showPrompts() {
  const now = plays() ? heardNow() : null;
  const coming = expected !== (now?.prompt ?? "") ? expected : now?.coming ? translated("a change") : "";
  part("heard").textContent = now?.prompt ?? "";
  part("coming").textContent = plays() ? coming : "";
  if (!now || now.prompt === shownPrompt) return;
  shownPrompt = now.prompt;
  sayAloud(translated("Now: {prompt}", { prompt: now.prompt }));
  showTitle(now.prompt);
}

// Where the music is made may be a place that plays none.
function showPlace() {
  const refusal = props.refusals[form.backend];
  part("play").disabled = Boolean(refusal) && !plays();
  if (!plays() && refusal) say(told(refusal));
  else if (!plays() && panel.dataset.refused) say("");
  panel.dataset.refused = refusal && !plays() ? "on" : "";
}

function animate() {
  clearTimeout(drawing);
  showPrompts();
  const seconds = secondsHeard();
  if (seconds !== null) part("clock").textContent = clock(seconds);
  if (!document.hidden) draw();
  // The machine that draws may be the one that makes the music: 15 pictures a second do.
  if (plays()) drawing = setTimeout(animate, 66);
}

// The spectrum as bars, low to the left; where motion is not wanted, a line.
function draw() {
  const canvas = part("canvas");
  const { clientWidth: width, clientHeight: height } = canvas;
  if (!width) return;
  const scale = window.devicePixelRatio || 1;
  const [wide, high] = [Math.round(width * scale), Math.round(height * scale)];
  if (canvas.width !== wide || canvas.height !== high) [canvas.width, canvas.height] = [wide, high];
  const brush = canvas.getContext("2d");
  const style = getComputedStyle(panel);
  const moves = phase === "playing" && !still.matches;
  const levels = levelsOf(Math.floor(width / 6), moves);
  brush.setTransform(scale, 0, 0, scale, 0, 0);
  brush.clearRect(0, 0, width, height);
  brush.fillStyle = style.getPropertyValue(phase === "playing" ? "--wave-played" : "--wave-empty").trim();
  levels.forEach((level, bar) => {
    const tall = Math.max(2, level * (height - 4));
    brush.fillRect(bar * 6, height - tall, 4, tall);
  });
}

function levelsOf(bars, moves) {
  const levels = Array(bars).fill(0);
  if (!moves || !analyser) return levels;
  const bins = new Uint8Array(analyser.frequencyBinCount);
  analyser.getByteFrequencyData(bins);
  const hertz = context.sampleRate / 2 / bins.length;
  const binOf = (bar) => Math.round((LOWEST * (HIGHEST / LOWEST) ** (bar / bars)) / hertz);
  return levels.map((_, bar) => Math.max(...bins.slice(binOf(bar), binOf(bar + 1) + 1)) / 255);
}

new ResizeObserver(draw).observe(part("canvas"));
whenDark(draw); // colours come from CSS variables


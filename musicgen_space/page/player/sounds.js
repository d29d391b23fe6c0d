// ---- Finished takes as files --------------------------------------------------------

const GONE = translated("This take is not kept here any more: the same settings make it again.");
const SILENT = translated("The server did not answer. Please try again.");

// On some phones only the listener sets how loud a page is.
const canMatch = (() => {
  const probe = new Audio();
  probe.volume = 0.5;
  return probe.volume === 0.5;
})();

let finishWanted = null;  // what is to be done to all takes before they are heard; null: nothing
let finishHeard = null;   // what is done to those that are heard now
let finishing = false;    // the server is at it
let asked = 0;            // how often takes as they are heard have been asked for
let sounding = null;      // the sound that plays, or the last one that did
let eager = false;        // Play was pressed before the sound was there
let changing = 0;         // how often a sound was paused, or was to take over from another
let matched = true;       // all takes as loud as the quietest

const sounds = new Map(); // by take and finish
const measured = new Map(); // by takes and finish: what the server says of them

const keyOf = (index) => JSON.stringify([takes[index]?.id, finishHeard]);
const volume = () => loudness() * (matched && canMatch ? takes[chosen]?.gain ?? 1 : 1);

// The file of a take, by kind, e.g. "mp3" → { url, name }, or null when it can't be had.
async function fileOf(index, ending) {
  const { id, title } = takes[index];
  const wish = { take: id, title, ending, ...finishHeard };
  const file = await patiently(() => server.file(wish));
  if (!file) {
    say(file === null ? GONE : SILENT);
    return null;
  }
  return { url: served(file), name: file.name };
}

const say = (words) => { part("status").textContent = part("announcement").textContent = words; };

// The sound of a take, with the finish that is heard now.
function soundOf(index) {
  const key = keyOf(index);
  if (!sounds.has(key)) sounds.set(key, load(index, key));
  return sounds.get(key);
}

function load(index, key) {
  const audio = part("sounds").querySelector("audio:not([data-used])") ?? new Audio();
  audio.preload = "auto";
  audio.toggleAttribute("data-used", true);
  audio.dataset.take = takes[index].id; // for the tests
  part("sounds").append(audio);
  const sound = { audio, there: false, dropped: false };
  sound.ready = soundFile(index).then((file) => {
    if (sound.dropped) return false;
    const wanted = eager && sound === soundOf(chosen);
    if (wanted) eager = false;
    if (!file) {
      forget(key);
      return false;
    }
    audio.src = file.url;
    sound.there = true;
    if (wanted) play();
    return true;
  });
  // Started by a headset's button or the system, not here.
  audio.onplay = () => {
    if (playing || audio.paused || sounding !== sound) return;
    play();
    if (sounding !== sound) audio.pause();
  };
  audio.onerror = () => {
    if (sounding === sound && playing && source === "file") giveUp("broken");
    if (sounds.get(key) === sound) forget(key);
  };
  audio.onended = () => { if (sounding === sound && playing) finish(); };
  audio.onpause = () => {
    // Its news comes late: it may play again by now.
    const stopped = audio.paused && !audio.ended;
    if (sounding === sound && playing && source === "file" && stopped) pause();
  };
  return sound;
}

// What was heard is not fetched again where nothing is to be done to it.
async function soundFile(index) {
  const { id } = takes[index];
  const heard = finishHeard || id !== `${take}/0` ? null : await heardAsFile();
  if (heard) return { url: URL.createObjectURL(heard) };
  return takes[index]?.id === id ? fileOf(index, "wav") : null;
}

// Forget sounds that are not of these takes or of another finish, but none that plays.
function tidy() {
  const ids = new Set(takes.map(({ id }) => id));
  for (const [key, sound] of sounds) {
    const [id, finish] = JSON.parse(key);
    const current = !finish || JSON.stringify(finish) === JSON.stringify(finishHeard);
    if (!(ids.has(id) && current) && !(sound === sounding && playing)) forget(key);
  }
}

// Who wants this sound after that has its file asked for again.
function forget(key) {
  const sound = sounds.get(key);
  sounds.delete(key);
  sound.dropped = true;
  URL.revokeObjectURL(sound.audio.src); // where it is a file of its own
  sound.audio.removeAttribute("src");
  sound.audio.removeAttribute("data-used");
  sound.audio.load();
  if (part("sounds").children.length > 1) sound.audio.remove();
}

// The takes of the view as they are to be heard. The first of them are there at once, their
// finish and how loud they are compared with each other as soon as the server has worked it out.
async function hear() {
  const mine = ++asked;
  const raw = view.phase === "done" ? view.takes : [];
  const wish = { takes: raw.map(({ id }) => id), ...finishWanted };
  const key = JSON.stringify(wish);
  const known = measured.get(key);
  const others = JSON.stringify(wish.takes) !== JSON.stringify(takes.map(({ id }) => id));
  if (known || others || !finishWanted) settle(raw, known);
  const needed = !known && (raw.length > 1 || (raw.length > 0 && finishWanted));
  finishing = !!(needed && finishWanted);
  show();
  if (!needed) return;
  const answer = await patiently(() => server.heard(wish));
  if (mine !== asked) return;
  finishing = false;
  if (!Array.isArray(answer)) {
    show();
    return say(answer?.trouble ?? (answer === null ? GONE : SILENT));
  }
  if (measured.size > 20) measured.clear();
  measured.set(key, answer);
  settle(raw, answer);
}

// Show and play the takes as they are heard now.
function settle(raw, said) {
  takes = raw.map((each, index) => ({ ...each, ...said?.[index] }));
  finishHeard = finishWanted;
  tidy();
  takes.forEach((_, index) => soundOf(index));
  if (playing && source === "file" && sounding !== soundOf(chosen)) takeOver();
  else if (playing && source === "live" && finishHeard && takes.length) takeOver();
  else if (playing && source === "loop" && sounding !== soundOf(chosen)) again(() => {});
  setVolume();
  position = Math.min(position, length());
  mark();
  showTake();
  show();
  draw();
}

// The chosen take goes on where another sound is now, which ends only when this one is heard.
async function takeOver() {
  const mine = ++changing;
  const sound = soundOf(chosen);
  const late = () => mine !== changing || !playing;
  if (!(await sound.ready) || late() || (source === "file" && sound === sounding)) return;
  const { audio } = sound;
  audio.volume = volume();
  audio.currentTime = now() < length() - 0.05 ? now() : 0;
  const how = await started(audio);
  if (late()) {
    // It may be wanted again, by a later call.
    const wanted = playing && sound === sounds.get(keyOf(chosen));
    if (sound !== sounding && !wanted) audio.pause();
    return;
  }
  if (how !== "playing" || audio.paused) {
    audio.pause();
    giveUp(how);
    return;
  }
  const before = source === "file" ? sounding.audio : null;
  source = "file";
  sounding = sound;
  if (before) before.pause();
  else silence();
  mark();
  show();
}

function setVolume() {
  if (sounding && sounding === sounds.get(keyOf(chosen))) sounding.audio.volume = volume();
  if (output) output.gain.value = volume();
}

// For the tests: which of the sounds is that of the chosen take.
function mark() {
  for (const { audio } of sounds.values()) audio.removeAttribute("data-on");
  sounds.get(keyOf(chosen))?.audio.toggleAttribute("data-on", true);
}

async function loadPicture() {
  const wanted = view.phase === "done" && takes.length ? keyOf(chosen) : "";
  part("picture").toggleAttribute("data-empty", !wanted);
  if (!wanted || !part("picture").open || part("image").dataset.of === wanted) return;
  part("image").dataset.of = wanted;
  const file = await fileOf(chosen, "png");
  if (part("image").dataset.of !== wanted) return;
  if (file) part("image").src = file.url;
  else part("image").dataset.of = ""; // to be tried again
}

async function download(ending, button) {
  button.setAttribute("aria-busy", "true");
  const file = await fileOf(chosen, ending);
  button.removeAttribute("aria-busy");
  if (!file) return;
  const link = document.createElement("a");
  link.href = file.url;
  link.download = file.name;
  link.click();
}


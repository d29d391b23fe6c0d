// ---- Over and over ------------------------------------------------------------------
// Part of the player. A file that plays again from its start would leave a gap: its samples are
// played by Web Audio, which goes on at the last one with the first.

let looping = false;      // whether what is done plays over and over
let madeLoop = false;     // whether it is made a loop, too: cut to bars that fit
let finishChosen = null; // by "Sound finish"; null: nothing
let loopNode = null;

const loopSeconds = () => loopNode?.buffer.duration || length() || 1;
const inLoop = () => (loopNode ? (context.currentTime - origin) % loopSeconds() : position);

function chooseFinish() {
  const both = finishChosen || madeLoop;
  finishWanted = both ? { finish: finishChosen, loop: madeLoop } : null;
}

async function playLoop() {
  unlock();
  const mine = changing;
  const sound = soundOf(chosen);
  sounding = sound;
  source = "loop";
  try {
    sound.samples ??= await context.decodeAudioData(await (await fetch(sound.audio.src)).arrayBuffer());
  } catch {
    if (mine === changing) giveUp("broken");
    return;
  }
  if (mine !== changing || !playing) return;
  loopNode = context.createBufferSource();
  loopNode.buffer = sound.samples;
  loopNode.loop = true;
  loopNode.connect(output);
  output.gain.value = volume();
  const from = position % loopSeconds();
  loopNode.start(0, from);
  origin = context.currentTime - from;
}

function stopLoop() {
  loopNode?.stop();
  loopNode = null;
}

// Playing goes on at the same place with what is wanted now.
function again(change) {
  const resume = playing;
  if (resume) pause();
  change();
  if (resume) play();
  show();
}

part("loop").addEventListener("click", () => again(() => { looping = !looping; }));
part("make-loop").addEventListener("click", () => {
  madeLoop = !madeLoop;
  again(() => { looping = looping || madeLoop; });
  chooseFinish();
  hear();
});

function showLoop() {
  part("loop").setAttribute("aria-pressed", looping);
  part("make-loop").setAttribute("aria-pressed", madeLoop);
  part("make-loop").hidden = view.phase !== "done" || !takes.length;
}


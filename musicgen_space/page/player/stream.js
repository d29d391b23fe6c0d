// ---- A take while it is made --------------------------------------------------------

let context = null;
let output = null;        // where all live sound goes through, as loud as its take should be
let pieces = [];          // the chunks that are there: bytes of interleaved int16
let channels = [];        // the same as one Float32Array a channel, long enough for the whole take
let filled = 0;           // frames fetched
let fetched = 0;          // chunks fetched
let fetching = null;      // the promise of those that are on their way
let sources = [];
let scheduled = 0;        // frames scheduled
let origin = 0;           // the context's time at which frame 0 would have played
let lost = false;         // a chunk of this take could not be fetched

// Browsers allow sound only after a gesture: pressing Generate or Play is one.
function unlock() {
  if (!context || context.sampleRate !== rate()) {
    context?.close().catch(() => {}); // it may be closed already
    context = new AudioContext({ sampleRate: rate() });
    output = context.createGain();
    output.connect(context.destination);
    context.onstatechange = considerStarting; // it may run later than a short take is made
  }
  context.resume().catch(() => {}); // its state tells; onstatechange hears of it
}

// Fetch the chunks that the view has and this page hasn't; resolves when they are here.
function fetchChunks() {
  fetching ??= fetchOn().finally(() => { fetching = null; });
  return fetching;
}

async function fetchOn() {
  while (fetched < view.chunks && !lost) {
    const mine = take;
    const next = await patiently(() => server.chunks(`${mine}/${fetched}`));
    if (mine !== take) continue;
    if (!Array.isArray(next)) return giveUpLive();
    next.forEach(store);
    if (playing && source === "live") schedule();
    else considerStarting();
    draw();
  }
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
  pieces.push(bytes);
  fetched += 1;
  const count = view.channels || 1;
  const frames = samples.length / count;
  for (let channel = 0; channel < count; channel++) {
    const needed = filled + frames;
    if (!channels[channel] || channels[channel].length < needed) {
      const longer = new Float32Array(Math.max(needed, Math.ceil(view.wanted * rate()) + rate()));
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
  node.connect(output);
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
  const ready = view.phase === "done" || filled / rate() >= view.wanted * (1 - 0.95 * view.speed);
  if (ready) play();
}

function silence() {
  for (const node of sources) {
    node.stop();
    node.disconnect();
  }
  sources = [];
}

// The take as a WAV file, if all of it was heard: the samples that the server's file has, too.
async function heardAsFile() {
  const mine = take;
  await fetchChunks();
  const whole = filled > 0 && filled === Math.round(view.wanted * rate());
  if (mine !== take || view.phase !== "done" || !whole) return null;
  const frame = channels.length * 2; // bytes
  const number = (value, bytes) =>
    Uint8Array.from({ length: bytes }, (_, at) => (value >>> (8 * at)) & 255);
  return new Blob([
    "RIFF", number(36 + filled * frame, 4), "WAVEfmt ", number(16, 4),
    number(1, 2), number(channels.length, 2), // PCM
    number(rate(), 4), number(rate() * frame, 4), number(frame, 2), number(16, 2),
    "data", number(filled * frame, 4), ...pieces,
  ], { type: "audio/wav" });
}


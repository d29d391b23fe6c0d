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
  const bytes = bytesOf(encoded);
  const chunk = channelsOf(bytes, view.channels || 1);
  const needed = filled + chunk[0].length;
  pieces.push(bytes);
  fetched += 1;
  chunk.forEach((samples, channel) => {
    if (!channels[channel] || channels[channel].length < needed) {
      const longer = new Float32Array(Math.max(needed, Math.ceil(view.wanted * rate()) + rate()));
      longer.set(channels[channel]?.subarray(0, filled) ?? []);
      channels[channel] = longer;
    }
    channels[channel].set(samples, filled);
  });
  filled = needed;
}

function schedule() {
  if (scheduled >= filled) return;
  const soonest = context.currentTime + 0.03;
  const due = origin + scheduled / rate();
  if (due < soonest) origin += soonest - due; // the music came too late: wait for it
  const rest = channels.map((samples) => samples.subarray(scheduled, filled));
  sources.push(soundAt(origin + scheduled / rate(), rest, rate(), output));
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
  return wavFile(pieces, filled, channels.length, rate());
}


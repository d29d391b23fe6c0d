// Pieces of sound as the server sends them: base64 of interleaved little-endian int16.

const bytesOf = (encoded) => Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));

// The samples of so many channels, each as a Float32Array.
function channelsOf(bytes, count) {
  const samples = new Int16Array(bytes.buffer);
  return Array.from({ length: count }, (_, which) => {
    const channel = new Float32Array(samples.length / count);
    for (let at = 0; at < channel.length; at++) channel[at] = samples[at * count + which] / 32768;
    return channel;
  });
}

// Has `output` sound these channels at a time of its context.
function soundAt(when, channels, rate, output) {
  const buffer = output.context.createBuffer(channels.length, channels[0].length, rate);
  channels.forEach((samples, channel) => buffer.copyToChannel(samples, channel));
  const node = output.context.createBufferSource();
  node.buffer = buffer;
  node.connect(output);
  node.start(when);
  return node;
}

// Pieces as one WAV file, of so many frames.
function wavFile(pieces, frames, channels, rate) {
  const frame = channels * 2; // bytes
  const number = (value, bytes) =>
    Uint8Array.from({ length: bytes }, (_, at) => (value >>> (8 * at)) & 255);
  return new Blob([
    "RIFF", number(36 + frames * frame, 4), "WAVEfmt ", number(16, 4),
    number(1, 2), number(channels, 2), // PCM
    number(rate, 4), number(rate * frame, 4), number(frame, 2), number(16, 2),
    "data", number(frames * frame, 4), ...pieces,
  ], { type: "audio/wav" });
}


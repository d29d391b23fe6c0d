// Starting a sound, and what its promise can say.

const UNPLAYABLE = translated("This sound can't be played. Please try again.");

// How it went: "playing"; "interrupted", by a pause or another file before it was heard;
// "refused", as browsers do where nobody has pressed anything yet; "broken", which no browser
// plays, or which the network lost.
async function started(audio) {
  try {
    await audio.play();
    return "playing";
  } catch ({ name }) {
    return { AbortError: "interrupted", NotAllowedError: "refused" }[name] ?? "broken";
  }
}


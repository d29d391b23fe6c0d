// What a browser keeps for this page; not each does, least of all in another site's frame.

function remembered(key) {
  try { return localStorage.getItem(key); } catch { return null; }
}
function remember(key, value) {
  try { localStorage.setItem(key, value); } catch { /* for now, then */ }
}

// The format that was last downloaded.
const FORMAT = "musicgen-space:format";
const formatOf = (formats) =>
  formats.includes(remembered(FORMAT)) ? remembered(FORMAT) : formats.includes("mp3") ? "mp3" : formats[0];


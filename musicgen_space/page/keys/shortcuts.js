// The list of keys. Gradio gives: element. The keys themselves work in page.js and the player.

const dialog = element.querySelector("dialog");
const single = element.querySelector("[data-part=single]");
const KEPT = "musicgen-single-keys";

// Some browsers keep nothing for a page, or not in a frame of another one.
const kept = (() => { try { return localStorage.getItem(KEPT); } catch { return null; } })();

function allow(on) {
  single.checked = on;
  document.body.dataset.keys = on ? "" : "off";
}

allow(kept !== "off");
single.addEventListener("change", () => {
  allow(single.checked);
  try { localStorage.setItem(KEPT, single.checked ? "on" : "off"); } catch { /* for now, then */ }
});
element.querySelector("[data-part=open]").addEventListener("click", () => dialog.showModal());
// A click beside it closes it.
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select, [contenteditable]");
  if (event.key !== "?" || event.ctrlKey || event.metaKey || event.altKey) return;
  if ((typing && !dialog.open) || document.body.dataset.keys === "off") return;
  event.preventDefault();
  if (dialog.open) dialog.close();
  else dialog.showModal();
});

// The list of keys. Gradio gives: element. The keys themselves work in page.js and the player.

const dialog = element.querySelector("dialog");
const single = element.querySelector("[data-part=single]");
const KEPT = "musicgen-single-keys";

function allow(on) {
  single.checked = on;
  home.dataset.keys = on ? "" : "off";
}

allow(remembered(KEPT) !== "off");
single.addEventListener("change", () => {
  allow(single.checked);
  remember(KEPT, single.checked ? "on" : "off");
});
element.querySelector("[data-part=open]").addEventListener("click", () => dialog.showModal());
// A click beside it closes it.
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
document.addEventListener("keydown", (event) => {
  if (!isOurs(event.target) || !element.offsetParent) return;
  const typing = event.target.closest("input, textarea, select, [contenteditable]");
  if (event.key !== "?" || event.ctrlKey || event.metaKey || event.altKey) return;
  if ((typing && !dialog.open) || home.dataset.keys === "off") return;
  event.preventDefault();
  if (dialog.open) dialog.close();
  else dialog.showModal();
});


// ---- A link to the take's settings --------------------------------------------------
// Follows player.js in the same function: `part`, `shown` and `element` are from there.

// The address that people see: inside another page's frame that is not always the own one.
function outerAddress() {
  if (window.top === window) return location.href;
  try {
    return window.top.location.href;
  } catch {
    // Another site's frame. Of a Space on the hub the address is known; the hub hands the
    // query on. Elsewhere the frame's own address works as well.
    const space = window.gradio_config?.space_id;
    const hub = document.referrer.startsWith("https://huggingface.co/");
    return space && hub ? `https://huggingface.co/spaces/${space}` : location.href;
  }
}

function linkOf(query) {
  const { origin, pathname } = new URL(outerAddress());
  return `${origin}${pathname}?${query}`;
}

let calm = 0;  // the timer that takes the words back

async function copyLink() {
  const button = part("copy");
  const field = part("link");
  const link = linkOf(shown().link);
  field.hidden = true;
  let copied = true;
  try {
    await navigator.clipboard.writeText(link);
  } catch {
    // Not over plain http, and not in every frame: the old way, or by hand.
    field.hidden = false;
    field.value = link;
    field.focus();
    field.select();
    copied = document.execCommand("copy");
    if (copied) {
      field.hidden = true;
      button.focus();
    }
  }
  const words = copied ? "Link copied" : "Copy this:";
  button.textContent = words;
  part("announcement").textContent = copied ? words : "The link is selected, to be copied.";
  clearTimeout(calm);
  if (copied) calm = setTimeout(() => (button.textContent = "Copy link"), 2500);
}

function showLink() {
  part("share").hidden = !shown().link;
  part("link").hidden = true;
  part("copy").textContent = "Copy link";
}

part("copy").addEventListener("click", copyLink);

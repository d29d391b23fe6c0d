
// ---- A link to the take's settings --------------------------------------------------
// Part of the player: `part`, `shown` and `element` are from player.js.

// The address that people see: inside another page that is not always the own one.
function outerAddress() {
  if (guest) return `${gradio.root}/`;
  if (window.top === window) return location.href;
  try {
    return window.top.location.href;
  } catch {
    // Another site's frame. Of a Space on the hub the address is known; the hub hands the
    // query on. Elsewhere the frame's own address works as well.
    const hub = document.referrer.startsWith("https://huggingface.co/");
    return gradio.space && hub ? `https://huggingface.co/spaces/${gradio.space}` : location.href;
  }
}

function linkOf(query) {
  const { origin, pathname } = new URL(outerAddress());
  return `${origin}${pathname}?${query}`;
}

let calm = 0;  // the timer that takes the words back

async function copyLink() {
  const link = linkOf(shown().link);
  try {
    await navigator.clipboard.writeText(link);
  } catch {
    // Not over plain http, and not in every frame: the old way, or by hand.
    offer(link);
    if (!document.execCommand("copy")) {
      part("announcement").textContent = translated("The link is selected, to be copied.");
      return;
    }
    showLink();
    part("copy").focus();
  }
  part("copy").textContent = part("announcement").textContent = translated("Link copied");
  clearTimeout(calm);
  calm = setTimeout(showLink, 2500);
}

// The link as text, selected, in place of the button.
function offer(link) {
  part("copy").hidden = true;
  part("link").hidden = false;
  part("link").value = link;
  part("link").focus();
  part("link").select();
}

function showLink() {
  part("share").hidden = !shown().link || blindly();
  part("link").hidden = true;
  part("copy").hidden = false;
  part("copy").textContent = translated("Copy link");
}

part("copy").addEventListener("click", copyLink);
part("link").addEventListener("blur", showLink);

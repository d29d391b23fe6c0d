// Links to settings. `guest` and `gradio` are from gradio_compat.js.

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

// Whether it was possible: not over plain http, and not in every frame; there the old way may be.
async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const before = document.activeElement;
    const field = document.createElement("textarea");
    field.value = text;
    field.style.cssText = "position: fixed; opacity: 0";
    element.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    before?.focus();
    return done;
  }
}


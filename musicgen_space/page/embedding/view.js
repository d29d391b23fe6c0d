// Which view of the page a link asks for: known before anything is shown, so that nothing moves.
// For a component the other page says so itself, as an attribute.
document.querySelector("gradio-app:not([src])")
  ?.setAttribute("data-view", new URLSearchParams(location.search).get("view") ?? "");


// ---- No microphone ------------------------------------------------------------------
// Part of the line above the place for a sound. Gradio's recorder tells nobody that there is
// none, or that it may not be used: its promise just breaks.

// Whether it's the page around the frame that this one is in that allows none. Not every browser
// tells that.
const framed = document.featurePolicy?.allowsFeature("microphone") === false;

window.addEventListener("unhandledrejection", (event) => {
  if (!/^Error accessing the microphone/.test(event.reason?.message)) return;
  event.preventDefault();
  if (guest && !home.contains(document.activeElement)) return; // it is about another one here
  element.querySelector("[role=status]")?.remove();
  const note = document.createElement("p");
  note.setAttribute("role", "status");
  note.textContent = framed
    ? translated("The page around this one allows it no microphone: open it by itself, or choose a file.")
    : translated("No microphone can be used: allow it in your browser, or choose a file.");
  element.append(note);
});

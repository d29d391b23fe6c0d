// The button beside Generate that plays live music, and ends it. Gradio gives: element.

const button = element.querySelector("button");

button.addEventListener("click", () => home.dispatchEvent(new Event("musicgen:live")));
home.addEventListener("musicgen:live-plays", ({ detail }) => {
  const words = detail ? translated("Stop live music") : translated("Play live music");
  button.toggleAttribute("data-begins", !detail);
  button.setAttribute("aria-label", words);
  button.title = words;
});

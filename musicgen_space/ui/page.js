// Keyboard, and the gesture that lets the player make sound. Runs once, when the page loads.
() => {
  const button = (id) => document.querySelector(`#${id}`);
  const visible = (node) => node && node.offsetParent !== null && !node.disabled;
  const gesture = () => document.dispatchEvent(new Event("musicgen:gesture"));

  document.addEventListener("click", (event) => {
    if (event.target.closest("#generate, #again")) gesture();
  }, true);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && visible(button("generate"))) {
      event.preventDefault();
      gesture();
      // The prompt reaches the server when its field reports a change: let that happen first.
      setTimeout(() => button("generate").click(), 0);
    }
    // Escape that closes a list of choices is not meant for the music.
    const choosing = document.querySelector("[role=listbox]");
    if (event.key === "Escape" && !choosing && visible(button("stop"))) button("stop").click();
  });
}

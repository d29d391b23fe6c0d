// Tells the player of a finish. Gradio gives: element, props, watch. props.value is the finish.

watch("value", () => {
  home.dispatchEvent(new CustomEvent("musicgen:finish", { detail: props.value }));
});

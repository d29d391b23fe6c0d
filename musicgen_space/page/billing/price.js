// Generate says what a take costs and which keys press it. Gradio gives: element, props, watch.
// props.value is the price, for `told`. The button comes and goes while takes are made.

const actions = element.closest("#actions");
const apple = /Mac|iPhone|iPad/.test(navigator.platform);

function show() {
  const button = actions.querySelector("#generate");
  button?.setAttribute("data-price", told(props.value));
  button?.setAttribute("data-keys", apple ? "⌘ ↵" : "Ctrl ↵");
  button?.setAttribute("aria-keyshortcuts", apple ? "Meta+Enter" : "Control+Enter");
}

new MutationObserver(show).observe(actions, { childList: true, subtree: true });
watch("value", show);
show();

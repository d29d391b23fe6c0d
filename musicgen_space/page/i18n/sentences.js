// Sentences of the server in the visitor's language. Gradio gives: element, props, watch.
// props.value is a list of messages.

const line = element.querySelector(".sentences");

function show() {
  const spans = props.value.map((message) => {
    const span = document.createElement("span");
    span.textContent = told(message);
    return span;
  });
  line.replaceChildren(...spans.flatMap((span, index) => (index ? [" ", span] : [span])));
}

watch("value", show);
show();

// A link to the whole page, with the prompt, for views with less of it. Gradio gives: element,
// props, watch. props.value is the prompt's text.

function lead() {
  const query = new URLSearchParams(guest ? "" : location.search); // what else the link had
  query.delete("view");
  if (props.value) query.set("prompt", props.value);
  else query.delete("prompt");
  element.querySelector("a").href = `${gradio.root}/?${query}`;
}

watch("value", lead);
lead();

// One line of text from the server, told in the visitor's language. Gradio gives: element.

function retell() {
  const words = retold(element.innerHTML.trim());
  if (words !== element.innerHTML.trim()) element.innerHTML = words;
}

new MutationObserver(retell).observe(element, { childList: true, characterData: true, subtree: true });
retell();

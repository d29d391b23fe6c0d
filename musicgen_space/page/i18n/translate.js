// The page in the visitor's language. Stands before the script of every widget.
// Gradio gives: element; gradio_compat.js: gradio, guest, home.
//
// The tables are those of musicgen_space/page/i18n/translate.py: English text → translation, with
// the same places in both, as musicgen_space/message.py describes them. What is in no table stays
// English. The language is chosen as Gradio chooses it for its own components.

const { language, translated, told } = (() => {
  const { tables } = gradio;
  const wanted = navigator.language || "en";
  const language = [wanted, wanted.split("-")[0]].find((each) => tables[each]) ?? "en";
  const table = tables[language] ?? {};
  const PLACE = /\{(\w+)(:[^}]*)?\}/g;
  const inTable = (text) => (Object.hasOwn(table, text) ? table[text] : null);

  const comma = ["de", "es", "fr"].includes(language) ? "," : ".";
  const number = (written) => written.replace(".", comma).replace("-", "−");

  // A text with its values by name. Where a place has a format, there is a number that is
  // written out already.
  function translated(text, values = {}) {
    return (inTable(text) ?? text).replaceAll(PLACE, (_, name, format) =>
      format ? number(values[name]) : told(values[name])
    );
  }

  // What the server says: a message, text that needs no translation, or a list of both.
  function told(said) {
    if (Array.isArray(said)) return said.map(told).join(" · ");
    return said?.id ? translated(said.id, said.values) : String(said ?? "");
  }

  // What the widget's HTML says from the beginning, but for what may be anybody's words.
  const ATTRIBUTES = ["aria-label", "title", "placeholder", "alt"];
  const texts = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const node = texts.currentNode;
    const words = node.data.trim();
    if (node.parentElement.translate === false) continue;
    if (inTable(words)) node.data = node.data.replace(words, () => inTable(words));
  }
  for (const node of element.querySelectorAll(ATTRIBUTES.map((name) => `[${name}]`).join())) {
    if (node.translate === false) continue;
    for (const name of ATTRIBUTES) {
      const words = inTable(node.getAttribute(name));
      if (words) node.setAttribute(name, words);
    }
  }

  (guest ? home : document.documentElement).lang = language;
  return { language, translated, told };
})();


// The page in the visitor's language. Stands before the script of every widget.
// Gradio gives: element; gradio_compat.js: gradio.
//
// The tables are those of musicgen_space/page/i18n/translate.py: English text → translation, with {n}
// in place of a number or a clock and {} in place of anything else. What is in no table stays
// English. The language is chosen as Gradio chooses it for its own components.

const { language, translated, retold } = (() => {
  const { tables } = gradio;
  const wanted = navigator.language || "en";
  const language = [wanted, wanted.split("-")[0]].find((each) => tables[each]) ?? "en";
  const table = tables[language] ?? {};
  const NUMBER = "([-−]?\\d[\\d.:]*(?:e[-+]?\\d+)?)";
  const GAP = /(\{n?\})/;
  const inTable = (text) => (Object.hasOwn(table, text) ? table[text] : null);

  const comma = ["de", "es", "fr"].includes(language);
  const number = (value) => (comma ? String(value).replace(".", ",") : value);

  // A text of this page's scripts, with its values in their order.
  function translated(text, ...values) {
    const pieces = (inTable(text) ?? text).split(GAP);
    return pieces.map((piece) =>
      piece === "{n}" ? number(values.shift()) : piece === "{}" ? values.shift() : piece
    ).join("");
  }

  // A text that the server put together, in parts with a dot between them.
  const retold = (text) => (text ?? "").split(" · ").map(retoldPart).join(" · ");

  function retoldPart(text) {
    if (language === "en" || inTable(text)) return inTable(text) ?? text;
    for (const { shape, key } of shapes()) {
      const match = text.match(shape);
      if (match) return translated(key, ...match.slice(1));
    }
    return text;
  }

  // The server's texts with gaps, those first that say most. None of them begins with any text.
  let known = null;
  function shapes() {
    known ??= Object.keys(table).filter((key) => GAP.test(key) && !key.startsWith("{}"))
      .sort((a, b) => b.replaceAll(/\{n?\}/g, "").length - a.replaceAll(/\{n?\}/g, "").length)
      .map((key) => ({ key, shape: new RegExp(`^${key.split(GAP).map(shapeOf).join("")}$`, "su") }));
    return known;
  }

  const shapeOf = (piece) =>
    piece === "{n}" ? NUMBER : piece === "{}" ? "(.+)" : piece.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");

  // What the widget's HTML says from the beginning, but for what may be anybody's words.
  const ATTRIBUTES = ["aria-label", "title", "placeholder", "alt"];
  const texts = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const node = texts.currentNode;
    const words = node.data.trim();
    if (node.parentElement.closest("[translate=no]")) continue;
    if (inTable(words)) node.data = node.data.replace(words, () => inTable(words));
  }
  for (const node of element.querySelectorAll(ATTRIBUTES.map((name) => `[${name}]`).join())) {
    for (const name of ATTRIBUTES) {
      const words = inTable(node.getAttribute(name));
      if (words) node.setAttribute(name, words);
    }
  }

  document.documentElement.lang = language;
  return { language, translated, retold };
})();


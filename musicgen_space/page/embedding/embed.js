// Brings the page into another one, as <gradio-app src="…">. component.py puts in what is MARKED.

window.musicgenTables = TABLES; // those of gr.I18n, by language

const here = new URL(".", import.meta.url);

// Gradio's style sheet. Gradio itself would ask for it beside the other page, or without the path
// that a proxy has: what it finds named it takes for loaded, and without a `rel` nothing is.
const named = (href, rel = "") => {
  if (document.querySelector(`link[href="${href}"]`)) return;
  document.head.append(Object.assign(document.createElement("link"), { rel, href }));
};
named(new URL(SHEET, here).href, "stylesheet");
named(new URL(SHEET, here.origin).href);
named(SHEET);

await import(new URL(ENTRY, here));

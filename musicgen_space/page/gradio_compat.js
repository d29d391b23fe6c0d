// What scripts use of the things that Gradio keeps private; gradio_compat.py has the rest.
// Stands before the scripts of every widget. Gradio gives: element.

// Gradio's element around the page. Where that is a component of another page, which may have
// several, it has an address as its source.
const home = element.closest("gradio-app");
const guest = home.hasAttribute("src");

const gradio = {
  // The page's address, as its visitor has it: behind a proxy the server may not know it.
  root: (guest ? home.getAttribute("src") : new URL(".", location.href).href).replace(/\/+$/, ""),
  // The tables of gr.I18n, by language; embed.js has them for a component.
  tables: (guest ? window.musicgenTables : window.gradio_config?.i18n_translations) ?? {},
  space: window.__gradio_space__,
};

// The address of a file that a server function made.
const served = ({ path }) => `${gradio.root}/gradio_api/file=${path}`;

// Calls back when light becomes dark: Gradio marks one of these.
function whenDark(changed) {
  for (const marked of [document.body, home]) {
    new MutationObserver(changed).observe(marked, { attributeFilter: ["class"] });
  }
}

// Whether a key that is pressed there is for this page. In another page, that has its own keys.
const isOurs = (node) => !guest || home.contains(node);


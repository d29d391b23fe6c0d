// What scripts use of the things that Gradio keeps private; gradio_compat.py has the rest.
// Stands before the scripts of every widget.

const gradio = {
  // The page's address, which a proxy may have changed.
  root: (window.gradio_config?.root ?? new URL(".", location.href).href).replace(/\/$/, ""),
  tables: window.gradio_config?.i18n_translations ?? {}, // those of gr.I18n, by language
  space: window.gradio_config?.space_id,
};

// The address of a file that a server function made.
const served = ({ path }) => `${gradio.root}/gradio_api/file=${path}`;


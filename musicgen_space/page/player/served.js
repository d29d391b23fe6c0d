// The address of a file that a server function made.
function served({ path }) {
  const root = window.gradio_config?.root ?? new URL(".", location.href).href;
  return `${root.replace(/\/$/, "")}/gradio_api/file=${path}`;
}


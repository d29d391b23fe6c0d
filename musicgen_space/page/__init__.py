"""The page. The only part of the project that knows Gradio."""

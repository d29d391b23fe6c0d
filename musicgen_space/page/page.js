// Keyboard, the gesture that lets the player make sound, files dropped on the wish, one sound at a
// time, and where the focus is at first. Runs when the page loads, once for all that one document has of it.
() => {
  if (document.musicgenSpace) return;
  document.musicgenSpace = true;
  // A page of its own, to which belongs what happens anywhere; else components of another one.
  const own = document.querySelector("gradio-app:not([src])");
  const homeOf = (node) => node.closest?.("gradio-app") ?? own;
  const visible = (node) => node && node.offsetParent !== null && !node.disabled;
  const gesture = (home) => home.dispatchEvent(new Event("musicgen:gesture"));

  document.addEventListener("click", ({ target }) => {
    const home = homeOf(target);
    if (!home || !target.closest("#generate")) return;
    gesture(home);
    const key = home.querySelector("#key input");
    if (visible(key) && !key.value) key.focus(); // the server says why
    // What was wrong with the last wish is not said of this one.
    for (const close of document.querySelectorAll(".error[data-testid=toast-close]")) close.click();
  }, true);
  document.addEventListener("keydown", (event) => {
    const home = homeOf(event.target);
    if (!home) return;
    const generate = home.querySelector("#generate");
    const stop = home.querySelector("#stop");
    const make = [generate, home.querySelector("#make-next")].find(visible);
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && make) {
      event.preventDefault();
      gesture(home);
      // The prompt reaches the server when its field reports a change: let that happen first.
      setTimeout(() => make.click(), 0);
    }
    // Escape that closes a list of choices, or takes back characters that an input method is
    // putting together, is not meant for the music.
    const choosing =
      event.target.matches("[role=combobox][aria-expanded=true]") || document.querySelector("dialog[open]");
    const meant = event.key === "Escape" && !event.isComposing && !choosing;
    if (meant && visible(stop)) stop.click();
  });

  // A take's file may be dropped anywhere on the wish, but for where a sound of one's own goes.
  const welcome = ({ dataTransfer, target }) =>
    dataTransfer?.types.includes("Files") && homeOf(target) && !target.closest("#own") &&
    target.closest("#wish");
  const mark = (wish) => {
    for (const other of document.querySelectorAll("#wish[data-dropping]")) {
      if (other !== wish) other.removeAttribute("data-dropping");
    }
    wish?.toggleAttribute("data-dropping", true);
  };
  document.addEventListener("dragover", (event) => {
    mark(welcome(event));
    if (welcome(event)) event.preventDefault();
  });
  document.addEventListener("dragleave", (event) => mark(event.relatedTarget && welcome(event)));
  document.addEventListener("drop", (event) => {
    const wish = welcome(event);
    mark(null);
    if (!wish || !event.dataTransfer.files.length) return;
    event.preventDefault();
    const file = new DataTransfer();
    file.items.add(event.dataTransfer.files[0]);
    const input = wish.querySelector("input[type=file]:has(+ #restore)");
    input.files = file.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  });
  // Whether a file is sound, only the server can hear. Gradio's place for one goes by what the
  // browser knows of its ending, and would turn others away.
  const SOUND = "gradio-app #sound input[type=file]";
  document.addEventListener("click", ({ target }) => {
    if (target.matches?.(SOUND)) target.removeAttribute("accept");
  }, true);
  document.addEventListener("change", ({ target }) => {
    if (!target.matches?.(SOUND)) return;
    const files = new DataTransfer();
    for (const file of target.files) {
      files.items.add(new File([file], file.name, { type: "audio/mpeg" }));
    }
    target.files = files.files;
  }, true);
  document.addEventListener("drop", (event) => {
    const input = event.target.closest?.("gradio-app #sound")?.querySelector("input[type=file]");
    if (!input || !event.dataTransfer.files.length) return;
    event.preventDefault();
    event.stopPropagation();
    event.target.dispatchEvent(new DragEvent("dragleave", { bubbles: true })); // no mark stays
    input.files = event.dataTransfer.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  }, true);
  // One sound at a time: whatever starts, a file or the player's live sound, stops the rest of
  // ours. Another page's sounds are its own.
  // The player's own sounds take over from each other without our help.
  const sounding = new Set();
  const starting = new WeakSet();
  const unwanted = new WeakSet();
  const owner = (node) => node.closest(".player") ?? node.querySelector?.(".player") ?? node;
  document.addEventListener("musicgen:sound", ({ detail }) => {
    for (const media of sounding) {
      if (media.paused) sounding.delete(media);
      else if (owner(media) !== owner(detail)) quieten(media);
    }
  });
  // A pause breaks the promise of a play() that is on its way, which whoever called it may not
  // expect: such a sound is paused before anything of it is heard.
  const quieten = (media) => {
    if (starting.has(media)) unwanted.add(media);
    else media.pause();
  };
  const hasStarted = (media) => {
    starting.delete(media);
    if (unwanted.delete(media)) media.pause();
  };
  const starts = (media) => {
    if (media.muted) return;
    document.dispatchEvent(new CustomEvent("musicgen:sound", { detail: media }));
    sounding.add(media);
  };
  document.addEventListener("play", ({ target }) => {
    if (homeOf(target)) starts(target);
  }, true);
  if (!own) return;
  // Gradio's own player is an element outside the document, whose events nobody else sees.
  const { play } = HTMLMediaElement.prototype;
  HTMLMediaElement.prototype.play = function () {
    if (!this.isConnected) starts(this);
    unwanted.delete(this);
    starting.add(this);
    const promise = play.call(this);
    promise.then(() => hasStarted(this), () => hasStarted(this));
    return promise;
  };
}

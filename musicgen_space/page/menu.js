// A small menu below (or above) its button: arrows move in it, Escape and Tab leave it.

// `choices` are [words, action]; `end` is where the visible part of the page ends.
function openMenu(button, choices, end = innerHeight) {
  const menu = document.createElement("div");
  menu.className = "choices";
  menu.setAttribute("role", "menu");
  menu.setAttribute("aria-label", button.getAttribute("aria-label"));
  const close = ({ focus = false } = {}) => {
    if (!menu.isConnected) return;
    button.setAttribute("aria-expanded", "false");
    document.removeEventListener("pointerdown", elsewhere);
    menu.remove();
    if (focus) button.focus();
  };
  const elsewhere = ({ target }) => {
    if (!menu.contains(target) && !button.contains(target)) close();
  };
  for (const [words, action] of choices) {
    const choice = document.createElement("button");
    choice.type = "button";
    choice.textContent = words;
    choice.tabIndex = -1;
    choice.setAttribute("role", "menuitem");
    choice.addEventListener("click", () => {
      close({ focus: true });
      action();
    });
    menu.append(choice);
  }
  menu.addEventListener("keydown", (event) => {
    const all = [...menu.children];
    const at = all.indexOf(document.activeElement);
    const to = {
      ArrowDown: at + 1, ArrowUp: at - 1 + all.length, Home: 0, End: all.length - 1,
    }[event.key];
    if (event.key === "Tab") return close({ focus: true });
    if (event.key === "Escape") close({ focus: true });
    else if (to !== undefined) all[to % all.length].focus();
    else return;
    event.preventDefault();
    event.stopPropagation(); // Escape is not meant for the music
  });
  button.after(menu);
  button.setAttribute("aria-expanded", "true");
  document.addEventListener("pointerdown", elsewhere);
  menu.toggleAttribute("data-up", menu.getBoundingClientRect().bottom > end - 8 &&
    button.getBoundingClientRect().top > menu.offsetHeight);
  menu.firstChild.focus();
  return close;
}


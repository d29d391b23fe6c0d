// Tab stops once at a row of buttons, and arrows move along it.

function roving(row, moved = () => {}) {
  const stopAt = (button) => row.forEach((each) => { each.tabIndex = each === button ? 0 : -1; });
  row.forEach((button, at) => {
    button.addEventListener("focus", () => stopAt(button));
    button.addEventListener("keydown", (event) => {
      const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: row.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      const next = row[(to + row.length) % row.length];
      next.focus();
      moved(next);
    });
  });
  stopAt(row[0]);
}


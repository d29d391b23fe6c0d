// Peaks as so many bars: of each the loudest, −1 where there is none yet of the `whole`.
const barsOf = (peaks, bars, whole = peaks.length) =>
  Array.from({ length: bars }, (_, bar) => {
    const from = Math.floor((bar / bars) * whole);
    const to = Math.max(from + 1, Math.floor(((bar + 1) / bars) * whole));
    return Math.max(-1, ...peaks.slice(from, to));
  });


// Lights what belongs together, and plays it step by step.
//
//   pointed at, or focused, or the step of the player  ->  sets of elements of the four kinds  ->  lit cells
"use strict";

let pointed = null;
let focused = null;

/** Lights the cells of the sets; `keep` says in which parts. */
const light = (sets, keep = () => true) => {
  for (const cell of view.lit) cell.classList.remove("lit", "here");
  view.lit = [];
  if (!sets) return;
  for (const kind of KINDS) {
    for (const index of sets[kind]) for (const cell of view.cells[kind].get(index) ?? []) {
      if (!keep(cell.partName)) continue;
      cell.classList.add("lit");
      view.lit.push(cell);
    }
  }
};

/** `text` in the colour of its kind. */
const hued = (kind, text) => element("span", { class: kind }, text);
const MOST_TERMS = 30;

/** The sum, and its terms joined by plus signs. */
const sum = (count, term, result) => {
  const made = [" = ", result, " = "];
  for (let index = 0; index < Math.min(count, MOST_TERMS); index++) made.push(index ? " + " : "", ...term(index));
  if (count > MOST_TERMS) made.push(` + … ${count - MOST_TERMS} more`);
  return made;
};

/** An element in words: how its number comes about. */
const tell = (c, { partName, kind, index, name }) => {
  const gradient = partName.startsWith("d-");
  if (kind === "output") {
    const [o, p] = [Math.floor(index / c.P), index % c.P];
    if (gradient) return [hued("output", `${name} = ${number(c.dOutput(o, p))}`), ", which comes from behind"];
    const first = c.firstRow(c.groupOfOutput(o));
    const term = (k) => [hued("weights", signed(c.w(o, k))), "·", hued("image", signed(c.patch(first + k, p)))];
    return [name, ...sum(c.K, term, hued("output", number(c.y(o, p))))];
  }
  if (kind === "weights") {
    const [o, k] = [Math.floor(index / c.K), index % c.K];
    if (!gradient) return [hued("weights", `${name} = ${number(c.w(o, k))}`), `, shared by ${c.P} outputs; it meets the row of X̂`];
    const patches = c.firstRow(c.groupOfOutput(o)) + k;
    const term = (p) => [hued("output", signed(c.dOutput(o, p))), "·", hued("image", signed(c.patch(patches, p)))];
    return [name, ...sum(c.P, term, hued("weights", number(c.dWeight(o, k))))];
  }
  if (kind === "patches") {
    const [r, p] = [Math.floor(index / c.P), index % c.P];
    if (!gradient) return [`${name}: `, hued("image", number(c.patch(r, p))), ", read from the image"];
    const [first, k] = [Math.floor(r / c.K) * c.perGroup, r % c.K];
    const term = (o) => [hued("weights", signed(c.w(first + o, k))), "·", hued("output", signed(c.dOutput(first + o, p)))];
    return [name, ...sum(c.perGroup, term, hued("image", number(c.dPatch(r, p))))];
  }
  const [channel, pixel] = [Math.floor(index / c.area), index % c.area];
  const meetings = c.meetings(pixel);
  const times = `${meetings.length} ${meetings.length === 1 ? "time" : "times"}`;
  if (!c.place(pixel)) return [`Padding: 0, in X̂ ${times}; its gradient is dropped`];
  if (!meetings.length) return [`${name}: no output reads it`, gradient ? ", so its gradient is 0" : ""];
  if (!gradient) return [hued("image", `${name} = ${number(c.x(channel, pixel))}`), `, in X̂ ${times}`];
  const term = (at) => [hued("image", signed(c.dPatch(channel * c.taps + meetings[at][0], meetings[at][1])))];
  return [name, ...sum(meetings.length, term, hued("image", number(c.dImage(channel, pixel, c.P))))];
};

/** What is lit and told now: what is pointed at, else what is focused, else the player's step. */
const refresh = () => {
  if (!view) return;
  const cell = pointed ?? focused;
  if (!cell) {
    const [sets, keep, told] = player.scene(convolution);
    light(sets, keep);
    byId("told").replaceChildren(...told);
    return;
  }
  light(convolution.reach(cell.kind, cell.index));
  cell.classList.add("here");
  view.lit.push(cell);
  byId("told").replaceChildren(...tell(convolution, cell));
};

const player = {
  timer: null,
  total: 0,

  reset(c) {
    pointed = focused = null;
    this.stop();
    this.total = c.P + c.O * c.P + c.P;
    byId("step").max = this.total;
    this.go(this.total);
  },

  /** How much is done of im2col, of the product and of col2im. */
  done(c) {
    const at = Number(byId("step").value);
    const clamp = (value, most) => Math.max(0, Math.min(value, most));
    return [clamp(at, c.P), clamp(at - c.P, c.O * c.P), clamp(at - c.P - c.O * c.P, c.P)];
  },

  go(at) {
    const c = convolution;
    byId("step").value = at;
    const [patches, products, folded] = this.done(c);
    const all = c.O * c.P;
    const pend = (part, isDone) => {
      for (const cell of view.parts[part]) {
        const waits = !isDone(cell.index);
        if (waits === cell.classList.contains("pending")) continue;
        cell.classList.toggle("pending", waits);
        cell.setAttribute("aria-label", `${cell.name}: ${waits ? "not computed yet" : cell.textContent}`);
      }
    };
    pend("patches", (index) => index % c.P < patches);
    for (const part of ["product", "output"]) pend(part, (index) => index < products);
    pend("d-kernel", () => products === all);
    pend("d-patches", (index) => index % c.P < folded);
    for (const cell of view.parts["d-image"]) {
      cell.textContent = number(c.dImage(Math.floor(cell.index / c.area), cell.index % c.area, folded));
      cell.setAttribute("aria-label", `${cell.name}: ${cell.textContent}`);
    }
    const phase =
      folded ? `col2im: position ${folded} of ${c.P}`
      : products ? `GEMM: output ${products} of ${all}`
      : `im2col: position ${patches} of ${c.P}`;
    byId("phase").textContent = folded === c.P ? "All done" : phase;
    byId("step").setAttribute("aria-valuetext", byId("phase").textContent);
    refresh();
  },

  /** What the last step did: sets, where they are lit, and words. */
  scene(c) {
    const [patches, products, folded] = this.done(c);
    if (folded === c.P) return [null, null, ["Press play, or move the slider, to see it step by step."]];
    if (folded) return [c.column(folded - 1), (part) => part.startsWith("d-"), ["col2im adds a column of dX̂ to its patch of dX."]];
    if (products) {
      const index = products - 1;
      const name = `Output ${c.O === 1 ? "" : `channel ${Math.floor(index / c.P)}, `}position ${index % c.P}`;
      return [c.reach("output", index), (part) => !part.startsWith("d-"), tell(c, { partName: "output", kind: "output", index, name })];
    }
    if (patches) return [c.column(patches - 1), (part) => !part.startsWith("d-"), ["im2col writes a patch into a column of X̂."]];
    return [null, null, ["Nothing is computed yet."]];
  },

  play() {
    if (Number(byId("step").value) >= this.total) this.go(0);
    const stride = Math.ceil(this.total / 400);
    const pause = Math.max(40, Math.min(600, 30000 / this.total));
    byId("play").textContent = "❚❚";
    byId("play").setAttribute("aria-label", "Pause");
    this.timer = setInterval(() => {
      this.go(Math.min(Number(byId("step").value) + stride, this.total));
      if (Number(byId("step").value) >= this.total) this.stop();
    }, pause);
  },

  stop() {
    clearInterval(this.timer);
    this.timer = null;
    byId("play").textContent = "▶\ufe0e";
    byId("play").setAttribute("aria-label", "Play");
  },
};

// Pointing and the keyboard.

const stage = byId("stage");
stage.addEventListener("pointerover", (event) => {
  pointed = event.pointerType === "touch" ? null : event.target.closest(".cell");
  refresh();
});
stage.addEventListener("pointerleave", () => {
  pointed = null;
  refresh();
});
stage.addEventListener("click", (event) => event.target.closest(".cell")?.focus({ preventScroll: true }));
stage.addEventListener("focusin", (event) => {
  focused = event.target.closest(".cell");
  if (!focused) return;
  for (const cell of focused.cells.flat()) cell.tabIndex = cell === focused ? 0 : -1;
  refresh();
});
stage.addEventListener("focusout", () => {
  focused = null;
  refresh();
});
stage.addEventListener("keydown", (event) => {
  const cell = event.target.closest(".cell");
  if (!cell) return;
  const { cells, line, column } = cell;
  const last = cells[line].length - 1;
  const moves = {
    ArrowUp: [line - 1, column],
    ArrowDown: [line + 1, column],
    ArrowLeft: [line, column - 1],
    ArrowRight: [line, column + 1],
    Home: [line, 0],
    End: [line, last],
  };
  if (event.key === "Escape") cell.blur();
  const move = moves[event.key];
  if (!move) return;
  event.preventDefault();
  pointed = null;
  cells[move[0]]?.[move[1]]?.focus();
});
byId("step").addEventListener("input", () => {
  player.stop();
  player.go(Number(byId("step").value));
});
byId("play").addEventListener("click", () => (player.timer === null ? player.play() : player.stop()));

// Light and dark.

const dark = matchMedia("(prefers-color-scheme: dark)");
const theme = (name) => {
  document.documentElement.dataset.theme = name;
  byId("theme").textContent = name === "dark" ? "Light" : "Dark";
  byId("theme").setAttribute("aria-pressed", String(name === "dark"));
};
theme(dark.matches ? "dark" : "light");
dark.addEventListener("change", () => theme(dark.matches ? "dark" : "light"));
byId("theme").addEventListener("click", () => theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));

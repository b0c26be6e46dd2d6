// Draws a Convolution: four kinds of elements, image, weights, patches and output, each in one or more parts.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const KINDS = ["image", "weights", "patches", "output"];
// Shown cells of the patch matrix, above which less is shown of every side.
const MOST_CELLS = 6000;
const MOST_PLANES = 4;
const MOST_SIDE = 14;

let convolution = null;
let view = null;

const element = (tag, attributes = {}, ...children) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
};

/** A number for people: whole ones whole, others with four digits. */
const number = (value) => {
  const size = Math.abs(value);
  if (value === 0) return "0";
  if (Number.isInteger(value) && size < 1e9) return String(value);
  if (size < 1e-3 || size >= 1e6) return value.toExponential(2).replace("e+", "e");
  const text = value.toFixed(size >= 1000 ? 1 : size >= 100 ? 2 : 3);
  return text.replace(/\.?0+$/, "");
};
const signed = (value) => (value < 0 ? `(${number(value)})` : number(value));

/** All of `count` indices, or the first and last of them with null between. */
const shown = (count, most) => {
  if (count <= most) return Array.from({ length: count }, (_, index) => index);
  const half = Math.floor(most / 2);
  const head = Array.from({ length: half }, (_, index) => index);
  return [...head, null, ...head.map((index) => count - half + index)];
};

/** A matrix's indices out of those of its planes, in order, with one null between what does not touch. */
const gathered = (planes, rows, columns, width, area) => {
  const list = [];
  for (const plane of planes) for (const i of rows) for (const j of columns) {
    const known = plane !== null && i !== null && j !== null;
    if (known) list.push(plane * area + i * width + j);
    else if (list.length && list[list.length - 1] !== null) list.push(null);
  }
  return list;
};

/** What is drawn of every side: of kernel and output less and less until the patch matrix is small enough. */
const extents = (c) => {
  const [rows, columns] = c.axes;
  const sides = (name) => [shown(rows[name], MOST_SIDE), shown(columns[name], MOST_SIDE)];
  for (const most of [MOST_SIDE, 10, 8, 6, 4]) {
    const kernel = Math.min(most, 7);
    const made = {
      image: sides("padded"),
      inner: sides("input"),
      kernel: [shown(rows.kernel, kernel), shown(columns.kernel, kernel)],
      output: [shown(rows.output, most), shown(columns.output, most)],
      inGroup: shown(c.C / c.groups, MOST_PLANES),
    };
    made.k = gathered(made.inGroup, ...made.kernel, columns.kernel, c.taps);
    made.p = gathered([0], ...made.output, columns.output, c.P);
    const groups = Math.min(c.groups, MOST_PLANES);
    if (made.k.length * made.p.length * groups <= MOST_CELLS || most === 4) return made;
  }
};

/** A table of cells; `describe(i, j)` gives index, text, name, and whether it is faint. `sizes` may stand behind a formula. */
const grid = (part, kind, title, sizes, rows, columns, describe) => {
  const cells = [];
  const body = element("div", { class: "grid", role: "grid", "aria-label": [title, sizes].flat().join(" "), "data-part": part });
  body.style.gridTemplateColumns = `repeat(${columns.length}, 1fr)`;
  for (const i of rows) {
    const line = element("div", { role: "row" });
    const known = [];
    for (const j of columns) {
      if (i === null || j === null) {
        line.append(element("div", { class: "gap", "aria-hidden": "true" }, i === null ? "⋮" : "…"));
        continue;
      }
      const { index, text, name, faint } = describe(i, j);
      const cell = element("div", { role: "gridcell", tabindex: "-1", "data-index": index }, text);
      cell.className = `cell ${kind === "patches" ? "image" : kind}${faint ? " faint" : ""}`;
      Object.assign(cell, { partName: part, kind, index, line: cells.length, column: known.length, cells, name });
      cell.setAttribute("aria-label", `${name}: ${text}`);
      known.push(cell);
      view.cells[kind].has(index) ? view.cells[kind].get(index).push(cell) : view.cells[kind].set(index, [cell]);
      view.parts[part].push(cell);
      line.append(cell);
    }
    if (known.length) cells.push(known);
    body.append(line);
  }
  if (cells.length) cells[0][0].tabIndex = 0;
  const caption = element("figcaption", {}, element("b", {}, title), ...[sizes].flat().map((text) => element("span", {}, text)));
  const isMatrix = ["weights", "patches", "product", "d-patches"].includes(part);
  return element("figure", isMatrix ? { class: "matrix" } : {}, caption, element("div", { class: "scroll" }, body));
};

const omitted = (count, what) =>
  count > MOST_PLANES ? [element("p", { class: "omitted" }, `… ${count - MOST_PLANES} more ${what}`)] : [];

const planes = (count) => Array.from({ length: Math.min(count, MOST_PLANES) }, (_, plane) => plane);
const sizes = (rows, columns) => `${rows} × ${columns}`;
/** The name of a whole, which is its only plane, or of one plane of several: "Image X", "X[0]". */
const titled = (name, places) => (places.length ? `${name.split(" ").pop()}[${places.join(", ")}]` : name);

const images = (c, part, name, formula, value) => {
  const [rows, columns] = c.axes;
  const inner = part === "d-image";
  const [top, left] = inner ? [rows.before, columns.before] : [0, 0];
  const [shownRows, shownColumns] = inner ? view.extents.inner : view.extents.image;
  const figures = planes(c.C).map((channel) => {
    const title = titled(name, c.C === 1 ? [] : [channel]);
    return grid(part, "image", title, [...formula, sizes(rows.input, columns.input)], shownRows, shownColumns, (i, j) => {
      const pixel = (i + top) * columns.padded + j + left;
      const place = c.place(pixel);
      const where = place ? `${title} row ${place[0]}, column ${place[1]}` : "padding";
      return { index: channel * c.area + pixel, text: number(value(channel, pixel)), name: where, faint: !place };
    });
  });
  return [...figures, ...omitted(c.C, "channels")];
};

const kernels = (c, part, name, formula, value) => {
  const [rows, columns] = c.axes;
  const inGroup = c.C / c.groups;
  const figures = planes(c.O).flatMap((o) =>
    planes(inGroup).map((channel) => {
      const places = [...(c.O === 1 ? [] : [o]), ...(inGroup === 1 ? [] : [channel])];
      const title = titled(name, places);
      return grid(part, "weights", title, [...formula, sizes(rows.kernel, columns.kernel)], ...view.extents.kernel, (i, j) => {
        const k = channel * c.taps + i * columns.kernel + j;
        return { index: o * c.K + k, text: number(value(o, k)), name: `${title} row ${i}, column ${j}` };
      });
    }),
  );
  return [...figures, ...omitted(c.O, "kernels"), ...omitted(inGroup, "channels of each")];
};

const outputs = (c, part, name, value) => {
  const [rows, columns] = c.axes;
  const figures = planes(c.O).map((o) => {
    const title = titled(name, c.O === 1 ? [] : [o]);
    return grid(part, "output", title, sizes(rows.output, columns.output), ...view.extents.output, (i, j) => {
      const p = i * columns.output + j;
      return { index: o * c.P + p, text: number(value(o, p)), name: `${title} row ${i}, column ${j}` };
    });
  });
  return [...figures, ...omitted(c.O, "channels")];
};

const patchMatrix = (c, part, name, formula, group, value) =>
  grid(part, "patches", name, [formula, `K × P: ${sizes(c.K, c.P)}`], view.extents.k, view.extents.p, (k, p) => {
    const row = c.firstRow(group) + k;
    const padding = !c.place(c.source(row % c.taps, p));
    return { index: row * c.P + p, text: number(value(row, p)), name: `${name} row ${k}, column ${p}`, faint: padding };
  });

const rowsOf = (c, group) => planes(c.perGroup).map((row) => group * c.perGroup + row);

const section = (title, text, ...rows) =>
  element("section", {}, element("h2", {}, title), element("p", {}, text), ...rows);
const row = (...figures) => element("div", { class: "row" }, ...figures);
const sign = (text) => element("span", { class: "sign", "aria-hidden": "true" }, text);

/** The whole picture anew. */
const draw = (c) => {
  const kinds = Object.fromEntries(KINDS.map((kind) => [kind, new Map()]));
  const names = ["image", "kernel", "output", "weights", "patches", "product", "d-output", "d-kernel", "d-patches", "d-image"];
  view = { cells: kinds, parts: Object.fromEntries(names.map((name) => [name, []])), lit: [], extents: extents(c) };
  const groups = planes(c.groups);
  const named = (name, group) => (c.groups === 1 ? name : `${name}, group ${group}`);
  const [rows, columns] = c.axes;
  // Spaces at which no line breaks.
  const length = (a) => `⌊(${a.input} + ${a.before + a.after} − ${a.extent}) / ${a.stride}⌋ + 1 = ${a.output}`.replaceAll(" ", "\u00a0");
  const formula = length(rows) === length(columns) ? length(rows) : `${length(rows)} rows, ${length(columns)} columns`;
  const product = (group) => element("div", { class: "row product" },
    grid("weights", "weights", named("W", group), `O × K: ${sizes(c.perGroup, c.K)}`, rowsOf(c, group), view.extents.k, (o, k) => (
      { index: o * c.K + k, text: number(c.w(o, k)), name: `W row ${o}, column ${k}` })),
    sign("·"),
    patchMatrix(c, "patches", named("X̂", group), "= im2col(X)", group, (r, p) => c.patch(r, p)),
    sign("="),
    grid("product", "output", named("Y", group), ["= W · X̂", `O × P: ${sizes(c.perGroup, c.P)}`], rowsOf(c, group), view.extents.p, (o, p) => (
      { index: o * c.P + p, text: number(c.y(o, p)), name: `Y row ${o}, column ${p}` })),
  );
  byId("stage").replaceChildren(
    section("The convolution", `The kernel meets a patch of the image; the sum of the products is one output. Output length: ${formula}.`,
      row(...images(c, "image", "Image X", [], (channel, pixel) => c.x(channel, pixel)),
        ...kernels(c, "kernel", "Kernel W", [], (o, k) => c.w(o, k)),
        ...outputs(c, "output", "Output Y", (o, p) => c.y(o, p)))),
    section("The same as a product of matrices", "im2col writes each patch into a column of X̂. A row of W, a kernel, times a column is one output.",
      ...groups.map(product), ...omitted(c.groups, "groups")),
    section("The way back", "dY comes from behind. The gradients of kernel and patches, dW and dX̂, are products too; col2im adds each column of dX̂ back to the patch it came from, which gives dX, the gradient of the image.",
      row(...outputs(c, "d-output", "dY", (o, p) => c.dOutput(o, p)),
        ...kernels(c, "d-kernel", "dW", ["= dY · X̂ᵀ"], (o, k) => c.dWeight(o, k)),
        ...groups.map((group) => patchMatrix(c, "d-patches", named("dX̂", group), "= Wᵀ · dY", group, (r, p) => c.dPatch(r, p))),
        ...omitted(c.groups, "groups"),
        ...images(c, "d-image", "dX", ["= col2im(dX̂)"], (channel, pixel) => c.dImage(channel, pixel, c.P)))),
  );
  player.reset(c);
};

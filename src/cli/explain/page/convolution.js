// The numbers of a convolution, and what reaches what. Nothing here draws.
//
//   X [C, h, w]   W [O, K]   X̂ [C · taps, P]   Y [O, P]      K = C/g · taps, P = OH · OW
//
// Elements are counted as they lie in memory; pixels are those of the padded image. A number is computed
// when it is drawn, so that what is not drawn costs nothing.
"use strict";

/** Settings that make no convolution, in the library's words. */
class Refused extends Error {}

/** "{axis} …" with its numbers. */
const fill = (template, values) => template.replace(/\{(\w+)\}/g, (_, name) => values[name]);

class Convolution {
  /** `settings`: input, kernel, stride, padding, dilation [rows, columns], same, channels, outputs, groups. */
  constructor(settings, data) {
    const { channels, outputs, groups } = settings;
    const refuse = (kind, values) => {
      throw new Refused(fill(data.errors[kind], values));
    };
    if (groups === 0) refuse("zero_count", { what: "groups" });
    if (channels % groups !== 0) refuse("groups", { groups, channels, what: "input channels" });
    if (outputs === 0) refuse("zero_count", { what: "output channels" });
    if (channels === 0) refuse("zero_count", { what: "input channels" });
    if (outputs % groups !== 0) refuse("groups", { groups, channels: outputs, what: "output channels" });
    this.given = data.given;
    this.C = channels;
    this.O = outputs;
    this.groups = groups;
    this.axes = [0, 1].map((axis) => Convolution.axis(axis, settings, refuse));
    const [rows, columns] = this.axes;
    this.taps = rows.kernel * columns.kernel;
    this.P = rows.output * columns.output;
    this.K = (channels / groups) * this.taps;
    this.perGroup = outputs / groups;
    this.area = rows.padded * columns.padded;
    this.check(data);
  }

  static axis(axis, settings, refuse) {
    const [input, kernel, stride, dilation] = ["input", "kernel", "stride", "dilation"].map((name) => settings[name][axis]);
    for (const [what, length] of Object.entries({ kernel, stride, dilation })) {
      if (length === 0) refuse("zero", { what, axis });
    }
    const extent = dilation * (kernel - 1) + 1;
    let [before, after] = settings.padding[axis];
    if (settings.same) {
      const output = Math.ceil(input / stride);
      const total = output === 0 ? 0 : Math.max((output - 1) * stride + extent - input, 0);
      [before, after] = [Math.floor(total / 2), Math.ceil(total / 2)];
    }
    const padded = before + input + after;
    if (extent > padded) refuse("kernel_too_large", { extent, padded, axis });
    const output = Math.floor((padded - extent) / stride) + 1;
    return { input, kernel, stride, dilation, extent, before, after, padded, output };
  }

  /** The limits; products of several sizes can lie beyond whole doubles. */
  check(data) {
    const [O, C, P, K, taps, area] = [this.O, this.C, this.P, this.K, this.taps, this.area].map(BigInt);
    const counts = { weights: O * K, image: C * area, output: O * P, patches: C * taps * P, products: O * K * P };
    for (const { name, what, unit, limit } of data.limits) {
      const count = counts[name];
      if (count > BigInt(limit)) throw new Refused(fill(data.errors.limit, { what, count, unit, limit }));
    }
  }

  groupOfChannel(c) {
    return Math.floor((c * this.groups) / this.C);
  }

  groupOfOutput(o) {
    return Math.floor(o / this.perGroup);
  }

  /** The first row of X̂ that belongs to a group. */
  firstRow(group) {
    return group * this.K;
  }

  /** The pixel of the padded image that a tap meets at a position. */
  source(tap, p) {
    const [rows, columns] = this.axes;
    const i = Math.floor(p / columns.output) * rows.stride + Math.floor(tap / columns.kernel) * rows.dilation;
    const j = (p % columns.output) * columns.stride + (tap % columns.kernel) * columns.dilation;
    return i * columns.padded + j;
  }

  /** Every [tap, position] that meets a pixel, in the order of positions. */
  meetings(pixel) {
    const [rows, columns] = this.axes;
    const along = (axis, place) => {
      const list = [];
      for (let tap = axis.kernel - 1; tap >= 0; tap--) {
        const start = place - tap * axis.dilation;
        if (start >= 0 && start % axis.stride === 0 && start / axis.stride < axis.output) list.push([tap, start / axis.stride]);
      }
      return list;
    };
    const list = [];
    for (const [ti, oi] of along(rows, Math.floor(pixel / columns.padded))) {
      for (const [tj, oj] of along(columns, pixel % columns.padded)) {
        list.push([ti * columns.kernel + tj, oi * columns.output + oj]);
      }
    }
    return list;
  }

  /** Row and column of a pixel in the image, or nothing in the padding. */
  place(pixel) {
    const [rows, columns] = this.axes;
    const i = Math.floor(pixel / columns.padded) - rows.before;
    const j = (pixel % columns.padded) - columns.before;
    return i >= 0 && j >= 0 && i < rows.input && j < columns.input ? [i, j] : null;
  }

  /** Given numbers are repeated where a size grows beyond them. */
  x(c, pixel) {
    const place = this.place(pixel);
    if (!place) return 0;
    const [i, j] = place;
    const given = this.given.x;
    if (!given) return c + i * this.axes[1].input + j;
    const [channels, height, width] = given.shape;
    return given.values[((c % channels) * height + (i % height)) * width + (j % width)];
  }

  w(o, k) {
    const [c, tap] = [Math.floor(k / this.taps), k % this.taps];
    const given = this.given.w;
    if (!given) return o + c + tap;
    const [outputs, channels, height, width] = given.shape;
    const [i, j] = [Math.floor(tap / this.axes[1].kernel), tap % this.axes[1].kernel];
    return given.values[(((o % outputs) * channels + (c % channels)) * height + (i % height)) * width + (j % width)];
  }

  patch(row, p) {
    return this.x(Math.floor(row / this.taps), this.source(row % this.taps, p));
  }

  y(o, p) {
    const first = this.firstRow(this.groupOfOutput(o));
    let sum = 0;
    for (let k = 0; k < this.K; k++) sum += this.w(o, k) * this.patch(first + k, p);
    return sum;
  }

  dOutput(o, p) {
    return o + p + 1;
  }

  /** dW = dY · X̂ᵀ */
  dWeight(o, k) {
    const row = this.firstRow(this.groupOfOutput(o)) + k;
    let sum = 0;
    for (let p = 0; p < this.P; p++) sum += this.dOutput(o, p) * this.patch(row, p);
    return sum;
  }

  /** dX̂ = Wᵀ · dY */
  dPatch(row, p) {
    const [group, k] = [Math.floor(row / this.K), row % this.K];
    let sum = 0;
    for (let o = group * this.perGroup; o < (group + 1) * this.perGroup; o++) sum += this.w(o, k) * this.dOutput(o, p);
    return sum;
  }

  /** dX = fold(dX̂): what the first `done` positions add to a pixel. */
  dImage(c, pixel, done) {
    let sum = 0;
    for (const [tap, p] of this.meetings(pixel)) if (p < done) sum += this.dPatch(c * this.taps + tap, p);
    return sum;
  }

  /** What belongs together: sets of elements of image, weights, patches and output. */
  reach(kind, index) {
    const sets = { image: new Set(), weights: new Set(), patches: new Set(), output: new Set() };
    sets[kind].add(index);
    const { P, K, taps, area, perGroup } = this;
    if (kind === "output") {
      const [o, p] = [Math.floor(index / P), index % P];
      const first = this.firstRow(this.groupOfOutput(o));
      for (let k = 0; k < K; k++) {
        sets.weights.add(o * K + k);
        this.addPatch(sets, first + k, p);
      }
    } else if (kind === "image") {
      const [c, group] = [Math.floor(index / area), this.groupOfChannel(Math.floor(index / area))];
      for (const [tap, p] of this.meetings(index % area)) {
        sets.patches.add((c * taps + tap) * P + p);
        for (let o = group * perGroup; o < (group + 1) * perGroup; o++) sets.output.add(o * P + p);
      }
    } else if (kind === "weights") {
      const [o, k] = [Math.floor(index / K), index % K];
      for (let p = 0; p < P; p++) {
        this.addPatch(sets, this.firstRow(this.groupOfOutput(o)) + k, p);
        sets.output.add(o * P + p);
      }
    } else {
      const [row, p] = [Math.floor(index / P), index % P];
      const group = Math.floor(row / K);
      this.addPatch(sets, row, p);
      for (let o = group * perGroup; o < (group + 1) * perGroup; o++) {
        sets.weights.add(o * K + (row % K));
        sets.output.add(o * P + p);
      }
    }
    return sets;
  }

  /** A whole column of X̂ and its pixels. */
  column(p) {
    const sets = { image: new Set(), weights: new Set(), patches: new Set(), output: new Set() };
    for (let row = 0; row < this.C * this.taps; row++) this.addPatch(sets, row, p);
    return sets;
  }

  addPatch(sets, row, p) {
    sets.patches.add(row * this.P + p);
    sets.image.add(Math.floor(row / this.taps) * this.area + this.source(row % this.taps, p));
  }
}

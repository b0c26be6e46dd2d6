// The live controls: sizes to settings, and what is wrong with them in words.
"use strict";

const PAIRS = ["input", "kernel", "stride", "padding", "dilation"];
const COUNTS = { channels: "channels", outputs: "output channels", groups: "groups" };
// Sizes beyond four digits could not be drawn, and their products stay whole numbers.
const LARGEST = 9999;

const controls = byId("controls");
const fields = {};

const stepper = (key, label, value) => {
  const input = element("input", { id: key, inputmode: "numeric", "aria-label": label, value, maxlength: "6" });
  const by = (step, text, word) => {
    const button = element("button", { type: "button", "aria-label": `${word} ${label}` }, text);
    button.addEventListener("click", () => {
      const now = /^\d+$/.test(input.value.trim()) ? Number(input.value) : 0;
      input.value = Math.max(0, now + step);
      update();
    });
    return button;
  };
  input.addEventListener("input", () => update());
  input.addEventListener("keydown", (event) => {
    const step = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    input.value = Math.max(0, (Number(input.value) || 0) + step);
    update();
  });
  fields[key] = input;
  return element("span", { class: "stepper" }, by(-1, "−", "less"), input, by(1, "+", "more"));
};

const check = (key, label, value) => {
  const input = element("input", { type: "checkbox", id: key });
  input.checked = value;
  input.addEventListener("change", () => update());
  fields[key] = input;
  return element("label", { class: "check" }, input, label);
};

/** One field for both axes, or one for each, as `apart` says. */
const build = (settings) => {
  for (const name of PAIRS) {
    const [rows, columns] = settings[name];
    const both = element("div", { class: "steppers" }, stepper(`${name}-rows`, `${name} rows`, rows), stepper(`${name}-columns`, `${name} columns`, columns));
    controls.append(element("fieldset", {}, element("legend", {}, name), both));
  }
  for (const [key, label] of Object.entries(COUNTS)) {
    controls.append(element("fieldset", {}, element("legend", {}, label), stepper(key, label, settings[key])));
  }
  const apart = PAIRS.some((name) => settings[name][0] !== settings[name][1]);
  controls.append(check("same", "padding same", settings.same), check("apart", "rows and columns apart", apart));
};

const whole = (key) => {
  const text = fields[key].value.trim();
  if (!/^\d+$/.test(text)) throw new Refused(`"${text}" is not a whole number`);
  if (Number(text) > LARGEST) throw new Refused(`${text} is above ${LARGEST}, the largest size of this page`);
  return Number(text);
};

const read = () => {
  const settings = { same: fields.same.checked };
  for (const name of PAIRS) settings[name] = [whole(`${name}-rows`), whole(`${name}-columns`)];
  for (const key of Object.keys(COUNTS)) settings[key] = whole(key);
  return { ...settings, padding: settings.padding.map((side) => [side, side]) };
};

/** Reads the controls and draws; settings that make no convolution are told, the last picture stays, dimmed. */
const update = () => {
  for (const name of PAIRS) {
    const columns = fields[`${name}-columns`];
    columns.closest(".stepper").hidden = !fields.apart.checked;
    if (!fields.apart.checked) columns.value = fields[`${name}-rows`].value;
  }
  for (const axis of ["rows", "columns"]) {
    for (const part of fields[`padding-${axis}`].closest(".stepper").children) part.disabled = fields.same.checked;
  }
  const message = byId("message");
  try {
    const next = new Convolution(read(), data);
    convolution = next;
    message.hidden = true;
    message.textContent = "";
    stage.classList.remove("stale");
    stage.inert = byId("dock").inert = false;
    draw(convolution);
  } catch (refused) {
    if (!(refused instanceof Refused)) throw refused;
    player.stop();
    message.textContent = refused.message;
    message.hidden = false;
    stage.classList.add("stale");
    stage.inert = byId("dock").inert = true;
  }
};

controls.addEventListener("submit", (event) => event.preventDefault());
build(data.settings);
update();

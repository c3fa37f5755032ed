/* The controls of decoding, and the link that holds them. */

const NUMBERS = ["steps", "temperature", "sampling_temperature", "top_p", "guidance", "guidance_start"];
const FIELDS = ["label", "schedule", "decoder", "seed", ...NUMBERS];

const DECODERS = { // after named.py
  "maskgit": "The paper's: keeps the most confident tokens, as many as the schedule allows.",
  "margin": "Keeps the tokens whose likeliest code is furthest ahead of the second (Kim et al. 2025).",
  "entropy": "Keeps the tokens whose distributions have the least entropy, a common baseline.",
  "random": "Keeps random tokens, as masked diffusion does (Sahoo et al. 2024).",
  "halton": "Keeps tokens spread evenly, by the Halton sequence (Besnier et al. 2025).",
  "moment": "Chooses positions first, then sharpens their distributions (Hayakawa et al. 2025).",
  "entropy-bound": "Keeps as many tokens as a bound on their entropy allows (Ben-Hamu et al. 2025).",
  "remdm-cap": "Masks up to 4 % of the known tokens again in each step (ReMDM, Wang et al. 2025).",
  "remdm-rescale": "Masks known tokens again, at 4 % of the largest rate allowed (ReMDM, Wang et al. 2025).",
  "remdm-conf": "Masks again the tokens it was least sure of (ReMDM, Wang et al. 2025).",
  "remdm-loop": "Pauses when 90 % of the tokens are known, to correct some (ReMDM, Wang et al. 2025).",
  "critic": "A trained critic finds tokens that look wrong, and they are masked again (Lezama et al. 2022).",
  "searched": "Uses settings that a search on this run found for each step.",
};

/* What the controls say. A field that holds no number becomes NaN, which the engine refuses. */
function read_settings() {
  const chosen = { schedule: $("schedule").value, decoder: $("decoder").value, label: Number($("label").value) };
  for (const name of [...NUMBERS, "seed"]) chosen[name] = $(name).value === "" ? NaN : Number($(name).value);
  if (chosen.schedule === "own") chosen.schedule = own_schedule.slice();
  return chosen;
}

function option(value, text = value) {
  return Object.assign(document.createElement("option"), { value, textContent: text });
}

const class_options = () => {
  const options = settings.labels.map((name, label) => option(label, name));
  const none = option(settings.labels.length, "no class");
  if (!settings.class_dropout) none.textContent = "no class (this run never trained without one)";
  none.disabled = !settings.class_dropout;
  return [...options, none];
};

/* Fill the controls with what this run has. */
function fill_controls() {
  $("label").append(...class_options());
  $("edit-label").append(...class_options());
  $("schedule").append(...Object.keys(SCHEDULES).map((name) => option(name, name.replace("_", " "))));
  $("schedule").append(option("own", "your own"));
  $("decoder").append(...settings.decoders.map((name) => option(name)));
  if (Object.keys(settings.policies).length) $("decoder").append(option("searched"));
  if (!settings.models.critic) {
    $("decoder").append(option("critic", "critic (not trained in this run)"));
    $("decoder").lastChild.disabled = true;
  }
  $("steps").max = Math.min(num_tokens, Math.max(64, settings.decoding.steps));
  set_defaults();
}

/* The run's own settings; a slider that does not reach one is made longer. */
function set_defaults() {
  for (const name of FIELDS) {
    const field = $(name), value = settings.decoding[name] ?? 0;
    if (field.type === "range" && name !== "steps") { // of which there are at most as many as tokens
      field.min = Math.min(field.min, value);
      field.max = Math.max(field.max, value);
    }
    set_value(field, value);
  }
}

/* Sliders move in steps of 0.05, but can hold any number. */
function set_value(field, value) {
  const whole = field.id === "steps", marks = Math.round(20e6 * value) / 1e6; // how many steps of 0.05
  if (field.type === "range" && !whole) field.step = Number.isInteger(marks) ? 0.05 : "any";
  field.value = value;
}

/* At most five decimals: dragging a slider of step "any" yields sixteen. */
const shown_number = (text) => String(Number(Number(text).toFixed(5)));

/* After any change: numbers beside sliders, the curve, and what this decoder has no use for. */
function show_controls() {
  for (const name of NUMBERS) document.querySelector(`output[for="${name}"]`).textContent = shown_number($(name).value);
  $("decoder-hint").textContent = DECODERS[$("decoder").value] ?? "";
  for (const name of ["schedule", ...NUMBERS]) if (name !== "steps") disable($(name), reason_off(name));
  show_curve();
}

/* Why a setting has no effect now; nothing if it has one. The command line refuses the same. */
function reason_off(name) {
  const decoder = $("decoder").value;
  if (decoder === "searched") return "The searched decoder sets this for every step.";
  if (settings.unused[decoder]?.includes(name)) return `The decoder ${decoder} does not use this.`;
  const guides = name.startsWith("guidance");
  if (guides && !settings.class_dropout) return "Off: this run never trained without a class, which guidance needs.";
  return name === "guidance_start" && Number($("guidance").value) === 0 ? "Off while guidance is 0." : "";
}

/* Switch a field off, with the reason under it; on if there is none. */
function disable(field, reason) {
  const box = field.closest(".field");
  field.disabled = Boolean(reason);
  box.classList.toggle("off", field.disabled);
  box.querySelector(".unused")?.remove();
  if (reason) box.append(Object.assign(document.createElement("p"), { className: "unused", textContent: reason }));
}

/* The settings that have an effect; the engine has the run's own for the others. */
const used_settings = () => Object.fromEntries(Object.entries(read_settings()).filter(([name]) => !$(name).disabled));

/* A searched policy exists for some T only. */
function fit_steps() {
  const there = Object.keys(settings.policies).map(Number), now = Number($("steps").value);
  if ($("decoder").value !== "searched" || there.includes(now)) return "";
  $("steps").value = there.sort((a, b) => Math.abs(a - now) - Math.abs(b - now))[0];
  return `The search covered only T = ${there.sort((a, b) => a - b).join(", ")}, so T is now ${$("steps").value}. `;
}

// --- The link ---

const link_text = () => {
  const chosen = read_settings();
  const there = FIELDS.filter((name) => !Number.isNaN(chosen[name])); // an emptied seed is no number
  return "#" + there.map((name) => `${name}=${[chosen[name]].flat().join(",")}`).join("&");
};

/* Keep the address up to date; where a host forbids it, the button still copies it. */
function keep_link() {
  const only = document.body.dataset.only ? `&show=${document.body.dataset.only}` : "";
  try {
    history.replaceState(null, "", link_text() + only);
  } catch {}
}

/* Set the controls from a link; returns a sentence for what does not fit, which keeps its value. */
function restore(hash) {
  const wrong = [], wanted = new URLSearchParams(hash.replace(/^#/, ""));
  for (const [name, value] of wanted) {
    if (name === "show" && is_section(value)) show_only(value);
    else if (is_section(name) && !value) go_to($(name));
    else if (!FIELDS.includes(name)) wrong.push(`no setting is called ${name.slice(0, 30)}`);
    else if (!set_field(name, value)) wrong.push(`${name} cannot be ${value.slice(0, 30) || "empty"}`);
  }
  return wrong.length ? `In this link ${wrong.slice(0, 3).join("; ")}. ` : "";
}

/* Whether a field takes a value. */
function set_field(name, value) {
  const field = $(name), before = field.value, numbers = value.split(",").map(Number);
  if (name === "schedule" && numbers.length > 1) {
    if (!numbers.every((gamma) => gamma >= 0 && gamma <= 1)) return false;
    own_schedule = KNOTS.map((r) => drawn(numbers)(r));
    value = "own";
  }
  if (field.matches("select")) {
    const fits = [...field.options].some((one) => one.value === value && !one.disabled);
    if (fits) field.value = value;
    return fits;
  }
  const number = Number(value), fits = value.trim() && number >= Number(field.min) && number <= Number(field.max);
  if (name === "guidance" && !settings.class_dropout) return number === 0;
  if (fits) set_value(field, value);
  if (fits && Number(field.value) === number && field.validity.valid) return true;
  field.value = before;
  return false;
}

const is_section = (id) => Boolean($(id)?.matches("section"));

/* One section alone, for a frame in a course page: a link with show=race. */
function show_only(id) {
  for (const section of document.querySelectorAll("section")) section.classList.toggle("only", section.id === id);
  document.body.dataset.only = id;
}
